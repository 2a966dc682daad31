"""What the caller of one job knows, was told, and is owed: a small model of the contract.

It is fed with answers of the API and with what the payer did, and knows no code of ours. A moment
is a number of seconds on the clock of the machine, which runs when time is made to pass.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.stateful.returning import BY_ITSELF, Receiver, Standing
from tests.support.life import REQUEST

Json = dict[str, Any]
Owed = Counter[tuple[str, int]]
"""How often each (cause, sats) is owed."""

MSATS = 1000
GRACE_SECONDS = 600
JOB_DEADLINE_SECONDS = 3600
SLACK_SECONDS = 60
"""The clock of the machine stands still while rules run: nearer than this, both sides are right."""

ARROWS = {
    "awaiting_eval_payment": {"evaluating", "expired"},
    "evaluating": {"awaiting_work_payment", "rejected", "failed"},
    "awaiting_work_payment": {"executing", "expired"},
    "executing": {"complete", "failed"},
    "expired": {"evaluating", "executing"},
}
"""The table of the contract, written down a second time."""
AWAITING = {"awaiting_eval_payment": "eval", "awaiting_work_payment": "work"}
WORKING = {"evaluating": "eval", "executing": "work"}
ENDED = ("rejected", "complete", "failed", "expired")
FINAL_MEMBERS = {
    "rejected": ("reason",),
    "failed": ("errorMessage",),
    "complete": ("result", "costLedger"),
}


class Fate(StrEnum):
    """What becomes of a request whose caller pays, as long as models answer."""

    DONE = REQUEST
    DECLINED = "REJECT this request, please."
    REFUSED = "REFUSE to do this work, after you accepted it."


@dataclass(kw_only=True)
class Bill:
    """An invoice as it was shown."""

    payment_hash: str
    payment_request: str
    sats: int
    deadline: float
    paid_msats: int | None = None
    has_moved_the_job: bool = False

    @property
    def is_paid(self) -> bool:
        return self.paid_msats is not None and self.paid_msats >= self.sats * MSATS


@dataclass(kw_only=True)
class Claimed:
    """An invoice of the caller that was sent in to be paid."""

    text: str
    payment_hash: str
    sats: int
    expires: float


@dataclass(kw_only=True)
class Excuses:
    """What has happened in this world that may end a job badly, or keep it waiting."""

    models_failed: bool = False
    receivers_failed: bool = False
    kills: int = 0


@dataclass(kw_only=True, repr=False)
class Caller:
    number: int
    job_id: str
    fate: Fate
    excuses: Excuses
    told: Json
    bills: dict[str, Bill]
    moved_at: float
    receiver: Receiver | None = None
    """Where the caller wants owed money to go by itself."""
    trace: list[str] = field(default_factory=lambda: ["awaiting_eval_payment"])
    has_cancelled: bool = False
    claims: list[Claimed] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"job {self.number}"

    @property
    def state(self) -> str:
        return self.trace[-1]

    @property
    def newest_bill(self) -> Bill:
        return self.bills.get("work") or self.bills["eval"]

    @property
    def debts(self) -> list[tuple[str, int, str]]:
        """(cause, sats, state), oldest first."""
        shown = self.told.get("debts", [])
        return [(debt["cause"], debt["amountSats"], debt["state"]) for debt in shown]

    @property
    def owed_sats(self) -> int:
        """What the API says that can be claimed."""
        return int(self.told.get("refundAmountSats", 0))

    @property
    def returning(self) -> str | None:
        """How the refund that goes by itself fares; None = it never does."""
        return None if self.receiver is None else self.receiver.state

    @property
    def goes_by_itself(self) -> bool:
        return self.returning in BY_ITSELF

    @property
    def payees(self) -> set[str]:
        """The payment hashes of all invoices that this caller's money may go to."""
        claimed = {claim.payment_hash for claim in self.claims}
        return claimed if self.receiver is None else claimed | self.receiver.hashes

    @property
    def has_verdict(self) -> bool:
        return "rejected" in self.trace or "awaiting_work_payment" in self.trace

    def hear(self, answer: Json, now: float) -> str | None:
        """Hold what GET says against all that was said before; returns the move that it shows."""
        before, was = self.told, self.state
        self.told = answer
        moved = None
        if answer["state"] != was:
            self._check_move(was, answer, now)
            self.trace.append(answer["state"])
            self.moved_at = now
            moved = f"{self!r}: {was} -> {self.state}"
        self._note_bill(answer, now)
        self._check_constant(before, answer)
        self._check_debts(before, now)
        self._check_ledger()
        return moved

    def hear_of_the_return(self, before: Json, now: float) -> str | None:
        """After ``hear``, which was told ``before`` the last time: the move of ``refundTo``."""
        assert ("refundTo" in self.told) == (self.receiver is not None)
        if self.receiver is None:
            return None
        open_before = sum(debt["state"] == "pending" for debt in before.get("debts", []))
        known = len(before.get("debts", []))
        has_ended = self.state in ENDED and before["state"] != self.state
        open_now = sum(state == "pending" for _, _, state in self.debts[:known])
        standing = Standing(
            is_open=self.state not in ENDED,
            owed_sats=self.owed_sats,
            is_news=has_ended or len(self.debts) > known,
            has_just_been_paid=open_now < open_before,
            may_fail=self.excuses.receivers_failed,
        )
        return self.receiver.hear(self.told["refundTo"], standing, now)

    def _check_move(self, was: str, answer: Json, now: float) -> None:
        state = answer["state"]
        assert state in ARROWS.get(was, ()), f"{self!r} went from {was} to {state}"
        if was in AWAITING and state == "expired":
            self._check_expiry(self.bills[AWAITING[was]], answer, now)
        if was == "expired":
            self._check_revival(state, now)
        if state in WORKING:
            bill = self.bills[WORKING[state]]
            assert bill.is_paid, f"{self!r} is {state} and was not paid for"
            bill.has_moved_the_job = True
        if state == "failed":
            assert self._may_fail(was, now), f"{self!r} failed without a reason: {answer}"
        if state in {"rejected", "complete"}:
            self._check_verdict(state)

    def _check_expiry(self, bill: Bill, answer: Json, now: float) -> None:
        if answer["expiredReason"] == "cancelled":
            assert self.has_cancelled, f"{self!r} was cancelled by nobody"
            return
        assert now > bill.deadline - SLACK_SECONDS, f"{self!r} expired before its deadline"
        assert not bill.is_paid, f"{self!r} expired although it was paid"

    def _check_revival(self, state: str, now: float) -> None:
        assert not self.has_cancelled, f"{self!r} was cancelled and lives again"
        kind = AWAITING[self.trace[-2]]
        assert WORKING[state] == kind, f"{self!r} went on where it had not been"
        latest = self.bills[kind].deadline + GRACE_SECONDS + SLACK_SECONDS
        assert now < latest, f"{self!r} lives again long after its deadline"

    def _may_fail(self, was: str, now: float) -> bool:
        is_late = now > self.moved_at + JOB_DEADLINE_SECONDS - SLACK_SECONDS
        refused = was == "executing" and self.fate is Fate.REFUSED
        return refused or is_late or self.excuses.models_failed or self.excuses.kills >= 3

    def _check_verdict(self, state: str) -> None:
        right = {"rejected": Fate.DECLINED, "complete": Fate.DONE}[state]
        assert self.fate is right or self.excuses.models_failed, f"{self!r} must not be {state}"

    def _note_bill(self, answer: Json, now: float) -> None:
        shown = answer.get("workInvoice")
        if shown and "work" not in self.bills:
            self.bills["work"] = bill_of(shown, now)

    def _check_constant(self, before: Json, answer: Json) -> None:
        """What was said once stays true."""
        assert answer["jobId"] == before["jobId"]
        for kind, bill in self.bills.items():
            shown = answer.get(f"{kind}Invoice")
            if shown:
                assert shown["paymentRequest"] == bill.payment_request
                assert shown["amountSats"] == bill.sats
        if before["state"] == answer["state"]:
            for name in FINAL_MEMBERS.get(self.state, ()):
                assert without_refund_state(answer[name]) == without_refund_state(before[name])

    def _check_debts(self, before: Json, now: float) -> None:
        """Debts only come, and are only paid; each has its reason; the sum is the sum."""
        debts, known = self.debts, before.get("debts", [])
        assert len(debts) >= len(known)
        for (cause, sats, state), old in zip(debts, known, strict=False):
            assert (cause, sats) == (old["cause"], old["amountSats"])
            assert state == "paid" or old["state"] == "pending", f"{self!r}: a paid debt is open"
        shown = Counter((cause, sats) for cause, sats, _ in debts)
        assert shown <= self.owed(), f"{self!r}: owed {shown}, at most {self.owed()}"
        assert self.owed_sats == sum(sats for _, sats, state in debts if state == "pending")
        if any(cause == "late" for cause, _, _ in debts[len(known) :]):
            self._check_late(now)

    def _check_late(self, now: float) -> None:
        too_late = self.newest_bill.deadline + GRACE_SECONDS - SLACK_SECONDS
        assert self.has_cancelled or now > too_late, f"{self!r}: a payment in time is called late"

    def owed(self) -> Owed:
        """All that will ever have been owed, as things stand, once every payment is noticed."""
        owed: Owed = Counter()
        for kind, bill in self.bills.items():
            owed += self._owed_for(kind, bill)
        if self.state == "failed":
            kind = WORKING[self.trace[-2]]
            cause = {"eval": "failed_evaluation", "work": "failed_work"}[kind]
            owed[cause, self.bills[kind].sats] += 1
        if self.state == "complete":
            unused = self.bills["work"].sats - self.told["costLedger"]["actualAmountSats"]
            owed["unused_work", unused] += 1
        return Counter({debt: times for debt, times in owed.items() if debt[1]})

    def _owed_for(self, kind: str, bill: Bill) -> Owed:
        if bill.paid_msats is None:
            return Counter()
        if bill.has_moved_the_job:
            return Counter([("duplicate", sats_for(bill.paid_msats - bill.sats * MSATS))])
        if not bill.is_paid:
            return Counter([("duplicate", sats_for(bill.paid_msats))])
        if AWAITING.get(self.state) == kind:
            return Counter()
        return Counter([("late", sats_for(bill.paid_msats))])

    def _check_ledger(self) -> None:
        """The price that was shown is the price that is charged from, and nothing gets lost."""
        ledger = self.told.get("costLedger")
        if ledger is None:
            return
        assert ledger["workAmountSats"] == self.bills["work"].sats
        assert ledger["actualAmountSats"] + ledger["refundAmountSats"] == ledger["workAmountSats"]
        assert ledger["actualAmountSats"] >= 1

    @property
    def kept_sats(self) -> int:
        """What the service may keep: the fee for a verdict, and the price of delivered work."""
        fee = self.bills["eval"].sats if self.has_verdict else 0
        work = self.told["costLedger"]["actualAmountSats"] if self.state == "complete" else 0
        return fee + int(work)

    @property
    def paid_msats(self) -> int:
        return sum(bill.paid_msats or 0 for bill in self.bills.values())


def bill_of(invoice: Json, now: float, *, lifetime_seconds: float = 3600) -> Bill:
    return Bill(
        payment_hash=invoice["paymentHash"],
        payment_request=invoice["paymentRequest"],
        sats=invoice["amountSats"],
        deadline=now + lifetime_seconds,
    )


def sats_for(msats: int) -> int:
    """Rounded up: a part of a sat is the caller's."""
    return -(-msats // MSATS)


def without_refund_state(value: object) -> object:
    """A cost ledger without the one member that may change."""
    if not isinstance(value, dict):
        return value
    return {name: member for name, member in value.items() if name != "refundState"}
