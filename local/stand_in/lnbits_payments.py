"""How LNbits writes payments: the same rows in several shapes."""

from datetime import timedelta
from typing import Any

import simplejson

from local.stand_in.node import Asked
from local.stand_in.rows import EPOCH, Payment, Status, Wallet

WALLET_IDS = {
    Wallet.SERVICE: "5e11e7000000400080000000000000a1",
    Wallet.PAYOUTS: "5e11e7000000400080000000000000c3",
    Wallet.PAYER: "5e11e7000000400080000000000000b2",
}


def _iso(microseconds: int) -> str:
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat()


def payment_json(payment: Payment) -> dict[str, Any]:
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


def as_created(payment: Payment) -> dict[str, Any]:
    """In the answer to a POST the expiry has no zone."""
    expires_at = EPOCH + timedelta(microseconds=payment.expires_at)
    naive = expires_at.replace(tzinfo=None, microsecond=0).isoformat()
    return {**payment_json(payment), "expiry": naive}


def without_details(asked: Asked) -> dict[str, Any]:
    """The poll that finds an invoice expired does not say so yet."""
    if asked.payment.status is Status.SUCCESS:
        return {"paid": True, "preimage": asked.payment.preimage}
    if asked.before is Status.FAILED:
        return {"paid": False, "status": "failed"}
    return {"paid": False, "preimage": None}


def with_details(payment: Payment) -> dict[str, Any]:
    details = payment_json(payment)
    if payment.status is Status.SUCCESS:
        return {"paid": True, "preimage": payment.preimage, "details": details}
    return {"paid": False, "status": payment.status, "preimage": None, "details": details}
