# ruff: noqa: E501 - quotes the source as it stands
"""The mutants: small changes of the source, each with the selection that should catch it."""

from dataclasses import dataclass

MATRIX = "tests/matrix"
QUOTES = "tests/app/test_quotes.py"


@dataclass(frozen=True, kw_only=True)
class Change:
    file: str
    old: str
    """Stands in the file exactly once; otherwise the mutant does not apply, which is an error."""
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    name: str
    changes: tuple[Change, ...]
    caught_by: tuple[str, ...]
    """Arguments of pytest: the smallest selection that should fail."""


def _matrix(*, life: str, fault: str, points: str) -> tuple[str, ...]:
    return (MATRIX, "-k", f"{life} and {fault}", "--points", points)


_NO_LIVE_PAYOUT_INDEX = (
    Change(
        file="models/payout.py",
        old="            unique=True,\n            postgresql_where=text(\"state = 'sending'\"),",
        new="            postgresql_where=text(\"state = 'sending'\"),",
    ),
    Change(
        file="models/migrations/versions/0001_jobs_money_and_journal.py",
        old="        unique=True,\n        postgresql_where=sa.text(\"state = 'sending'\"),",
        new="        postgresql_where=sa.text(\"state = 'sending'\"),",
    ),
)

_COVERED_TWICE = (
    Change(
        file="services/money/refunds.py",
        old="Debt.job_id == job_id, Debt.state == DebtState.OWED",
        new="Debt.job_id == job_id, Debt.state != DebtState.PAID",
    ),
    Change(
        file="models/money_moves.py",
        old="Debt.job_id == payout.job_id, Debt.state == DebtState.OWED",
        new="Debt.job_id == payout.job_id, Debt.state != DebtState.PAID",
    ),
)
"""What a payout covers already is covered once more."""

