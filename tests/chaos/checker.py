"""The judge: knows the tables, the effects and the logs, and nothing of how the product works.

Each invariant is a function that yields a sentence for everything that is wrong. Numbers as in
RELIABILITY.md 5.4.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from local.stand_in.model_answers import label_of
from tests.chaos import patience, sales
from tests.chaos.evidence import Evidence, Row
from tests.chaos.windows import DoorWindows, Windows

MSATS = 1000
FINAL = frozenset({"rejected", "complete", "failed", "expired"})
WORKING = frozenset({"evaluating", "executing"})
STUCK_AFTER_SECONDS = 120.0
WHOSE = ("held", "earned", "owed", "in_flight", "unmatched")
PAYS_FOR = {"evaluating": "eval", "executing": "work"}
FAILURE_DEBTS = frozenset({"failed_work", "failed_evaluation"})

Sentences = Iterator[str]


@dataclass(frozen=True, kw_only=True)
class Violation:
    invariant: str
    sentence: str


def check(evidence: Evidence) -> list[Violation]:
    """Everything that is wrong, in the order of the invariants."""
    return [
        Violation(invariant=name, sentence=sentence)
        for name, rule in RULES.items()
        for sentence in rule(evidence)
    ]


# --- I1: the ledger is balanced, per job and in total


def ledger_is_balanced(evidence: Evidence) -> Sentences:
    credit = _credits(evidence.tables["ledger_entries"])
    invoices = {(row["job_id"], row["kind"]): row for row in evidence.tables["invoices"]}
    receipts, debts = evidence.by("receipts", "job_id"), evidence.by("debts", "job_id")
    payouts, delivered = evidence.by("payouts", "job_id"), _delivered_verdicts(evidence)
    for job in evidence.tables["jobs"]:
        number, of_job = job["id"], credit[job["id"]]
        received = sum(row["amount_msats"] for row in receipts[number])
        returned = MSATS * _paid(payouts[number])
        fee = invoices[number, "eval"]["amount_sats"] if number in delivered else 0
        expected = {
            "held": _undelivered(job, invoices),
            "earned": MSATS * (fee + (job["actual_amount_sats"] or 0)),
            "owed": _sum_in(debts[number], "owed"),
            "in_flight": _sum_in(debts[number], "paying"),
        }
        for account, msats in expected.items():
            if of_job[account] != msats:
                yield f"job {number}: {account} is {of_job[account]} and should be {msats} msats"
        if returned != _sum_in(debts[number], "paid"):
            yield f"job {number}: {returned} msats returned for paid debts of another amount"
        yield from _equation(f"job {number}", of_job, received, returned)
    yield from _totals(evidence, credit)


def _totals(evidence: Evidence, credit: dict[Any, Counter[str]]) -> Sentences:
    total: Counter[str] = Counter()
    for of_job in credit.values():
        for account, msats in of_job.items():
            total[account] += msats
    if sum(total.values()) != 0:
        yield f"the ledger sums to {sum(total.values())}"
    received = sum(row["amount_msats"] for row in evidence.tables["receipts"])
    yield from _equation("all", total, received, MSATS * _paid(evidence.tables["payouts"]))
    nobodys = sum(r["amount_msats"] for r in evidence.tables["receipts"] if r["job_id"] is None)
    if total["unmatched"] != nobodys:
        yield f"unmatched is {total['unmatched']} and should be {nobodys}"
    fees = sum(payout["fee_msats"] or 0 for payout in evidence.tables["payouts"])
    fees += sum(receipt["fee_msats"] for receipt in evidence.tables["receipts"])
    if -total["routing_fees"] != fees:
        yield f"routing fees are {-total['routing_fees']} and should be {fees}"


def _equation(whose: str, credit: Counter[str], received: int, returned: int) -> Sentences:
    rounding, fees = -credit["rounding"], -credit["routing_fees"]
    right = sum(credit[account] for account in WHOSE) + returned - rounding
    if received != right:
        yield f"{whose}: received {received} msats, and {right} are accounted for"
    if -credit["wallet"] != received - returned - fees:
        yield f"{whose}: the wallet's account is {-credit['wallet']}"
    overdrawn = [account for account in WHOSE if credit[account] < 0]
    if overdrawn or rounding < 0 or fees < 0:
        yield f"{whose}: overdrawn {overdrawn or 'rounding or fees'}"


def _credits(entries: Iterable[Row]) -> dict[Any, Counter[str]]:
    credit: dict[Any, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        credit[entry["job_id"]][entry["debit"]] -= entry["amount_msats"]
        credit[entry["job_id"]][entry["credit"]] += entry["amount_msats"]
    return credit


def _delivered_verdicts(evidence: Evidence) -> set[int]:
    events = evidence.tables["job_events"]
    return {row["job_id"] for row in events if row["event"] in {"accepted", "declined"}}


def _undelivered(job: Row, invoices: dict[tuple[int, str], Row]) -> int:
    kind = PAYS_FOR.get(job["state"])
    return MSATS * int(invoices[job["id"], kind]["amount_sats"]) if kind else 0


def _sum_in(debts: Iterable[Row], state: str) -> int:
    return MSATS * sum(int(debt["amount_sats"]) for debt in debts if debt["state"] == state)


def _paid(payouts: Iterable[Row]) -> int:
    return sum(int(payout["amount_sats"]) for payout in payouts if payout["state"] == "paid")


# --- I2: what the world saw is what the books say

FOUND_WITHIN_SECONDS = 75.0
"""What the feed hides is found by reading it back, once a minute, and at the second try perhaps."""


def books_are_the_world(evidence: Evidence) -> Sentences:
    came = evidence.money("payment_in")
    receipts = {row["payment_hash"]: row for row in evidence.tables["receipts"]}
    for payment_hash, arrivals in came.items():
        receipt = receipts.get(payment_hash)
        amounts = [effect["amountMsat"] for effect in arrivals]
        if receipt is None:
            if evidence.read_at - max(effect["at"] for effect in arrivals) > FOUND_WITHIN_SECONDS:
                yield f"{payment_hash[:8]}: {amounts} msats arrived and there is no receipt"
        elif amounts != [receipt["amount_msats"]]:
            yield f"{payment_hash[:8]}: {amounts} arrived, the receipt says otherwise"
    for payment_hash in receipts.keys() - came.keys():
        yield f"{payment_hash[:8]}: a receipt for money that never arrived"
    yield from _money_out(evidence)


def _money_out(evidence: Evidence) -> Sentences:
    went = evidence.money("payment_out")
    payouts = {row["payment_hash"]: row for row in evidence.tables["payouts"]}
    for payment_hash in went.keys() - payouts.keys():
        yield f"{payment_hash[:8]}: money left that no payout asked for"
    for payment_hash, payout in payouts.items():
        yield from _payout(payout, went.get(payment_hash, []))


def _payout(payout: Row, sent: list[Row]) -> Sentences:
    name, state = f"payout {payout['id']}", payout["state"]
    if state == "paid" and not sent:
        yield f"{name} is called paid and the world knows nothing of it"
    if state == "failed" and sent:
        yield f"{name} is called failed and the world has paid it"
    for effect in sent:
        if effect["amountMsat"] != MSATS * payout["amount_sats"]:
            yield f"{name} was paid with {effect['amountMsat']} msats"
        if state == "paid" and effect["feeMsat"] != (payout["fee_msats"] or 0):
            yield f"{name} cost a fee of {effect['feeMsat']}, not {payout['fee_msats']}"


# --- I3: nothing is paid twice


def nothing_is_paid_twice(evidence: Evidence) -> Sentences:
    went = evidence.money("payment_out")
    for payment_hash, sent in went.items():
        if len(sent) > 1:
            yield f"{payment_hash[:8]}: paid {len(sent)} times"
    debts, payouts = evidence.by("debts", "job_id"), evidence.by("payouts", "job_id")
    for job, of_job in payouts.items():
        sats = sum(row["amount_sats"] for row in of_job if row["payment_hash"] in went)
        owed = sum(row["amount_sats"] for row in debts[job])
        if sats > owed:
            yield f"job {job}: {sats} sats were paid out and {owed} were ever owed"
        live = [row for row in of_job if row["state"] == "sending"]
        if len(live) > 1:
            yield f"job {job}: {len(live)} payouts at once"


# --- I4: who has paid is served


def whoever_paid_is_served(evidence: Evidence) -> Sentences:
    for job in evidence.tables["jobs"]:
        if job["state"] in WORKING:
            since = evidence.calm_at - job["moved_at"].timestamp()
            yield f"job {job['id']} still {job['state']}, {since:.0f} s old when all was calm"
        if (job["due_at"] is None) != (job["state"] not in WORKING):
            yield f"job {job['id']} is {job['state']} and due {job['due_at']}"
    for table in ("jobs", "payouts", "refund_destinations"):
        for row in evidence.tables[table]:
            late = row["due_at"] and evidence.read_at - row["due_at"].timestamp()
            if late and late > STUCK_AFTER_SECONDS:
                yield f"{table}: job {row.get('job_id', row.get('id'))} due for {late:.0f} s"
    yield from _paid_but_waiting(evidence)
    yield from _undecided_payouts(evidence)


def _paid_but_waiting(evidence: Evidence) -> Sentences:
    """A job that waits for a payment which the world has seen."""
    came = evidence.money("payment_in")
    states = {job["id"]: job["state"] for job in evidence.tables["jobs"]}
    for invoice in evidence.tables["invoices"]:
        awaited = states[invoice["job_id"]] == f"awaiting_{invoice['kind']}_payment"
        if awaited and invoice["payment_hash"] in came:
            yield f"job {invoice['job_id']} waits for a payment that was made"


def _undecided_payouts(evidence: Evidence) -> Sentences:
    """In doubt is only what the world has not paid; what it has paid is found soon.

    The world loses no row: what hangs for want of one was not looked at again.
    """
    went = evidence.money("payment_out")
    is_long_calm = evidence.read_at - evidence.calm_at > STUCK_AFTER_SECONDS / 2
    for payout in evidence.tables["payouts"]:
        is_lost = payout["row_was_read"] and payout["last_code"] == "http_404"
        if payout["state"] == "sending" and is_lost and is_long_calm:
            yield f"payout {payout['id']} waits for a row that was never lost"
        sent = went.get(payout["payment_hash"])
        if payout["state"] == "sending" and sent:
            since = evidence.read_at - max(sent[0]["at"], evidence.calm_at)
            if since > STUCK_AFTER_SECONDS / 2:
                yield f"payout {payout['id']} was paid {since:.0f} s ago and nobody noticed"


# --- I5: one charge a result


def each_result_is_charged_once(evidence: Evidence) -> Sentences:
    answered = Counter(
        (row["job_id"], row["step"])
        for row in evidence.tables["attempts"]
        if row["outcome"] == "answered"
    )
    debts = evidence.by("debts", "job_id")
    for key, count in answered.items():
        if count > 1:
            yield f"job {key[0]}: {count} answers to {key[1]}"
    for job in evidence.tables["jobs"]:
        yield from _end_is_paid_for(job, debts[job["id"]], answered)


def _end_is_paid_for(job: Row, debts: list[Row], answered: Counter[Any]) -> Sentences:
    name, state = f"job {job['id']}", job["state"]
    causes = Counter(debt["cause"] for debt in debts)
    if state == "complete":
        unused = sum(d["amount_sats"] for d in debts if d["cause"] == "unused_work")
        if job["actual_amount_sats"] + unused != job["work_amount_sats"]:
            yield f"{name}: charge and refund are not what was paid"
        if not answered[job["id"], "execute"]:
            yield f"{name} is complete without an answer"
    if state == "failed" and not FAILURE_DEBTS & causes.keys():
        yield f"{name} failed and nothing is owed for it"
    if state != "failed" and FAILURE_DEBTS & causes.keys():
        yield f"{name} is {state} and owes for a failure"
    if causes["unused_work"] > (state == "complete"):
        yield f"{name} is {state} and owes unused work {causes['unused_work']} times"


# --- I6: model calls


SPOILS = frozenset(
    {"status", "reset", "truncated", "unreadable", "empty", "refusal", "body"}
    | {"error_inside", "error_in_choice", "no_choices"}
)
"""Faults after which a model has to be asked again."""
PROBE = label_of("", "Say yes.")
"""Whether a model works again is asked as often as need be."""


class Reason(StrEnum):
    """Why a call was made again."""

    PROBE = "to see whether the model works again"
    WEATHER = "spoilt by the weather"
    NEMESIS = "within a window of the nemesis"
    NONE = "without a reason"


def extra_calls_have_a_reason(evidence: Evidence) -> Sentences:
    """One call a step; each further one after a call that the weather or the nemesis spoilt."""
    windows = Windows(evidence)
    for label, before, after in _extra_calls(evidence):
        if _reason(label, before, after, windows) is Reason.NONE:
            yield f"call {label[:8]} was made again after {before['outcome']}, without a reason"
        is_at_once = before["ended"] is None or after["began"] < before["ended"]
        is_taken_over = label == PROBE or windows.touch(before["began"], after["began"])
        if is_at_once and not is_taken_over:
            yield f"call {label[:8]} was made twice at once, without a take-over"


def reasons_of_extra_calls(evidence: Evidence) -> dict[str, int]:
    """How many calls beyond one a step are excused by what."""
    windows = Windows(evidence)
    found = Counter(_reason(*call, windows) for call in _extra_calls(evidence))
    return {reason.value: found[reason] for reason in Reason}


def _extra_calls(evidence: Evidence) -> Iterator[tuple[str, Row, Row]]:
    """What was asked, the call that should have been enough, and the one after it."""
    for label, calls in calls_by_step(evidence).items():
        for before, after in pairwise(calls):
            yield label, before, after


def _reason(label: str, before: Row, after: Row, windows: Windows) -> Reason:
    if label == PROBE:
        return Reason.PROBE
    if before["fault"] in SPOILS:
        return Reason.WEATHER
    is_attacked = windows.touch(before["began"], after["began"])
    return Reason.NEMESIS if is_attacked else Reason.NONE


def calls_by_step(evidence: Evidence) -> dict[str, list[Row]]:
    """Model calls in the order they began, by what was asked; ``ended`` None = never."""
    ends = {effect["call"]: effect for effect in evidence.of_kind("model_call_end")}
    calls: dict[str, list[Row]] = defaultdict(list)
    for begin in evidence.of_kind("model_call_begin"):
        end = ends.get(begin["call"], {})
        call = {
            "began": begin["at"],
            "ended": end.get("at"),
            "fault": end.get("fault"),
            "outcome": end.get("outcome", "nothing"),
        }
        calls[begin["label"]].append(call)
    return calls


# --- I7: the history


def history_is_whole(evidence: Evidence) -> Sentences:
    events = evidence.by("job_events", "job_id")
    for job in evidence.tables["jobs"]:
        of_job = sorted(events[job["id"]], key=lambda event: event["version"])
        versions = [event["version"] for event in of_job]
        if versions != list(range(1, len(of_job) + 1)) or job["version"] != len(of_job):
            yield f"job {job['id']}: events {versions}, version {job['version']}"
        for before, after in pairwise(of_job):
            if before["target"] != after["source"]:
                yield f"job {job['id']}: {after['event']} out of {after['source']}"
        if of_job and of_job[-1]["target"] != job["state"]:
            yield f"job {job['id']} is {job['state']}, its history says {of_job[-1]['target']}"
        for event in of_job[:-1]:
            if event["target"] in FINAL - {"expired"}:
                yield f"job {job['id']} went on after {event['target']}"


# --- I8: what callers were told

RANK = {
    "awaiting_eval_payment": 0,
    "expired": 0,
    "evaluating": 1,
    "awaiting_work_payment": 2,
    "rejected": 3,
    "executing": 3,
    "complete": 4,
    "failed": 4,
}


def callers_read_forward(evidence: Evidence) -> Sentences:
    """No state goes back, nothing is called paid before the caller paid it or we paid them."""
    paid = _paid_by_caller(evidence)
    states: dict[str, tuple[str, Row]] = {}
    for line in evidence.callers:
        if line["what"] != "saw":
            continue
        before = states.get(line["job"])
        if before is not None:
            yield from _step(line, *before)
        states[line["job"]] = (line["state"], line)
        needed = 1 if RANK[line["state"]] >= 1 else 0
        needed += line["state"] in {"executing", "complete"}
        if len([at for at in paid[line["job"]] if at <= line["at"] + 1]) < needed:
            yield f"{line['job'][:8]} was {line['state']} before it was paid"
    yield from _refunds_told(evidence)


def _step(line: Row, state: str, before: Row) -> Sentences:
    name = line["job"][:8]
    was_expired = state == "expired" or line["state"] == "expired"
    if not was_expired and RANK[line["state"]] < RANK[state]:
        yield f"{name} went back from {state} to {line['state']}"
    if state in FINAL - {"expired"} and line["state"] != state:
        yield f"{name} was {state} and then {line['state']}"
    for cause, sats, _ in (debt for debt in before["debts"] if debt[2] == "paid"):
        if [cause, sats, "paid"] not in line["debts"]:
            yield f"{name}: {cause} was paid, and then no more"


def _paid_by_caller(evidence: Evidence) -> dict[str, list[float]]:
    paid: dict[str, list[float]] = defaultdict(list)
    for line in evidence.callers:
        if line["what"] == "pays":
            paid[line["job"]].append(line["at"])
    return paid


def _refunds_told(evidence: Evidence) -> Sentences:
    went = evidence.money("payment_out")
    for line in evidence.callers:
        if line["what"] == "refunded":
            sent = went.get(line["hash"])
            if not sent or sent[0]["at"] > line["at"]:
                yield f"{line['job'][:8]} was told of a refund before it was paid"


# --- I9: the doors stay open

DOORS = ("web", "web-2")
CLEAN = frozenset({201, 429, 503})
"""How a POST of a job may be answered while something outside is away."""
LOCK_SECONDS = 3.0
NOT_NOW = frozenset({"lightning_unavailable", "resource_unavailable"})
"""What any other POST may say of the outside."""


def doors_stay_open(evidence: Evidence) -> Sentences:
    """Only what is done to a door, or to PostgreSQL, may keep it from answering.

    Valkey, LNbits, models and workers are nothing to a GET, and a clean 503 to a POST. So is
    whoever stands still and holds the row that a POST wants.
    """
    windows = DoorWindows(evidence)
    for line in evidence.callers:
        if line["what"] != "answered" or _is_in_order(line):
            continue
        when = line["at"], line["seconds"]
        if _waited_for_a_row(line) and windows.may_hold_a_row(*when):
            continue
        if not windows.may_fail(DOORS[line["door"]], *when):
            said = line["code"] or line["trouble"] or line["status"]
            yield f"{line['route']} at {DOORS[line['door']]}: {said} at {line['at']:.1f}"


def _is_in_order(line: Row) -> bool:
    if 200 <= line["status"] < 300:
        return True
    if line["route"] == "POST /api/jobs":
        return line["status"] in CLEAN and line["retry_after"] is not None
    if line["route"].startswith("POST"):
        return line["status"] // 100 == 4 or line["code"] in NOT_NOW
    return False


def _waited_for_a_row(line: Row) -> bool:
    """As long as PostgreSQL lets anybody wait (``lock_timeout``), and then was told to come again.

    Whoever only reads waits for nobody.
    """
    is_told = line["code"] == "not_ready" and line["retry_after"] is not None
    as_long = LOCK_SECONDS <= line["seconds"] <= 2 * LOCK_SECONDS
    return line["route"].startswith("POST") and is_told and as_long


# --- I10: somebody else has looked at the books


def the_auditor_agrees(evidence: Evidence) -> Sentences:
    """beancount, which shares no code with us, adds the exported ledger up to the same balances."""
    yield from evidence.complaints


# --- I16: what is said is documented


def answers_are_documented(evidence: Evidence) -> Sentences:
    """Whatever happens behind the doors, and nothing of anybody else stands in an answer."""
    for line in evidence.callers:
        if line["what"] == "breach":
            yield f"{line['route']}: {line['said']}"


# --- I19: production alarms for nothing

LATE = frozenset(
    {"lease_looked_after", "deadline_kept", "run_lease_looked_after", "run_deadline_kept"}
)
"""Rules that a nemesis who keeps workers away can break; who is late for good is found by I4."""


def nobody_is_alarmed_for_nothing(evidence: Evidence) -> Sentences:
    """What production's own sweep has ever called broken, was, also if it is mended by now."""
    for row in evidence.tables["violations"]:
        if row["rule"] not in LATE:
            whose = {name: row[name] for name in ("job_id", "run_id", "account") if row[name]}
            yield f"{row['rule']} of {whose} from {row['first_seen_at']} to {row['mended_at']}"


