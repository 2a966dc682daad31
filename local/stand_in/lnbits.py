"""LNbits' HTTP interface, as version 1.6.2 was seen to behave (docs: reference on LNbits).

Known differences: webhooks and websockets are accepted and never fired, and no rate is limited.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import simplejson

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways import bolt11
from gateways.bolt11 import NotABolt11
from local.stand_in import listing
from local.stand_in.bolt11_signing import CURRENCIES
from local.stand_in.faults import Errand, Fault, FaultKind, Faults
from local.stand_in.node import (
    DEFAULT_EXPIRY_SECONDS,
    MAX_SATS,
    Asked,
    InvoiceOrder,
    Label,
    Node,
    NodeRefusal,
    too_high,
)
from local.stand_in.rows import EPOCH, Payment, Status, Wallet
from local.stand_in.wire import BadJson, Ending, Reply, Request, Route, json_reply

PAYER_INVOICE_KEY = "stand-in-payer-invoice-key"
PAYER_ADMIN_KEY = "stand-in-payer-key"
PAYOUTS_INVOICE_KEY = "stand-in-payouts-invoice-key"
PAYOUTS_ADMIN_KEY = "stand-in-payouts-key"
MAX_MEMO = 640
MAX_EXTERNAL_ID = 256


@dataclass(frozen=True)
class Access:
    wallet: Wallet
    may_pay: bool


KEYS = {
    STAND_IN_INVOICE_KEY: Access(Wallet.SERVICE, may_pay=False),
    STAND_IN_ADMIN_KEY: Access(Wallet.SERVICE, may_pay=True),
    PAYOUTS_INVOICE_KEY: Access(Wallet.PAYOUTS, may_pay=False),
    PAYOUTS_ADMIN_KEY: Access(Wallet.PAYOUTS, may_pay=True),
    PAYER_INVOICE_KEY: Access(Wallet.PAYER, may_pay=False),
    PAYER_ADMIN_KEY: Access(Wallet.PAYER, may_pay=True),
}
WALLET_IDS = {
    Wallet.SERVICE: "5e11e7000000400080000000000000a1",
    Wallet.PAYOUTS: "5e11e7000000400080000000000000c3",
    Wallet.PAYER: "5e11e7000000400080000000000000b2",
}


class Answer(Exception):
    """An answer that ends the request here and now."""

    def __init__(self, status: int, body: object, *, ending: Ending = Ending.KEEP) -> None:
        super().__init__(status)
        reply = json_reply(body, status=status)
        self.reply = Reply(status=status, body=reply.body, ending=ending)


def refusal(status: int, detail: str) -> Answer:
    return Answer(status, {"detail": detail})


def invalid(field: str) -> Answer:
    """What FastAPI says of a field: a list where other answers have a string."""
    problem = {"loc": ["body", field], "msg": "Value error", "type": "value_error"}
    return Answer(400, {"detail": [problem]})


def broken() -> Answer:
    """An error of LNbits' own. The connection is dead afterwards, and nobody was told."""
    detail = f"Unexpected error! ID: {secrets.token_hex(4)}"
    return Answer(500, {"detail": detail}, ending=Ending.CLOSE)


