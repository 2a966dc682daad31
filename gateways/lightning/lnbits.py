"""Lightning through LNbits 1.4 or later: one class for each of the two keys.

The answers of LNbits are taken apart here and in ``lnbits_rows``, and nowhere else. What it really
answers, and when that differs from what one would expect, was observed on 1.6.2 and read in its
source.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from math import inf
from typing import Any

from gateways import bolt11
from gateways.deadline import ending_by, total_deadline
from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import DEFAULT_MAX_BYTES, HttpClient, Reply
from gateways.lightning import (
    Age,
    Direction,
    InvoiceState,
    IssuedInvoice,
    Movement,
    MovementPage,
    MovementState,
    PayoutMark,
    PayoutOutcome,
    PayoutReading,
    SendOutcome,
    SendReport,
    SettledPayment,
    lnbits_rows,
)
from gateways.lightning.lnbits_pulse import LnbitsPulse
from gateways.lightning.lnbits_version import LnbitsVersion
from models.money import Msats, Sats

GET_SECONDS = 10.0
CREATE_SECONDS = 15.0
PAY_SECONDS = 30.0
"""LNbits waits for its node with a lock held, so its slowness says nothing about the payment."""
ONE_BY_ONE_SECONDS = 30.0
"""For a whole page of invoices at an LNbits that is too old to be asked for a page."""
MEMO_LENGTH = 639
"""One more does not fit into a BOLT11."""
PAGE_LIMIT = 1000
"""LNbits serves no more rows; it also reads a limit of 0 as this."""
ROW_BYTES = 2 * bolt11.MAX_LENGTH + 6 * MEMO_LENGTH + 4096
"""The longest row that a stranger can have us make with an invoice for a refund.

It is shown twice, and its description with six characters for one that JSON has no letter for. All
else is of LNbits' making, 1 kB.
"""

UNKNOWN_PAYMENT = "Payment does not exist."
UNKNOWN_WALLET = "Wallet not found."

_NODE_SAYS_FAILED = "Payment is failed node, "
"""Of a row that was failed already, when its node was asked again. Any other 520 is said before
LNbits looks, or of a new row, or of one that has not failed.
"""
# Said before LNbits sends anything. Deliberately whole beginnings: the words of a node that did
# try come as "Payment failed: …", and "Internal invoice already paid." may be our own success.
_REFUSALS_BEFORE_SENDING = {
    "Insufficient balance.": "insufficient_balance",
    "You must reserve at least (": "insufficient_fee_reserve",
    "Bolt11 decoding failed.": "not_decoded",
    "Amountless invoices not supported.": "amountless",
    "Invoice amount ": "amount_too_high",
    "Wallet does not have permission to pay invoices.": "no_permission",
    "Missing BOLT11 invoice": "no_invoice",
}
_FILTERS = {
    Direction.IN: {"status": "success", "amount[gt]": "0"},
    Direction.OUT: {"amount[lt]": "0"},
}
_REFUSALS_TO_CREATE = {
    "Amountless invoices not supported.": "amountless",
    "Invoice amount ": "amount_too_high",
    "Wallet balance cannot exceed ": "wallet_full",
    "Wallet does not have permission to create invoices.": "no_permission",
}


class _Lnbits:
    """One LNbits, spoken to with one key."""

    def __init__(self, base_url: str, key: str, http: HttpClient) -> None:
        self._api = base_url.rstrip("/") + "/api/v1"
        self._headers = {"X-Api-Key": key}
        self._http = http

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> Reply:
        return self._http.get(
            self._api + path,
            seconds=GET_SECONDS,
            headers=self._headers,
            params=params or {},
            max_bytes=max_bytes,
        )

    def post(self, path: str, body: dict[str, Any], *, seconds: float) -> Reply:
        return self._http.post(self._api + path, seconds=seconds, headers=self._headers, body=body)

    def balance(self) -> Msats:
        """Raises Unavailable or Refused; the path has been seen to know a wrong key."""
        balance = self.wallet().get("balance")
        if type(balance) is not int:
            raise Unavailable("LNbits: a wallet without a balance", code="bad_answer")
        return Msats(balance)

    def wallet(self) -> dict[str, Any]:
        """The wallet as its key sees it: only a key that can pay is told the wallet's ``id``."""
        return _success(self.get("/wallet")).object()

    def newest(self, *, page: int, page_size: int, **filters: str) -> list[dict[str, Any]]:
        """One page of the wallet's list, what changed last first.

        However long its rows are, or whoever claims refunds with long invoices could keep us from
        ever reading it. Raises Refused with ``too_old`` when LNbits cannot sort so.
        """
        reply = self.get(
            "/payments/paginated",
            {
                **filters,
                "sortby": "updated_at",
                "direction": "desc",
                "limit": str(page_size),
                "offset": str(page * page_size),
            },
            max_bytes=max(page_size * ROW_BYTES, DEFAULT_MAX_BYTES),
        )
        if reply.status == 400:
            raise Refused("LNbits cannot sort as we want it; it is too old", code="too_old")
        return _rows_of(reply)

    def movements(self, direction: Direction, *, page: int, page_size: int) -> MovementPage:
        """As the protocols say; every row is looked at, as ``settled_payments`` does."""
        rows = self.newest(page=page, page_size=page_size, **_FILTERS[direction])
        read = [lnbits_rows.movement(row) for row in rows]
        movements = [found for found in read if found is not None and _goes(direction, found)]
        is_last = len(rows) < page_size
        if rows and not movements and not is_last:
            raise Unavailable("LNbits ignores our filters; it is too old", code="filters_ignored")
        return MovementPage(movements=movements, is_last=is_last)


