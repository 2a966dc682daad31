"""Signed invoices for the scripted LNbits."""

import hashlib
from datetime import UTC, datetime

from coincurve import PrivateKey

from local.stand_in.bolt11_signing import InvoiceDraft, sign_invoice

PREIMAGE = hashlib.sha256(b"a preimage of the conformance tests").hexdigest()
PAYMENT_HASH = hashlib.sha256(bytes.fromhex(PREIMAGE)).hexdigest()
NODE_KEY = PrivateKey(hashlib.sha256(b"a node of the conformance tests").digest())


def an_invoice(amount_msats: int | None, payment_hash: str = PAYMENT_HASH) -> str:
    return sign_invoice(
        InvoiceDraft(
            amount_msats=amount_msats,
            payment_hash=bytes.fromhex(payment_hash),
            payment_secret=b"s" * 32,
            created_at=datetime.now(UTC),
            description="conformance",
        ),
        NODE_KEY,
    )


def a_hash(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()
