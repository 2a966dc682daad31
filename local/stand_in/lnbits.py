"""LNbits' HTTP interface, as version 1.6.2 was seen to behave.

Known differences: webhooks and websockets are accepted and never fired, and no rate is limited.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways import bolt11
from gateways.bolt11 import NotABolt11
from local.stand_in import listing
from local.stand_in.bolt11_signing import CURRENCIES
from local.stand_in.faults import Errand, Fault, FaultKind, Faults
from local.stand_in.lnbits_orders import Answer, broken, external_id_of, invalid, order_of, refusal
from local.stand_in.lnbits_payments import (
    WALLET_IDS,
    as_created,
    payment_json,
    with_details,
    without_details,
)
from local.stand_in.node import (
    Label,
    Node,
    NodeRefusal,
)
from local.stand_in.rows import EPOCH, Payment, Wallet
from local.stand_in.wire import BadJson, Reply, Request, Route, json_reply

VERSION = "1.6.2"

PAYER_INVOICE_KEY = "stand-in-payer-invoice-key"
PAYER_ADMIN_KEY = "stand-in-payer-key"
PAYOUTS_INVOICE_KEY = "stand-in-payouts-invoice-key"
PAYOUTS_ADMIN_KEY = "stand-in-payouts-key"


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
            "GET /openapi.json": self.describe,
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
        payment = self._node.create_invoice(wallet, order_of(body))
        return json_reply(as_created(payment), status=201)

    def _pay(self, request: Request, access: Access, body: Mapping[str, Any]) -> Reply:
        if not access.may_pay:
            raise refusal(403, "Invoice (or Admin) key required.")
        text = body.get("bolt11")
        if not isinstance(text, str) or not text:
            raise refusal(400, "Missing BOLT11 invoice")
        label = Label(external_id=external_id_of(body), extra=body.get("extra") or {})

        def act(fault: Fault | None) -> Reply:
            try:
                payment = self._node.pay(access.wallet, text, fault, label=label)
            except NodeRefusal as answer:
                return _node_refusal(answer)
            return json_reply(as_created(payment), status=201)

        return self._faults.run(_errand("lnbits.pay", request), act)

    # --- read

    def read_payment(self, request: Request, payment_hash: str) -> Reply:
        """A key that is no key at all counts as none, and says less."""
        access = KEYS.get(_key(request) or "")

        def act(_: Fault | None) -> Reply:
            asked = self._node.ask(payment_hash, access.wallet if access else None)
            if asked is None:
                raise refusal(404, "Payment does not exist.")
            return json_reply(with_details(asked.payment) if access else without_details(asked))

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
            found = self._node.select(wanted, recheck=recheck, seconds_each=_slowness(fault))
            rows = _spoilt(found, fault)
            data = [payment_json(payment) for payment in rows]
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

    def health(self, request: Request) -> Reply:
        now = datetime.now(UTC)
        up_time = timedelta(seconds=int((now - self._started).total_seconds()))
        well = {"server_time": now.timestamp(), "up_time": f"{up_time!s:0>8}"}
        return self._faults.run(_errand("lnbits.health", request), lambda _: json_reply(well))

    def describe(self, request: Request) -> Reply:
        """What the real one says of itself, without its 1.5 MB of paths."""
        description = {"openapi": "3.1.0", "info": {"title": "LNbits", "version": VERSION}}
        return self._faults.run(
            _errand("lnbits.version", request), lambda _: json_reply(description)
        )


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


def _slowness(fault: Fault | None) -> float:
    return fault.seconds if fault is not None and fault.kind is FaultKind.SLOW_NODE else 0.0


def _seconds_ago(fault: Fault | None) -> int:
    """In microseconds since 1970."""
    moment = datetime.now(UTC) - timedelta(seconds=fault.seconds if fault else 0)
    return (moment - EPOCH) // timedelta(microseconds=1)