class LnbitsIncome:
    """``Income`` with an invoice key, which cannot pay. Shared between threads."""

    def __init__(
        self, base_url: str, invoice_key: str, http: HttpClient, *, webhook: str | None = None
    ) -> None:
        """``webhook`` is an address that LNbits posts to, once, when an invoice was paid."""
        self._lnbits = _Lnbits(base_url, invoice_key, http)
        self._pulse = LnbitsPulse(base_url, http)
        self._webhook = webhook
        self._is_too_old = False
        """It ignores or chokes on filters by hash; an upgrade is seen at our next start."""

    def is_awake(self) -> bool:
        """As the protocol says."""
        return self._pulse.is_felt()

    def create_invoice(self, amount: Sats, *, memo: str, lifetime: timedelta) -> IssuedInvoice:
        """As the protocol says. What LNbits made is read again: it can make amountless ones."""
        if amount < 1 or lifetime < timedelta(seconds=1):
            raise Refused("LNbits: invoices want a sat and a second at least", code="bad_request")
        body = {
            "out": False,
            "amount": int(amount),
            "memo": memo.encode("ascii", "replace").decode()[:MEMO_LENGTH],
            "expiry": int(lifetime.total_seconds()),
            **({"webhook": self._webhook} if self._webhook else {}),
        }
        reply = self._lnbits.post("/payments", body, seconds=CREATE_SECONDS)
        code = _refusal(reply, _REFUSALS_TO_CREATE)
        if code is not None:
            raise Refused(f"LNbits makes no such invoice: {code}", code=code)
        return lnbits_rows.issued(_success(reply).object(), amount)

    def settled_payments(self, *, page: int, page_size: int) -> list[SettledPayment]:
        """As the protocol says. Every row is looked at: LNbits ignores filters it does not know."""
        rows = self._lnbits.newest(page=page, page_size=page_size, **_FILTERS[Direction.IN])
        found = [payment for payment in map(lnbits_rows.settled, rows) if payment is not None]
        settled = list({payment.payment_hash: payment for payment in found}.values())
        if len(rows) >= page_size and not settled:
            # An empty page would be read as the end of the feed.
            raise Unavailable("LNbits ignores our filters; it is too old", code="filters_ignored")
        return settled

    def invoice_states(self, payment_hashes: list[str]) -> dict[str, InvoiceState]:
        """As the protocol says: one request, or one for each hash at an LNbits before 1.4."""
        wanted = list(dict.fromkeys(payment_hashes))
        if not wanted:
            return {}
        states = None if self._is_too_old else self._states_in_one_request(wanted)
        return self._states_one_by_one(wanted) if states is None else states

    def balance(self) -> Msats:
        """As the protocol says."""
        return self._lnbits.balance()

    def movements(self, direction: Direction, *, page: int, page_size: int) -> MovementPage:
        """As the protocol says."""
        return self._lnbits.movements(direction, page=page, page_size=page_size)

    def check_key(self) -> None:
        """As the protocol says."""
        if self._lnbits.wallet().get("id") is not None:
            raise Refused("LNbits: the key of the income can pay", code="key_can_pay")

    def _states_in_one_request(self, wanted: list[str]) -> dict[str, InvoiceState] | None:
        """None: this LNbits cannot be asked for a page."""
        reply = self._lnbits.get(
            "/payments/paginated",
            {
                "payment_hash[in]": ",".join(wanted),
                "recheck_pending": "true",
                "limit": str(min(2 * len(wanted), PAGE_LIMIT)),
            },
        )
        if _chokes_on_filters(reply):
            self._is_too_old = True
            return None
        rows = _rows_of(reply)
        if any(row.get("payment_hash") not in wanted for row in rows):
            self._is_too_old = True
            return None
        return dict(lnbits_rows.best_states(rows))

    def _states_one_by_one(self, wanted: list[str]) -> dict[str, InvoiceState]:
        """Those answered for until trouble comes; raises only when there is not even one."""
        states: dict[str, InvoiceState] = {}
        try:
            with total_deadline(ONE_BY_ONE_SECONDS):
                for payment_hash in wanted:
                    state = _state_by_hash(payment_hash, self._lnbits.get(_path(payment_hash)))
                    if state is not None:
                        states[payment_hash] = state
        except OutsideError:
            if not states:
                raise
        return states


