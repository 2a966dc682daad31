"""What a resource asks to be paid, and whether a payment is that: our own look, asking nobody.

The facilitator is asked later, and about less: it knows neither our offers nor how long we need.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from config.settings import Settings
from gateways.x402 import Network, Payment, PaymentRefused, Reason, Requirement
from gateways.x402.signatures import is_of_one_key, signer
from models.resource import ResourceVersion
from services.instant import discovery, offers
from services.instant.resources import OnSale
from services.toolbox import Toolbox

TIME_BESIDE_THE_RUN = timedelta(seconds=60)
"""What a payment must be good for after the longest call: it is settled in that."""
CLOCKS_APART = timedelta(seconds=300)
"""How far a payer's clock may be behind ours, and how long he may wait before he sends."""
LONGEST = timedelta(hours=2)
"""An authorization that is good for longer is a danger to the payer himself.

What is asked for after the longest run that may be set is less.
"""


def max_timeout(settings: Settings) -> timedelta:
    """How long a payment is asked to be good for, from its signature."""
    run = timedelta(seconds=settings.instant_run_seconds)
    return run + TIME_BESIDE_THE_RUN + CLOCKS_APART


def networks_of(tools: Toolbox, sale: OnSale) -> tuple[Network, ...]:
    """Where this creator can be paid, in the order of the setting."""
    return tuple(network for network in tools.networks if network.name in sale.addresses)


def offered(tools: Toolbox, sale: OnSale) -> tuple[Requirement, ...]:
    """What the newest version costs, one requirement a network, each with a fresh offer."""
    now = offers.database_now(tools)
    version = sale.version
    return tuple(
        _requirement(
            tools,
            sale,
            version,
            network,
            offers.make(
                tools,
                sale.resource.id,
                version.number,
                network.name,
                version.price_usd_micros,
                now=now,
            ),
        )
        for network in networks_of(tools, sale)
    )


def check(
    tools: Toolbox, sale: OnSale, version: ResourceVersion, payment: Payment, *, url: str
) -> dict[str, Any]:
    """The requirement that this payment fulfils, as its facilitator is sent it.

    ``version`` is what is bought, ``url`` where: as a 402 names it. Raises PaymentRefused.
    """
    requirement = _fulfilled(tools, sale, version, payment)
    now = offers.database_now(tools)
    if payment.version == 2:
        _check_offer(tools, sale, version, payment, now=now)
        _check_echo(payment, requirement, url)
    _check_transfer(payment, requirement)
    _check_window(tools.settings, payment, now)
    _check_signature(payment)
    if payment.version == 1:
        return as_v1(requirement, version, url)
    return requirement.v2_without_offer()


def for_facilitator(
    payment: Payment,
    requirement: Mapping[str, Any],
    version: ResourceVersion,
    url: str,
    *,
    is_listed: bool,
) -> dict[str, Any]:
    """The payment as the facilitator is sent it, with what its catalogue may say of the resource.

    Our own words: a payer's could list somebody else's resource as they please, or spell
    ``requirement`` so that it is not understood. And without the offer, which is the payer's own
    proof that a payment on the chain is theirs. Not ``is_listed`` = ``url`` may be of the payer's
    making: then nothing is said for a catalogue.
    """
    if payment.version == 1:
        return dict(payment.raw)
    return {
        **payment.raw,
        "accepted": dict(requirement),
        "resource": discovery.resource(version, url),
        "extensions": discovery.for_catalogues(version) if is_listed else {},
    }


def as_v1(
    requirement: Requirement,
    version: ResourceVersion,
    url: str,
    output_schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As version 1 spells it, which has the resource in every requirement."""
    return requirement.v1(
        resource=url,
        description=version.description or version.name,
        output_schema=output_schema,
    )


def _fulfilled(
    tools: Toolbox, sale: OnSale, version: ResourceVersion, payment: Payment
) -> Requirement:
    """Built anew from what we know: nothing of the payment's own words but its offer."""
    if payment.network not in networks_of(tools, sale):
        raise PaymentRefused(Reason.NETWORK)
    return _requirement(tools, sale, version, payment.network, payment.offer or "")


def _requirement(
    tools: Toolbox, sale: OnSale, version: ResourceVersion, network: Network, offer: str
) -> Requirement:
    return Requirement(
        network=network,
        amount=version.price_usd_micros,
        pay_to=sale.addresses[network.name],
        max_timeout_seconds=int(max_timeout(tools.settings).total_seconds()),
        offer=offer,
    )


def _check_offer(
    tools: Toolbox, sale: OnSale, version: ResourceVersion, payment: Payment, *, now: datetime
) -> None:
    """Signed by us, still good, and for just this."""
    offer = offers.opened(tools, payment.offer or "")
    named = (offer.resource_id, offer.version, offer.network, offer.price)
    wanted = (
        sale.resource.id,
        version.number,
        payment.network.name,
        version.price_usd_micros,
    )
    if named != wanted or not offer.is_current(now):
        raise PaymentRefused(Reason.REQUIREMENTS)


def _check_echo(payment: Payment, requirement: Requirement, url: str) -> None:
    """What the client says it fulfils is what we ask for, to the last member."""
    if payment.resource_url not in (None, url):
        raise PaymentRefused(Reason.REQUIREMENTS)
    if _comparable(payment.accepted or {}) != _comparable(requirement.v2()):
        raise PaymentRefused(Reason.REQUIREMENTS)


def _comparable(accepted: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses without the mixed case that some clients give them."""
    lower = {
        name: accepted[name].lower()
        for name in ("asset", "payTo")
        if isinstance(accepted.get(name), str)
    }
    return dict(accepted) | lower


def _check_transfer(payment: Payment, requirement: Requirement) -> None:
    authorization = payment.authorization
    if payment.asset != requirement.network.asset:
        raise PaymentRefused(Reason.REQUIREMENTS)
    if authorization.pay_to != requirement.pay_to:
        raise PaymentRefused(Reason.RECIPIENT)
    if authorization.amount != requirement.amount:
        raise PaymentRefused(Reason.AMOUNT)


def _check_window(settings: Settings, payment: Payment, now: datetime) -> None:
    """Good from now on, for long enough to run and settle, and not for ever."""
    authorization = payment.authorization
    if authorization.valid_after > now.timestamp():
        raise PaymentRefused(Reason.VALID_AFTER)
    run = timedelta(seconds=settings.instant_run_seconds)
    left = timedelta(seconds=authorization.valid_before - now.timestamp())
    if not run + TIME_BESIDE_THE_RUN <= left <= LONGEST:
        raise PaymentRefused(Reason.VALID_BEFORE)


def _check_signature(payment: Payment) -> None:
    """A plain wallet's proves itself; a smart wallet's is for the facilitator to judge."""
    if not is_of_one_key(payment.signature):
        return
    authorization = payment.authorization
    if signer(payment.network, authorization, payment.signature) != authorization.payer:
        raise PaymentRefused(Reason.SIGNATURE)
