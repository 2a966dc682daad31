"""Receivers that strangers name: a Lightning address or an LNURL-pay, and the invoices they make.

LUD-01, -06, -16 and -17. Everything that such a receiver says is a stranger's word.
"""

from dataclasses import dataclass
from typing import Protocol

from models.money import Sats


class NotAReceiver(ValueError):
    """The text names nobody who can be paid; the message goes on after the member's name."""


@dataclass(frozen=True, kw_only=True)
class OfferedInvoice:
    """What a receiver answered. Not checked: it need not even be a BOLT11."""

    payment_request: str
    description_hash: str
    """What a description hash in the invoice must be: of the metadata shown before, in hex."""


class Receivers(Protocol):
    def check(self, address: str) -> None:
        """Judge the shape, asking nobody. Raises NotAReceiver."""

    def invoice(self, address: str, amount: Sats) -> OfferedInvoice:
        """Let the receiver make an invoice; two requests. One that nobody pays does no harm.

        Raises Unavailable, which also says ``busy`` when too many are asked already, or Refused.
        """