class LnbitsPayouts:
    """``Payouts`` with the admin key of the paying wallet. Shared between threads."""

    def __init__(self, base_url: str, admin_key: str, http: HttpClient) -> None:
        self._lnbits = _Lnbits(base_url, admin_key, http)
        self._version = LnbitsVersion(base_url, http)
        digest = hmac.new(admin_key.encode(), b"which key pays", hashlib.sha256)
        self._key_mark = digest.hexdigest()[:32]

    def send(
        self,
        payment_request: str,
        mark: PayoutMark | None = None,
        *,
        not_after: float | None = None,
    ) -> SendReport:
        """As the protocol says: 201 may be pending, failed, or another wallet's row."""
        body = {"out": True, "bolt11": payment_request, **lnbits_rows.marked(mark)}
        try:
            with ending_by(inf if not_after is None else not_after):
                reply = self._lnbits.post("/payments", body, seconds=PAY_SECONDS)
        except OutsideError as error:
            return SendReport(outcome=SendOutcome.SENT, code=error.code)
        code = _refusal(reply, _REFUSALS_BEFORE_SENDING) or _refused_at_the_door(reply)
        if code is not None:
            return SendReport(outcome=SendOutcome.REFUSED, code=code)
        return SendReport(
            outcome=SendOutcome.SENT,
            code=_answered(reply),
            was_considered=_was_considered(reply),
            was_confirmed=_is_confirmed(reply),
        )

    def read(self, payment_hash: str) -> PayoutReading:
        """As the protocol says. A key that is no longer good is told apart from a missing row."""
        if not lnbits_rows.HASH.fullmatch(payment_hash):
            return lnbits_rows.unknown("bad_hash")
        try:
            return self._read(payment_hash)
        except OutsideError as error:
            return lnbits_rows.unknown(error.code)

    def balance(self) -> Msats:
        """As the protocol says."""
        return self._lnbits.balance()

    def movements(self, direction: Direction, *, page: int, page_size: int) -> MovementPage:
        """As the protocol says."""
        return self._lnbits.movements(direction, page=page, page_size=page_size)

    def wallet_id(self) -> str:
        """As the protocol says."""
        wallet_id = self._lnbits.wallet().get("id")
        if not isinstance(wallet_id, str) or not wallet_id:
            raise Refused("LNbits: the key of the payouts cannot pay", code="key_cannot_pay")
        return wallet_id

    def key_mark(self) -> str:
        """As the protocol says."""
        return self._key_mark

    def age(self) -> Age:
        """As the protocol says."""
        return self._version.age()

    def _read(self, payment_hash: str) -> PayoutReading:
        reply = self._lnbits.get(_path(payment_hash))
        if reply.status == 404 and _detail(reply) == UNKNOWN_PAYMENT:
            return self._missing()
        return lnbits_rows.payout_reading(payment_hash, _success(reply).object())

    def _missing(self) -> PayoutReading:
        """A wrong key is read as no key, and its 404 is the same: ask where keys are looked at."""
        try:
            self._lnbits.balance()
        except Refused:
            return lnbits_rows.unknown("wrong_key")
        return PayoutReading(outcome=PayoutOutcome.MISSING, code="http_404")


