"""The ledger equations: the books against the tables, and both against the world outside.

    receipts = held + earned + owed + in flight + returned + unmatched − rounding
    wallet   = receipts − returned − routing fees

What a person booked as the owner's is no receipt any more, and in the wallet none the less; what
went from one of our wallets to the other is neither.

Every figure is computed a second way, from rows that are no ledger. It holds at every commit, and
so do the rules that production looks after, but for those about time, which tests let pass.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlalchemy import exists, or_, select, text
from sqlalchemy.orm import Session

from local.stand_in.testing import StandInClient
from models.debt import Debt, DebtState
from models.event import JobEventRow
from models.invoice import Invoice, InvoiceKind, Receipt
from models.job import Job
from models.ledger import Account, LedgerEntry
from models.lifecycle import WORKING, JobEvent, JobState
from models.payout import Payout, PayoutState
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.operate.account_rules import ACCOUNTS_OF_NOW
from services.operate.invariants import OF_JOBS
from services.toolbox import Toolbox

MSATS = 1000
_PAYS_FOR = {JobState.EVALUATING: InvoiceKind.EVAL, JobState.EXECUTING: InvoiceKind.WORK}
_EXPLAINED = {MoveState.BOOKED, MoveState.TRANSFER}
_Balances = defaultdict[int | None, Counter[Account]]
_Amounts = defaultdict[str, list[int]]
"""In msats, by payment hash."""


@dataclass(frozen=True)
class _Tables:
    """Everything that is about money, read in one snapshot."""

    jobs: list[Job]
    invoices: dict[tuple[int, InvoiceKind], Invoice]
    receipts: list[Receipt]
    debts: list[Debt]
    payouts: list[Payout]
    entries: list[LedgerEntry]
    wallet_moves: list[WalletMove]
    verdicts: set[int]
    """Jobs whose evaluation was delivered."""


_ANYTHING = select(
    or_(
        *(
            exists(select(model.id))
            for model in (Job, Invoice, Receipt, Debt, Payout, LedgerEntry, WalletMove, JobEventRow)
        )
    )
)
"""Many tests leave no row: one look instead of eight."""
_NOTHING = _Tables(
    jobs=[],
    invoices={},
    receipts=[],
    debts=[],
    payouts=[],
    entries=[],
    wallet_moves=[],
    verdicts=set(),
)


def assert_balanced(tools: Toolbox, world: StandInClient | None = None) -> None:
    """Every equation and rule; with ``world`` also that no money moved but ours, and only once."""
    with tools.database.transaction("test.books") as session:
        tables = _read(session) if session.scalar(_ANYTHING) else _NOTHING
        broken = set() if tables is _NOTHING else _broken_rules(session, tables)
    assert broken == set(), "rules that production would call broken"
    credit = _credit_by_job(tables.entries)
    for job in tables.jobs:
        _assert_job(tables, job, credit[job.id])
    _assert_totals(tables, _together(credit))
    if world is not None:
        _assert_world(tables, world)


def _read(session: Session) -> _Tables:
    verdicts = select(JobEventRow.job_id).where(
        JobEventRow.event.in_([JobEvent.ACCEPTED, JobEvent.DECLINED])
    )
    return _Tables(
        jobs=list(session.scalars(select(Job))),
        invoices={(row.job_id, row.kind): row for row in session.scalars(select(Invoice))},
        receipts=list(session.scalars(select(Receipt))),
        debts=list(session.scalars(select(Debt))),
        payouts=list(session.scalars(select(Payout))),
        entries=list(session.scalars(select(LedgerEntry))),
        wallet_moves=list(session.scalars(select(WalletMove))),
        verdicts=set(session.scalars(verdicts)),
    )


def _broken_rules(session: Session, tables: _Tables) -> set[tuple[str, int | str]]:
    """What the sweep would put on record, by rule and by job or account."""
    of_all = {"ids": [job.id for job in tables.jobs]}
    found: set[tuple[str, int | str]] = set()
    for rule, query in OF_JOBS.items():
        found |= {(rule.value, job_id) for job_id in session.scalars(text(query), of_all)}
    for rule, query in ACCOUNTS_OF_NOW.items():
        found |= {(rule.value, account) for account in session.scalars(text(query))}
    return found


def _credit_by_job(entries: list[LedgerEntry]) -> _Balances:
    """Credit minus debit in msats, by job and account. Counters that may go below zero."""
    credit: _Balances = defaultdict(Counter)
    for entry in entries:
        credit[entry.job_id][entry.debit] -= entry.amount_msats
        credit[entry.job_id][entry.credit] += entry.amount_msats
    return credit


def _together(credit: _Balances) -> Counter[Account]:
    total: Counter[Account] = Counter()
    for of_job in credit.values():
        total.update(of_job)
    return total


def _assert_job(tables: _Tables, job: Job, credit: Counter[Account]) -> None:
    debts = [debt for debt in tables.debts if debt.job_id == job.id]
    payouts = [payout for payout in tables.payouts if payout.job_id == job.id]
    received = sum(row.amount_msats for row in tables.receipts if row.job_id == job.id)
    returned = MSATS * _paid_out(payouts)

    assert credit[Account.HELD] == _undelivered(tables, job), "held is what is not delivered yet"
    assert credit[Account.EARNED] == _delivered(tables, job), "earned is what was delivered"
    assert credit[Account.OWED] == _sum_of(debts, DebtState.OWED)
    assert credit[Account.IN_FLIGHT] == _sum_of(debts, DebtState.PAYING)
    assert returned == _sum_of(debts, DebtState.PAID)
    _assert_equation(credit, received, returned)
    _assert_end(job, debts)


def _assert_equation(
    credit: Counter[Account], received: int, returned: int, owners: int = 0
) -> None:
    whose = (Account.HELD, Account.EARNED, Account.OWED, Account.IN_FLIGHT, Account.UNMATCHED)
    rounding, fees = -credit[Account.ROUNDING], -credit[Account.ROUTING_FEES]

    assert received == sum(credit[account] for account in whose) + returned - rounding
    assert -credit[Account.WALLET] == received + owners - returned - fees
    assert all(credit[account] >= 0 for account in whose), "no account is overdrawn"
    assert rounding >= 0
    assert fees >= 0


def _assert_end(job: Job, debts: list[Debt]) -> None:
    """What a job that has ended must show for its money."""
    if job.state is JobState.FAILED:
        assert any(debt.cause.value.startswith("failed") for debt in debts)
    if job.state is JobState.COMPLETE:
        unused = sum(debt.amount_sats for debt in debts if debt.cause.value == "unused_work")
        assert (job.actual_amount_sats or 0) + unused == job.work_amount_sats


def _undelivered(tables: _Tables, job: Job) -> int:
    if job.state not in WORKING:
        return 0
    return MSATS * tables.invoices[job.id, _PAYS_FOR[job.state]].amount_sats


def _delivered(tables: _Tables, job: Job) -> int:
    fee = tables.invoices[job.id, InvoiceKind.EVAL].amount_sats if job.id in tables.verdicts else 0
    return MSATS * (fee + (job.actual_amount_sats or 0))


def _sum_of(debts: list[Debt], state: DebtState) -> int:
    return MSATS * sum(debt.amount_sats for debt in debts if debt.state is state)


def _paid_out(payouts: list[Payout]) -> int:
    return sum(payout.amount_sats for payout in payouts if payout.state is PayoutState.PAID)


def _fees(tables: _Tables) -> int:
    """What payouts have cost, and what was taken off money that came and is explained."""
    explained = [move for move in tables.wallet_moves if move.state in _EXPLAINED]
    return (
        sum(payout.fee_msats or 0 for payout in tables.payouts)
        + sum(receipt.fee_msats for receipt in tables.receipts)
        + sum(move.fee_msats for move in explained)
    )


def _assert_totals(tables: _Tables, credit: Counter[Account]) -> None:
    nobodys = {row.payment_hash: row for row in tables.receipts if row.invoice_id is None}
    booked = [move for move in tables.wallet_moves if move.state is MoveState.BOOKED]
    transfers = [
        move.payment_hash
        for move in tables.wallet_moves
        if move.state is MoveState.TRANSFER and move.payment_hash in nobodys
    ]
    explained = {move.payment_hash for move in booked if move.kind is MoveKind.RECEIVED}
    explained.update(transfers)
    received = sum(row.amount_msats for row in tables.receipts if row.payment_hash not in explained)
    owners = sum(move.amount_msats for move in booked)
    sending = [row.amount_sats for row in tables.payouts if row.state is PayoutState.SENDING]

    assert credit[Account.UNMATCHED] == sum(
        row.amount_msats for row in nobodys.values() if row.payment_hash not in explained
    )
    assert credit[Account.OWNER] == owners
    assert -credit[Account.ROUTING_FEES] == _fees(tables)
    assert credit[Account.IN_FLIGHT] == MSATS * sum(sending)
    assert sum(credit.values()) == 0, "double entry"
    _assert_equation(credit, received, MSATS * _paid_out(tables.payouts), owners)


def _assert_world(tables: _Tables, world: StandInClient) -> None:
    came, went = _seen(world)
    for receipt in tables.receipts:
        assert came[receipt.payment_hash] == [receipt.amount_msats], "a receipt is money that came"
    ours = {payout.payment_hash: payout for payout in tables.payouts}
    owners = _owners(tables)
    for payment_hash, amounts in went.items():
        if payment_hash not in ours and owners.get(payment_hash) == amounts:
            continue
        assert payment_hash in ours, "nothing was paid that no payout asked for"
        payout = ours[payment_hash]
        assert amounts == [payout.amount_sats * MSATS], "paid once, and as much as was owed"
        assert payout.state is not PayoutState.FAILED, "what was paid is not called failed"
    for payout in tables.payouts:
        assert payout.state is not PayoutState.PAID or payout.payment_hash in went


def _owners(tables: _Tables) -> dict[str | None, list[int]]:
    """What left the wallet by the owner's hand, as a person has booked it; like ``_Amounts``."""
    return {
        move.payment_hash: [-move.amount_msats]
        for move in tables.wallet_moves
        if move.kind is MoveKind.SENT and move.state is MoveState.BOOKED
    }


def _seen(world: StandInClient) -> tuple[_Amounts, _Amounts]:
    """What came and what went, as the stand-in's node saw it at the service's wallet."""
    came: _Amounts = defaultdict(list)
    went: _Amounts = defaultdict(list)
    for effect in world.effects("payment_in", "payment_out"):
        if effect.details["wallet"] == "service":
            seen = came if effect.kind == "payment_in" else went
            seen[effect.details["paymentHash"]].append(effect.details["amountMsat"])
    return came, went