MUTANTS = (
    Mutant(
        name="no claim match in record",
        changes=(
            Change(
                file="models/moves.py",
                old="        guard.append(Job.claim == claim)",
                new="        pass",
            ),
        ),
        caught_by=_matrix(life="completed", fault="beside", points="income.create_invoice:after"),
    ),
    Mutant(
        name="no claim match in a payout's record",
        changes=(
            Change(
                file="models/money_moves.py",
                old="            Payout.state == PayoutState.SENDING,\n            Payout.claim == claim,",
                new="            Payout.state == PayoutState.SENDING,",
            ),
        ),
        caught_by=_matrix(life="completed", fault="beside", points="payouts.read:after"),
    ),
    Mutant(
        name="no unique live payout",
        changes=_NO_LIVE_PAYOUT_INDEX,
        caught_by=("tests/services/test_database_guards.py", "-k", "second_live_payout"),
    ),
    Mutant(
        name="no unique live payout, and who waited for a claim does not look again",
        changes=(*_NO_LIVE_PAYOUT_INDEX, *_COVERED_TWICE),
        caught_by=_matrix(life="new", fault="lease", points="refunds.check_state:after_commit"),
    ),
    Mutant(
        name="a wallet that nobody has read since a restore is left",
        changes=(
            Change(
                file="services/money/wallets.py",
                old="    if known.compared != str(incarnation_of(session)):",
                new="    if False:",
            ),
        ),
        caught_by=("tests/restored", "-k", "another_wallet_has_paid"),
    ),
    Mutant(
        name="520 = failed",
        changes=(
            Change(
                file="gateways/lightning/lnbits.py",
                old=("            outcome=SendOutcome.SENT,\n            code=_answered(reply),"),
                new=(
                    "            outcome=SendOutcome.REFUSED if reply.status == 520"
                    " else SendOutcome.SENT,\n"
                    "            code=_answered(reply),"
                ),
            ),
        ),
        caught_by=_matrix(life="called", fault="exception", points="claim otherwise"),
    ),
    Mutant(
        name="time-out = failed",
        changes=(
            Change(
                file="gateways/lightning/lnbits.py",
                old="            return SendReport(outcome=SendOutcome.SENT, code=error.code)",
                new="            return SendReport(outcome=SendOutcome.REFUSED, code=error.code)",
            ),
        ),
        caught_by=(MATRIX, "-k", "answer and exception"),  # the life itself goes wrong
    ),
    Mutant(
        name="a POST that LNbits never considered is evidence",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="    return report.was_considered and age is",
                new="    return age is",
            ),
        ),
        caught_by=("tests/services/test_payouts.py", "-k", "never_considered"),
    ),
    Mutant(
        name="an old LNbits is believed",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="report.was_considered and age is Age.YOUNG and is_candid",
                new="report.was_considered and is_candid",
            ),
        ),
        caught_by=("tests/services/test_payouts.py", "-k", "old_lnbits"),
    ),
    Mutant(
        name="what an old LNbits wrote is believed of a young one",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="    is_candid = report.was_confirmed or was_always_candid",
                new="    is_candid = True",
            ),
        ),
        caught_by=("tests/services/test_payouts.py", "-k", "old_lnbits"),
    ),
    Mutant(
        name="a person's word covers what was handed over after the look",
        changes=(
            Change(
                file="services/money/doubtful_payouts.py",
                old="        if payout.posts != posts:",
                new="        if payout.posts < 0:",
            ),
        ),
        caught_by=("tests/services/test_payouts.py", "-k", "handed_over_after"),
    ),
    Mutant(
        name="no row any more = never sent",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="    if evidence.row_was_read:\n        return Conclusion.WAIT\n",
                new="",
            ),
        ),
        caught_by=("tests/services/test_payouts.py", "-k", "row_that_was_lost"),
    ),
    Mutant(
        name="a person's word counts whatever was handed over since",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="        return 0 < self.vouched_posts == self.posts",
                new="        return 0 < self.vouched_posts",
            ),
        ),
        caught_by=("tests/rules/test_payout_evidence.py",),
    ),
    Mutant(
        name="what was said of an earlier POST is evidence after a later one",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="        return self.believed_post == self.posts",
                new="        return self.believed_post > 0",
            ),
        ),
        caught_by=("tests/services/test_payouts.py", "-k", "heard_once"),
    ),
    Mutant(
        name="404 = failed",
        changes=(
            Change(
                file="services/money/payout_evidence.py",
                old="    if evidence.refusals == evidence.posts:\n        return Conclusion.FAILED",
                new="    if evidence.posts:\n        return Conclusion.FAILED",
            ),
        ),
        caught_by=_matrix(life="called", fault="exception", points="claim otherwise"),
    ),
    Mutant(
        name="ledger outside the transaction",
        changes=(
            Change(
                file="services/money/payments.py",
                old=(
                    "        ledger.receive(session, receipt)\n"
                    "        moved = _spend(session, tools, receipt, invoice) if invoice else None\n"
                ),
                new=(
                    "        moved = _spend(session, tools, receipt, invoice) if invoice else None\n"
                    '    with tools.database.transaction("payments.book") as session:\n'
                    "        ledger.receive(session, receipt)\n"
                ),
            ),
        ),
        caught_by=_matrix(life="completed", fault="killed", points="payments.settle:after_commit"),
    ),
    Mutant(
        name="message instead of row as truth",
        changes=(
            Change(
                file="models/due.py",
                old="        .where(model.id == row_id, where, model.due_at <= func.now())\n",
                new="        .where(model.id == row_id, where)\n",
            ),
        ),
        caught_by=_matrix(life="completed", fault="beside", points="jobs.claim.evaluate:begin"),
    ),
    Mutant(
        name="receipts not unique",
        changes=(
            Change(
                file="models/invoice.py",
                old=(
                    "    id: Mapped[Id]\n"
                    "    payment_hash: Mapped[str] = mapped_column(Text, unique=True)\n"
                    "    amount_msats"
                ),
                new=(
                    "    id: Mapped[Id]\n"
                    "    payment_hash: Mapped[str] = mapped_column(Text)\n"
                    "    amount_msats"
                ),
            ),
            Change(
                file="models/migrations/versions/0001_jobs_money_and_journal.py",
                old=(
                    '        sa.UniqueConstraint("payment_hash",'
                    ' name=op.f("uq_receipts_payment_hash")),\n'
                ),
                new="",
            ),
            Change(
                file="services/money/payments.py",
                old="        .on_conflict_do_nothing(index_elements=[Receipt.payment_hash])\n",
                new="",
            ),
            Change(
                file="services/money/ledger.py",
                old='        f"receipt:{receipt.payment_hash}",',
                new='        f"receipt:{receipt.id}",',
            ),
        ),
        caught_by=_matrix(life="completed", fault="lease", points="payments.settle:begin"),
    ),
    Mutant(
        name="heartbeat without claim",
        changes=(
            Change(
                file="models/due.py",
                old="tuple_(model.id, model.claim).in_(list(held))",
                new="model.id.in_([row_id for row_id, _ in held])",
            ),
        ),
        caught_by=_matrix(life="completed", fault="beside", points="language_model.ask:after"),
    ),
    Mutant(
        name="expiry without asking",
        changes=(
            Change(
                file="services/jobs/expiry.py",
                old=(
                    "    if state is None or not _is_answer(state):\n"
                    "        return False\n"
                    "    if state.payment is not None and payments.settle(tools, state.payment):\n"
                    "        return False\n"
                ),
                new="",
            ),
        ),
        caught_by=_matrix(life="sweep", fault="exception", points="invoices.sweep"),
    ),
    Mutant(
        name="publish before commit",
        changes=(
            Change(
                file="services/money/payments.py",
                old="        moved = _spend(session, tools, receipt, invoice) if invoice else None\n",
                new=(
                    "        moved = _spend(session, tools, receipt, invoice) if invoice else None\n"
                    "        if invoice is not None and moved is not None:\n"
                    "            tools.doorbell.ring(_WAITS_FOR[invoice.kind][2], moved.id)\n"
                ),
            ),
        ),
        caught_by=_matrix(life="declined", fault="exception", points="jobs.decline"),
    ),
    Mutant(
        name="refund retried with a new invoice while the first is in doubt",
        changes=(
            *_NO_LIVE_PAYOUT_INDEX,
            Change(
                file="services/money/refunds.py",
                old="    if any(debt.state is DebtState.PAYING for debt in debts):\n",
                new="    if not debts:\n",
            ),
            *_COVERED_TWICE,
        ),
        caught_by=_matrix(life="called", fault="exception", points="claim otherwise"),
    ),
    Mutant(
        name="host clock for leases",
        changes=(
            Change(
                file="models/due.py",
                old=".values(claim=model.claim + 1, due_at=func.now() + lease)",
                new=".values(claim=model.claim + 1, due_at=datetime.now().astimezone() + lease)",
            ),
        ),
        caught_by=("tests/architecture/test_rules.py", "-k", "production_keeps"),
    ),
    Mutant(
        name="host clock for leases, on a host whose clock is an hour behind",
        changes=(
            Change(
                file="models/due.py",
                old=".values(claim=model.claim + 1, due_at=func.now() + lease)",
                new=(
                    ".values(claim=model.claim + 1,"
                    " due_at=datetime.now().astimezone() - timedelta(hours=1) + lease)"
                ),
            ),
        ),
        caught_by=_matrix(life="completed", fault="beside", points="jobs.claim.evaluate:begin"),
    ),
    Mutant(
        name="a quote without infrastructure",
        changes=(
            Change(
                file="services/jobs/terms.py",
                old="pricing.infra_per_job(settings.infra_monthly_cost_usd, settings.infra_monthly_jobs)",
                new="pricing.infra_per_job(Decimal(0), settings.infra_monthly_jobs)",
            ),
        ),
        caught_by=(QUOTES,),
    ),
    Mutant(
        name="a quote with the default margin",
        changes=(
            Change(
                file="services/jobs/terms.py",
                old="Decimal(settings.margin_pct)",
                new="Decimal(25)",
            ),
        ),
        caught_by=(QUOTES,),
    ),
    Mutant(
        name="a quote that does not count the system prompt",
        changes=(
            Change(
                file="services/jobs/terms.py",
                old="pricing.input_bound(question.system, question.user)",
                new="pricing.input_bound(question.user)",
            ),
        ),
        caught_by=(QUOTES,),
    ),
)
"""Ordered as the specification lists them."""

IN_CI = ("message instead of row as truth", "expiry without asking")