def _path(payment_hash: str) -> str:
    return f"/payments/{payment_hash}"


def _success(reply: Reply) -> Reply:
    """As ``Reply.required``, with the one 404 told apart that is about our key."""
    if reply.status == 404 and _detail(reply) == UNKNOWN_WALLET:
        raise Refused(f"{reply.asked}: LNbits knows no wallet with our key", code="wrong_key")
    return reply.required()


def _detail(reply: Reply) -> str:
    detail = reply.fields().get("detail")
    return detail if isinstance(detail, str) else ""


def _refusal(reply: Reply, known: dict[str, str]) -> str | None:
    """The code of a refusal that is on the list, by how its text begins."""
    if reply.status not in {400, 520} or reply.fields().get("status", "failed") != "failed":
        return None
    detail = _detail(reply)
    return next((code for start, code in known.items() if detail.startswith(start)), None)


def _refused_at_the_door(reply: Reply) -> str | None:
    """Turned away before LNbits looked at the payment: by the key, or by the shape of the body."""
    fields = reply.fields()
    if reply.status in {401, 403} and "detail" in fields:
        return f"http_{reply.status}"
    if reply.status == 404 and fields.get("detail") == UNKNOWN_WALLET:
        return "wrong_key"
    if reply.status == 400 and isinstance(fields.get("detail"), list):
        return "http_400"
    return None


def _was_considered(reply: Reply) -> bool:
    """Whether LNbits answers so once it has looked at a payment that its row calls failed."""
    if reply.status == 201:
        return bool(reply.fields())
    return _is_confirmed(reply)


def _is_confirmed(reply: Reply) -> bool:
    return reply.status == 520 and _detail(reply).startswith(_NODE_SAYS_FAILED)


def _answered(reply: Reply) -> str:
    """How a POST was answered, for the record only: a proxy's page is no answer of LNbits'."""
    try:
        reply.required().object()
    except OutsideError as error:
        return error.code
    return f"http_{reply.status}"


def _chokes_on_filters(reply: Reply) -> bool:
    """How versions before 1.4 meet a filter by hash: 400, or a 500 that shows its SQL."""
    return reply.status == 400 or (reply.status == 500 and b"payment_hash" in reply.body)


def _rows_of(reply: Reply) -> list[dict[str, Any]]:
    rows = _success(reply).object().get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable(f"{reply.asked}: no list of payments", code="bad_answer")
    return rows


def _goes(direction: Direction, movement: Movement) -> bool:
    if direction is Direction.OUT:
        return movement.amount < 0
    return movement.amount > 0 and movement.state is MovementState.SETTLED


def _state_by_hash(payment_hash: str, reply: Reply) -> InvoiceState | None:
    """None: not answered for."""
    if reply.status == 404 and _detail(reply) == UNKNOWN_PAYMENT:
        return None
    return lnbits_rows.state_of(payment_hash, reply.required().object())