RULES: dict[str, Callable[[Evidence], Sentences]] = {
    "I1 the ledger is balanced": ledger_is_balanced,
    "I2 the books are the world": books_are_the_world,
    "I3 nothing is paid twice": nothing_is_paid_twice,
    "I4 whoever paid is served": whoever_paid_is_served,
    "I5 each result is charged once": each_result_is_charged_once,
    "I6 extra model calls have a reason": extra_calls_have_a_reason,
    "I7 the history is whole": history_is_whole,
    "I8 callers read forward": callers_read_forward,
    "I9 the doors stay open": doors_stay_open,
    "I10 the auditor agrees": the_auditor_agrees,
    "I11 each transfer is one sale": sales.each_transfer_is_one_sale,
    "I12 each sale is paid": sales.each_sale_is_paid,
    "I13 every run ends": sales.every_run_ends,
    "I14 buyers are told the truth": sales.buyers_are_told_the_truth,
    "I15 earnings are the transfers": sales.earnings_are_the_transfers,
    "I16 answers are as documented": answers_are_documented,
    "I17 nobody gives up without a reason": patience.nobody_gives_up_without_a_reason,
    "I18 the run shows something": patience.the_run_shows_something,
    "I19 nobody is alarmed for nothing": nobody_is_alarmed_for_nothing,
}
