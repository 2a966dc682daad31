"""Somebody with a Lightning address: LNURL-pay in the payer's name, for any name that is asked.

``name@127.0.0.1:8001`` beside a stand-in on port 8001. Invoices are real ones of the payer.
"""

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime

import simplejson
from coincurve import PrivateKey

from gateways.bolt11 import Network
from local.stand_in.bolt11_signing import InvoiceDraft, sign_invoice
from local.stand_in.effects import EffectKind, EffectLog
from local.stand_in.faults import Errand, Fault, FaultKind, Faults
from local.stand_in.node import MSATS, InvoiceOrder, Node
from local.stand_in.rows import Wallet
from local.stand_in.wire import Reply, Request, Route, json_reply

LEAST_MSATS = 1000
MOST_MSATS = 1_000_000_000


class LnurlReceiver:
    def __init__(self, node: Node, effects: EffectLog, faults: Faults) -> None:
        self._node = node
        self._effects = effects
        self._faults = faults

    def routes(self) -> list[Route]:
        return [
            Route("GET /.well-known/lnurlp/{name}", self._terms),
            Route("GET /lnurlp/{name}/callback", self._invoice),
        ]

    def _terms(self, request: Request, name: str) -> Reply:
        def act(fault: Fault | None) -> Reply:
            if fault is not None and fault.kind is FaultKind.DECLINED:
                return declined(fault)
            limits = (LEAST_MSATS, MOST_MSATS)
            if fault is not None and fault.kind is FaultKind.LIMITS:
                limits = (MOST_MSATS, MOST_MSATS)
            return json_reply(
                {
                    "tag": "payRequest",
                    "callback": f"http://{request.headers['host']}/lnurlp/{name}/callback",
                    "minSendable": limits[0],
                    "maxSendable": limits[1],
                    "metadata": metadata_of(name),
                }
            )

        return self._faults.run(self._errand("lnurl.terms", request, name), act)

    def _invoice(self, request: Request, name: str) -> Reply:
        amount = request.parameter("amount") or ""

        def act(fault: Fault | None) -> Reply:
            if fault is not None and fault.kind is FaultKind.DECLINED:
                return declined(fault)
            if not amount.isdecimal() or int(amount) < MSATS or int(amount) % MSATS:
                return json_reply({"status": "ERROR", "reason": "amount is in whole sats here."})
            return json_reply({"pr": self._made(name, int(amount), fault), "routes": []})

        return self._faults.run(self._errand("lnurl.invoice", request, name), act)

    def _made(self, name: str, msats: int, fault: Fault | None) -> str:
        digest = hashlib.sha256(metadata_of(name).encode()).digest()
        order = InvoiceOrder(sats=msats // MSATS, description_hash=digest)
        kind = None if fault is None else fault.kind
        if kind is FaultKind.WRONG_NETWORK:
            return foreign_invoice(msats, digest)
        if kind is FaultKind.WRONG_AMOUNT:
            order = replace(order, sats=order.sats + 1)
        if kind is FaultKind.WRONG_METADATA:
            order = replace(order, description_hash=hashlib.sha256(b"another").digest())
        invoice = self._node.create_invoice(Wallet.PAYER, order)
        self._effects.append(
            EffectKind.RECEIVER_OFFERED,
            name=name,
            paymentHash=invoice.payment_hash,
            paymentRequest=invoice.bolt11,
        )
        return invoice.bolt11

    def _errand(self, target: str, request: Request, name: str) -> Errand:
        def note(fault: Fault) -> None:
            self._effects.append(
                EffectKind.RECEIVER_FAILED, target=target, name=name, fault=fault.kind
            )

        self._effects.append(EffectKind.RECEIVER_ASKED, target=target, name=name)
        return Errand(
            target=target,
            subject=request.as_text,
            client=request.client,
            note=note,
        )


def metadata_of(name: str) -> str:
    return simplejson.dumps([["text/plain", f"Sats for {name}"], ["text/identifier", name]])


def foreign_invoice(msats: int, description_hash: bytes) -> str:
    """A sound invoice of nobody, for the main network."""
    draft = InvoiceDraft(
        network=Network.BITCOIN,
        amount_msats=msats,
        payment_hash=secrets.token_bytes(32),
        payment_secret=secrets.token_bytes(32),
        created_at=datetime.now(UTC),
        description_hash=description_hash,
    )
    return sign_invoice(draft, PrivateKey())


def declined(fault: Fault) -> Reply:
    return json_reply({"status": "ERROR", "reason": fault.text or "The stand-in was told so."})
