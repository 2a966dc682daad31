"""Units of money, and the few conversions between them. No float ever enters.

``Usd`` is an exact decimal; ``Sats`` and ``Msats`` are integers (1 bitcoin = 10⁸ sats = 10¹¹
msats); ``UsdMicros`` are integers too: a millionth of a dollar, which is one atomic unit of USDC.
"""

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import NewType

Usd = NewType("Usd", Decimal)
Sats = NewType("Sats", int)
Msats = NewType("Msats", int)
UsdMicros = NewType("UsdMicros", int)

MSATS_PER_SAT = 1000
SATS_PER_BITCOIN = 10**8
USD_PLACES = Decimal("0.00000001")
BTC_PRICE_PLACES = Decimal("0.01")


def usd_rounded_up(amount: Decimal) -> Usd:
    """Round up to the 8 places that the wire shows: what is shown is what is computed with."""
    return Usd(amount.quantize(USD_PLACES, rounding=ROUND_CEILING))


def btc_price_rounded(price: Decimal) -> Usd:
    """Round the price of one whole bitcoin to the cent that the wire shows."""
    return Usd(price.quantize(BTC_PRICE_PLACES, rounding=ROUND_HALF_UP))


def sats_for(amount: Usd, *, btc_price: Usd) -> Sats:
    """Convert dollars to sats, rounding up and never below one sat, so that we are never underpaid.

    ``btc_price`` is the price of one whole bitcoin in dollars.
    """
    sats = (amount / btc_price * SATS_PER_BITCOIN).to_integral_value(rounding=ROUND_CEILING)
    return Sats(max(1, int(sats)))


def msats(amount: Sats) -> Msats:
    """Widen whole sats to millisats."""
    return Msats(amount * MSATS_PER_SAT)


def sats_owed_for(amount: Msats) -> Sats:
    """Round a fraction of a sat up: what we owe is never rounded against the caller."""
    return Sats(-(-amount // MSATS_PER_SAT))


def usd_of(amount: UsdMicros) -> Usd:
    """The same amount in dollars, exactly."""
    return Usd(Decimal(amount).scaleb(-6))
