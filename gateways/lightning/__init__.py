"""Lightning as we need it: money in through ``Income``, money out through ``Payouts``.

Two protocols because they are two keys: the process that answers the web never holds the one that
can pay.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from models.money import Msats, Sats

NO_FEE = Msats(0)


@dataclass(frozen=True, kw_only=True)
class IssuedInvoice:
    """A BOLT11 invoice that the node made for us;
    its amount was checked against what we asked for.
    """

    payment_hash: str
    """64 lower-case hex digits."""
    payment_request: str


@dataclass(frozen=True, kw_only=True)
class SettledPayment:
    """Money that arrived. ``amount`` is what really came, which may differ from the invoice."""

    payment_hash: str
    amount: Msats
    fee: Msats = NO_FEE
    """How much less of it is in the wallet. LNbits may learn that later than that it was paid."""
    settled_at: datetime
    """Aware UTC, by the clock of the Lightning node; for the record only, never for a decision."""


class MovementState(StrEnum):
    SETTLED = "settled"
    PENDING = "pending"
    """Going out, and nobody knows: amount and reserve are off the balance."""
    FAILED = "failed"
    """The node's word, which may change; nothing is off the balance."""


@dataclass(frozen=True, kw_only=True)
class PayoutMark:
    """What a payout's row in the wallet says of whose it was, in words of ours.

    ``job_digits`` are the first 8 hex digits of the job's public id, so that a number that was
    given twice (by a database before and after it was restored) is not mistaken.
    """

    job_id: int
    job_digits: str
    payout_id: int


@dataclass(frozen=True, kw_only=True)
class Movement:
    """One row of a wallet's own list: money that came, went, or may yet."""

    wallet_id: str
    """Which wallet the list is of, however it was asked."""
    payment_hash: str
    amount: Msats
    """Below zero for money that goes out; without the fee."""
    fee: Msats
    """What it cost on top, or may yet while it is PENDING; of money that came, what was taken off.
    """
    state: MovementState
    changed_at: datetime
    """Aware UTC, by the clock of LNbits: comparable with its own other times only."""
    mark: PayoutMark | None
    payment_request: str
    """Empty if the wallet does not know it."""


@dataclass(frozen=True, kw_only=True)
class MovementPage:
    movements: list[Movement]
    is_last: bool


class Direction(StrEnum):
    IN = "in"
    """Settled ones only."""
    OUT = "out"
    """In every state."""


class InvoiceReading(StrEnum):
    """What the node says of one of our invoices when it is asked about it."""

    PAID = "paid"
    UNPAID = "unpaid"
    """A definite answer: not paid at this moment. It may still be paid later."""
    UNKNOWN = "unknown"
    """No definite answer; nothing may be concluded from it."""


@dataclass(frozen=True, kw_only=True)
class InvoiceState:
    """One invoice, asked about by hash. ``payment`` is there exactly when it is PAID."""

    reading: InvoiceReading
    payment: SettledPayment | None = None


class Income(Protocol):
    """Receiving: needs only the invoice key.

    Every method but ``is_awake`` raises Unavailable or Refused, and nothing else.
    """

    def create_invoice(self, amount: Sats, *, memo: str, lifetime: timedelta) -> IssuedInvoice:
        """Make an invoice for exactly ``amount``. Calling twice makes two invoices."""

    def is_awake(self) -> bool:
        """Whether it answers at all right now, however slow its node is. Raises nothing.

        Whoever waits for it in vain would wait as long as for one that is slow.
        """

    def settled_payments(self, *, page: int, page_size: int) -> list[SettledPayment]:
        """One page (from 0) of incoming settled payments, newest settlement first. One request."""

    def invoice_states(self, payment_hashes: list[str]) -> dict[str, InvoiceState]:
        """Ask the node itself about these invoices (at most 100).

        About one after the other, and nothing else is done for anybody meanwhile: be brief. A hash
        that is left out was not answered for.
        """

    def balance(self) -> Msats:
        """Balance of the income wallet."""

    def movements(self, direction: Direction, *, page: int, page_size: int) -> MovementPage:
        """One page (from 0) of the wallet's own list, what changed last first. One request.

        It is the list of LNbits, which does not ask its node. Raises Unavailable or Refused.
        """

    def check_key(self) -> None:
        """Prove that the key opens a wallet and cannot pay; changes nothing.

        Raises Refused with ``wrong_key`` or ``key_can_pay`` when it is the key.
        """


