"""What a caller is told of a refund that goes by itself: section 4 of the contract, once more."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

WINDOW_SECONDS = 3 * 24 * 3600
"""Tried so long by itself; then the caller may claim."""
SLACK_SECONDS = 60
ARROWS = {
    "waiting": {"trying"},
    "trying": {"paying", "given_up", "waiting"},
    "paying": {"paid", "trying"},
    "paid": {"trying"},
    "given_up": {"trying"},
}
BY_ITSELF = {"trying", "paying"}
"""While it is so, nobody may claim."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An invoice that the receiver answered with."""

    text: str
    payment_hash: str
    sats: int
    expires: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the job stands whose money it is."""

    is_open: bool
    owed_sats: int
    is_news: bool
    """Whether a debt came, or the job ended, since the caller looked before."""
    has_just_been_paid: bool
    """Whether a debt is paid that was not when the caller looked before."""
    may_fail: bool
    """Whether a receiver was in such trouble that it may be given up before its time."""


@dataclass(kw_only=True)
class Receiver:
    name: str
    address: str
    offers: list[Offer] = field(default_factory=list)
    trace: list[str] = field(default_factory=lambda: ["waiting"])
    trying_since: float = 0
    had_trouble: bool = False

    @property
    def state(self) -> str:
        return self.trace[-1]

    @property
    def hashes(self) -> set[str]:
        return {offer.payment_hash for offer in self.offers}

    def is_overdue(self, now: float) -> bool:
        """Whether it is being tried and must have been given up."""
        return self.state == "trying" and now > self.trying_since + WINDOW_SECONDS + SLACK_SECONDS

    def hear(self, told: Json, job: Standing, now: float) -> str | None:
        """Hold what GET says against what was said before; returns the move that it shows."""
        was, state = self.state, told["state"]
        assert told["address"] == self.address
        if state != was:
            self._check_move(was, state, job, now)
            self.trace.append(state)
        if self._begins_anew(was, job):
            assert job.is_news, "it is tried again, and nothing has happened"
            self.trying_since = now
        self.had_trouble |= "lastError" in told
        self._check_standing(told, job)
        self._check_patience(told, now)
        return f"{was} -> {state}" if state != was else None

    def _begins_anew(self, was: str, job: Standing) -> bool:
        """Whether three more days begin: for a new debt, not for a payment that failed."""
        was_done = was not in BY_ITSELF or (was == "paying" and job.has_just_been_paid)
        return self.state == "trying" and was_done

    def _check_move(self, was: str, state: str, job: Standing, now: float) -> None:
        assert state in ARROWS[was], f"refundTo went from {was} to {state}"
        if state == "waiting":
            assert job.is_open, "nobody tries any more, and the job has ended"
        if state == "given_up":
            is_over = now > self.trying_since + WINDOW_SECONDS - SLACK_SECONDS
            assert job.may_fail or is_over, "it was given up without a reason"

    def _check_standing(self, told: Json, job: Standing) -> None:
        if self.state in {"waiting", "paid"} and not job.is_open:
            assert not job.owed_sats, f"refundTo is {self.state}, and {job.owed_sats} sats are owed"
        if self.state in BY_ITSELF:
            assert job.owed_sats, f"refundTo is {self.state}, and nothing is owed"
        if self.state == "paid":
            assert "lastError" not in told
        if self.state == "given_up":
            assert told["lastError"], "it was given up, and nobody says why"

    def _check_patience(self, told: Json, now: float) -> None:
        """The moment from which it can be claimed is told, and is no more than three days away."""
        assert ("claimableAt" in told) == (self.state == "trying")
        if self.state == "trying":
            left = datetime.fromisoformat(told["claimableAt"]) - datetime.now(UTC)
            due = self.trying_since + WINDOW_SECONDS - now
            is_right = abs(left.total_seconds() - due) < SLACK_SECONDS
            assert is_right, f"claimable in {left}, not in {due} s"
