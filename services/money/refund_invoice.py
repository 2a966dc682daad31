"""Which BOLT11 we accept for a refund: ``gateways.bolt11`` reads it, paying it is a promise."""

from datetime import datetime, timedelta

from gateways.bolt11 import Bolt11, Network, NotABolt11, read
from models.money import Sats, msats
from services.errors import ErrorCode, InvalidRequest

SHORTEST_LIFE = timedelta(minutes=2)
LONGEST_LIFE = timedelta(days=7, hours=1)
"""A payout whose outcome is unknown stays so until its invoice expired: not for months."""
CLOCK_SLACK = timedelta(minutes=10)
LONGEST_FINAL_CLTV = 144
"""Blocks that the receiver may sit on our money."""


def parse(invoice: str) -> Bolt11:
    """Read the caller's invoice. Raises InvalidRequest(invalid_invoice)."""
    try:
        return read(invoice)
    except NotABolt11 as error:
        raise InvalidRequest(
            f"The invoice cannot be read: {error}", code=ErrorCode.INVALID_INVOICE
        ) from error


def check(invoice: Bolt11, *, amount: Sats, network: str, now: datetime) -> None:
    """Refuse what we would not pay exactly. ``now`` is PostgreSQL's. Raises InvalidRequest."""
    if invoice.network != Network(network):
        raise InvalidRequest(
            f"The invoice is for {invoice.network.value}, not for {network}.",
            code=ErrorCode.INVOICE_WRONG_NETWORK,
        )
    if invoice.amount != msats(amount):
        raise InvalidRequest(
            f"The invoice must be for exactly {amount} sats.",
            code=ErrorCode.INVOICE_AMOUNT_MISMATCH,
            members={"refundAmountSats": amount},
        )
    _check_life(invoice, now)
    _check_terms(invoice)


def _check_life(invoice: Bolt11, now: datetime) -> None:
    if invoice.expires_at < now + SHORTEST_LIFE:
        raise InvalidRequest(
            "The invoice has expired or is about to; make a new one.",
            code=ErrorCode.INVOICE_EXPIRED,
        )
    if invoice.expires_at > now + LONGEST_LIFE or invoice.created_at > now + CLOCK_SLACK:
        raise InvalidRequest(
            "The invoice must have been made by now and expire within 7 days.",
            code=ErrorCode.INVALID_INVOICE,
        )


def _check_terms(invoice: Bolt11) -> None:
    if invoice.min_final_cltv_expiry > LONGEST_FINAL_CLTV:
        raise InvalidRequest(
            f"The invoice asks to hold the payment longer than {LONGEST_FINAL_CLTV} blocks.",
            code=ErrorCode.INVALID_INVOICE,
        )