class LnbitsApi:
    def __init__(self, node: Node, faults: Faults) -> None:
        self._node = node
        self._faults = faults
        self._started = datetime.now(UTC)

    def routes(self) -> list[Route]:
        routes: Mapping[str, Callable[..., Reply]] = {
            "POST /api/v1/payments": self.create_or_pay,
            "GET /api/v1/payments": self.list_newest,
            "GET /api/v1/payments/paginated": self.list_page,
            "POST /api/v1/payments/decode": self.decode,
            "GET /api/v1/payments/fee-reserve": self.fee_reserve,
            "GET /api/v1/payments/{payment_hash}": self.read_payment,
            "GET /api/v1/wallet": self.read_wallet,
            "GET /api/v1/health": self.health,
        }
        return [Route(name, _answering(handler)) for name, handler in routes.items()]

    # --- create and pay

    def create_or_pay(self, request: Request) -> Reply:
        """One address for both; ``out`` is true unless told otherwise."""
        access = _access(request)
        body = _object(request)
        if body.get("out", True):
            return self._pay(request, access, body)
        errand = _errand("lnbits.create", request)
        return self._faults.run(errand, lambda _: self._create(access.wallet, body))

    def _create(self, wallet: Wallet, body: Mapping[str, Any]) -> Reply:
        payment = self._node.create_invoice(wallet, _order(body))
        return json_reply(_as_created(payment), status=201)

    def _pay(self, request: Request, access: Access, body: Mapping[str, Any]) -> Reply:
        if not access.may_pay:
            raise refusal(403, "Invoice (or Admin) key required.")
        text = body.get("bolt11")
        if not isinstance(text, str) or not text:
            raise refusal(400, "Missing BOLT11 invoice")
        label = Label(external_id=_external_id(body), extra=body.get("extra") or {})

        def act(fault: Fault | None) -> Reply:
            try:
                payment = self._node.pay(access.wallet, text, fault, label=label)
            except NodeRefusal as answer:
                return _node_refusal(answer)
            return json_reply(_as_created(payment), status=201)

        return self._faults.run(_errand("lnbits.pay", request), act)

    # --- read

    def read_payment(self, request: Request, payment_hash: str) -> Reply:
        """A key that is no key at all counts as none, and says less."""
        access = KEYS.get(_key(request) or "")

        def act(_: Fault | None) -> Reply:
            asked = self._node.ask(payment_hash, access.wallet if access else None)
            if asked is None:
                raise refusal(404, "Payment does not exist.")
            return json_reply(_with_details(asked.payment) if access else _without_details(asked))

        return self._faults.run(_errand("lnbits.read", request), _as_reply(act))

    def list_newest(self, request: Request) -> Reply:
        return self._list(request, order="created_at DESC", with_failed=False)

    def list_page(self, request: Request) -> Reply:
        return self._list(request, order="id", with_failed=True, with_total=True)

    def _list(
        self, request: Request, *, order: str, with_failed: bool, with_total: bool = False
    ) -> Reply:
        wallet = _access(request).wallet
        try:
            wanted = listing.selection(request, wallet, order=order, with_failed=with_failed)
        except listing.NotSortable:
            raise refusal(400, "Invalid sortby field.") from None
        recheck = request.parameter("recheck_pending") == "true"

        def act(fault: Fault | None) -> Reply:
            rows = _spoilt(self._node.select(wanted, recheck=recheck), fault)
            data = [_payment_json(payment) for payment in rows]
            if not with_total:
                return json_reply(data)
            return json_reply({"data": data, "total": self._node.count(wanted)})

        target = "lnbits.states" if listing.asks_for_hashes(request) else "lnbits.feed"
        return self._faults.run(_errand(target, request), act)

    def read_wallet(self, request: Request) -> Reply:
        access = _access(request)

        def act(_: Fault | None) -> Reply:
            balance = self._node.balance(access.wallet)
            wallet: dict[str, object] = {"name": access.wallet, "balance": balance}
            if access.may_pay:
                wallet["id"] = WALLET_IDS[access.wallet]
            return json_reply(wallet)

        return self._faults.run(_errand("lnbits.wallet", request), act)

    # --- the rest

    def decode(self, request: Request) -> Reply:
        try:
            invoice = bolt11.read(str(_object(request).get("data", "")))
        except NotABolt11 as problem:
            raise Answer(400, {"message": f"Failed to decode: {problem}"}) from None
        return json_reply(
            {
                "currency": CURRENCIES[invoice.network],
                "amount_msat": invoice.amount or 0,
                "date": int(invoice.created_at.timestamp()),
                "expiry": int((invoice.expires_at - invoice.created_at).total_seconds()),
                "payment_hash": invoice.payment_hash,
                "payment_secret": invoice.payment_secret,
                "description": invoice.description,
                "description_hash": invoice.description_hash,
                "payee": invoice.payee,
                "min_final_cltv_expiry": invoice.min_final_cltv_expiry,
            }
        )

    def fee_reserve(self, request: Request) -> Reply:
        try:
            amount = bolt11.read(request.parameter("invoice") or "").amount
        except NotABolt11:
            raise broken() from None
        if amount is None:
            raise refusal(400, "Invoice has no amount.")
        return json_reply({"fee_reserve": max(2000, amount // 100)})

    def health(self, _: Request) -> Reply:
        now = datetime.now(UTC)
        up_time = timedelta(seconds=int((now - self._started).total_seconds()))
        return json_reply({"server_time": now.timestamp(), "up_time": f"{up_time!s:0>8}"})


def _answering(handler: Callable[..., Reply]) -> Callable[..., Reply]:
    def answer(request: Request, **parts: str) -> Reply:
        try:
            return handler(request, **parts)
        except Answer as end:
            return end.reply

    return answer


def _as_reply(act: Callable[[Fault | None], Reply]) -> Callable[[Fault | None], Reply]:
    """So that a fault can spoil a refusal as well."""

    def answer(fault: Fault | None) -> Reply:
        try:
            return act(fault)
        except Answer as end:
            return end.reply

    return answer


# --- keys, bodies, faults


def _key(request: Request) -> str | None:
    return request.headers.get("x-api-key") or request.parameter("api-key")


def _access(request: Request) -> Access:
    key = _key(request)
    if key is None:
        raise refusal(401, "No Api Key provided.")
    if key not in KEYS:
        raise refusal(404, "Wallet not found.")
    return KEYS[key]


def _object(request: Request) -> dict[str, Any]:
    try:
        return request.json()
    except BadJson:
        raise invalid("body") from None


def _errand(target: str, request: Request) -> Errand:
    return Errand(
        target=target, subject=request.as_text, client=request.client, error=_status_fault
    )


def _status_fault(fault: Fault) -> Reply:
    bodies: Mapping[int, dict[str, object]] = {
        404: {"detail": fault.text or "Payment does not exist."},
        429: {"error": fault.text or "Rate limit exceeded: 200 per 1 minute"},
        520: {"detail": fault.text or "Unable to connect to the node.", "status": "failed"},
    }
    default = {"detail": fault.text or f"Unexpected error! ID: {secrets.token_hex(4)}"}
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    return json_reply(bodies.get(fault.status, default), status=fault.status, headers=headers)


def _node_refusal(answer: NodeRefusal) -> Reply:
    return json_reply({"detail": answer.detail, "status": answer.status}, status=520)


def _spoilt(rows: list[Payment], fault: Fault | None) -> list[Payment]:
    match fault and fault.kind:
        case FaultKind.DUPLICATED_ROWS:
            return [row for row in rows for _ in range(2)]
        case FaultKind.REORDERED_ROWS:
            return rows[::-1]
        case FaultKind.MISSING_ROW:
            missing = (fault and fault.text) or (rows[0].payment_hash if rows else "")
            return [row for row in rows if row.payment_hash != missing]
        case FaultKind.STALE_ROWS:
            return [row for row in rows if row.updated_at < _seconds_ago(fault)]
        case _:
            return rows


def _seconds_ago(fault: Fault | None) -> int:
    """In microseconds since 1970."""
    moment = datetime.now(UTC) - timedelta(seconds=fault.seconds if fault else 0)
    return (moment - EPOCH) // timedelta(microseconds=1)


# --- the order for an invoice


def _order(body: Mapping[str, Any]) -> InvoiceOrder:
    sats, expiry = _sats(body), body.get("expiry")
    if not isinstance(expiry, int | None) or (expiry is not None and expiry < 0):
        raise broken()
    if body.get("payment_hash"):
        raise Answer(520, _failed("Hold invoices are not supported by this wallet."))
    return InvoiceOrder(
        sats=sats,
        memo=_memo(body),
        expiry_seconds=expiry or DEFAULT_EXPIRY_SECONDS,
        description_hash=_description_hash(body),
        webhook=body.get("webhook"),
        external_id=_external_id(body),
        extra=body.get("extra") or {},
    )


def _failed(detail: str) -> dict[str, object]:
    return {"detail": detail, "status": "failed"}


def _sats(body: Mapping[str, Any]) -> int:
    """Rounded down to whole sats, which makes half a sat an invoice of any amount."""
    unit, amount = body.get("unit", "sat"), body.get("amount")
    if unit == "USD":
        raise refusal(400, "Could not get exchange rate for USD.")
    if unit != "sat":
        raise invalid("unit")
    if amount is None:
        raise broken()
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or amount < 0:
        raise invalid("amount")
    if amount == 0:
        raise Answer(520, _failed("Amountless invoices not supported."))
    sats = int(Decimal(amount).to_integral_value(rounding=ROUND_FLOOR))
    if sats > MAX_SATS:
        raise Answer(520, _failed(too_high(sats)))
    return sats


def _memo(body: Mapping[str, Any]) -> str:
    """At 640 LNbits' own check still passes, but BOLT11 has no room for it."""
    memo = body.get("memo") or ""
    if not isinstance(memo, str) or len(memo.encode()) >= MAX_MEMO:
        raise invalid("memo")
    return memo


def _description_hash(body: Mapping[str, Any]) -> bytes | None:
    text = body.get("description_hash")
    if text is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", str(text)):
        raise broken()
    return bytes.fromhex(text)


def _external_id(body: Mapping[str, Any]) -> str | None:
    external_id = body.get("external_id")
    if external_id is None:
        return None
    text = str(external_id)
    if not text or len(text) > MAX_EXTERNAL_ID or re.search(r"\s", text):
        raise invalid("external_id")
    return text


# --- payments as JSON


def _iso(microseconds: int) -> str:
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat()


def _payment_json(payment: Payment) -> dict[str, Any]:
    knows_preimage = payment.is_incoming or payment.status is Status.SUCCESS
    return {
        "checking_id": payment.checking_id,
        "payment_hash": payment.payment_hash,
        "wallet_id": WALLET_IDS[payment.wallet],
        "amount": payment.amount,
        "fee": payment.fee,
        "bolt11": payment.bolt11,
        "payment_request": payment.bolt11,
        "fiat_provider": None,
        "status": payment.status,
        "memo": payment.memo,
        "expiry": _iso(payment.expires_at),
        "webhook": payment.webhook,
        "webhook_status": None,
        "preimage": payment.preimage if knows_preimage else None,
        "tag": None,
        "extension": None,
        "time": _iso(payment.created_at),
        "created_at": _iso(payment.created_at),
        "updated_at": _iso(payment.updated_at),
        "labels": simplejson.loads(payment.labels),
        "extra": simplejson.loads(payment.extra),
        "external_id": payment.external_id,
    }


def _as_created(payment: Payment) -> dict[str, Any]:
    """In the answer to a POST the expiry has no zone."""
    expires_at = EPOCH + timedelta(microseconds=payment.expires_at)
    naive = expires_at.replace(tzinfo=None, microsecond=0).isoformat()
    return {**_payment_json(payment), "expiry": naive}


def _without_details(asked: Asked) -> dict[str, Any]:
    """The poll that finds an invoice expired does not say so yet."""
    if asked.payment.status is Status.SUCCESS:
        return {"paid": True, "preimage": asked.payment.preimage}
    if asked.before is Status.FAILED:
        return {"paid": False, "status": "failed"}
    return {"paid": False, "preimage": None}


def _with_details(payment: Payment) -> dict[str, Any]:
    details = _payment_json(payment)
    if payment.status is Status.SUCCESS:
        return {"paid": True, "preimage": payment.preimage, "details": details}
    return {"paid": False, "status": payment.status, "preimage": None, "details": details}