class PayoutOutcome(StrEnum):
    """What is known of money that we sent. Doubt is a value of its own."""

    PAID = "paid"
    FAILED = "failed"
    """LNbits calls it failed. Not yet a proof: see services.money.payout_evidence."""
    PENDING = "pending"
    MISSING = "missing"
    """The paying wallet has no row for this hash."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class PayoutReading:
    """The state of one payout as read back from the paying wallet.

    Fee and preimage only when PAID.
    """

    outcome: PayoutOutcome
    fee: Msats = NO_FEE
    preimage: str | None = None
    code: str = ""
    """A short stable word on why, for the journal: ``timeout``, ``http_520`` …"""


class SendOutcome(StrEnum):
    """What the answer to a send allows us to conclude, which is never that it was paid."""

    SENT = "sent"
    """It was handed over, or it was not: only reading it back tells."""
    REFUSED = "refused"
    """A refusal known to be made before anything is sent (no balance, cannot be decoded …)."""


@dataclass(frozen=True, kw_only=True)
class SendReport:
    outcome: SendOutcome
    code: str
    was_considered: bool = False
    """LNbits has looked at the payment, and asked its node if its row said "failed". Unless its
    answer shows that, it has not: the request may not have come so far.
    """
    was_confirmed: bool = False
    """Its node was asked because of this request, and said that the payment has failed."""


class Age(StrEnum):
    """Of an LNbits: what it is worth that it calls a payment failed."""

    YOUNG = "young"
    """It does so only if its node does. What an older one wrote before, it repeats all the same."""
    OLD = "old"
    """It does so as well of payments that are under way, whose end its node has not told."""
    UNKNOWN = "unknown"
    """It answered, and did not say."""
    SILENT = "silent"
    """It did not answer."""


class Payouts(Protocol):
    """Paying: needs the admin key of the paying wallet.

    No method raises for trouble outside, except ``balance``, ``movements`` and ``wallet_id``.
    """

    def send(
        self,
        payment_request: str,
        mark: PayoutMark | None = None,
        *,
        not_after: float | None = None,
    ) -> SendReport:
        """Hand the BOLT11 over for payment. Sending the same one again is safe;
        another one would pay twice.

        The wallet keeps ``mark`` with its row (see ``movements``). ``not_after``, by
        ``time.monotonic()``, nothing is sent any more.
        """

    def read(self, payment_hash: str) -> PayoutReading:
        """Read one payout back by hash. The only road to PAID."""

    def balance(self) -> Msats:
        """Balance of the paying wallet; raises Unavailable or Refused.

        Success also proves that the key is good.
        """

    def movements(self, direction: Direction, *, page: int, page_size: int) -> MovementPage:
        """One page (from 0) of the wallet's own list, what changed last first. One request.

        It is the list of LNbits, which does not ask its node. Raises Unavailable or Refused.
        """

    def wallet_id(self) -> str:
        """Which wallet is paid from, by asking; proves that the key is good and may pay.

        Raises Unavailable, or Refused with ``wrong_key`` or ``key_cannot_pay`` when it is the key.
        """

    def key_mark(self) -> str:
        """Tells this key from any other one, without giving it away; asks nobody."""

    def age(self) -> Age:
        """How old the LNbits is that answers now, as it said a minute ago at most.

        Raises nothing.
        """


class BenchPayer(Protocol):
    """A payer that pays our own invoices: exists only beside the local stand-in."""

    def pay(self, payment_hash: str) -> bool:
        """Pay the open invoice with this hash; False when the stand-in knows no such invoice.

        Safe to repeat.
        """
