"""Offers: signed, short-lived, never the same twice, and worth nothing once touched."""

import string
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateways.vault import Vault, new_key
from gateways.x402 import PaymentRefused
from models.money import UsdMicros
from services.errors import NotNow
from services.instant import offers
from services.instant.offers import LIFETIME, Offer
from services.toolbox import Toolbox

NETWORK = "eip155:84532"
PRICE = UsdMicros(12_000)
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def made(tools: Toolbox, network: str = NETWORK, *, age: timedelta = timedelta(0)) -> str:
    now = offers.database_now(tools) - age
    return offers.make(tools, 7, 3, network, PRICE, now=now)


def test_an_offer_says_what_it_was_made_with(tools: Toolbox) -> None:
    offer = offers.read(tools, made(tools))

    assert (offer.resource_id, offer.version, offer.network) == (7, 3, NETWORK)
    assert offer.price == PRICE
    left = offer.expires_at - offers.database_now(tools)
    assert LIFETIME - timedelta(seconds=5) < left <= LIFETIME


def test_no_two_offers_are_the_same(tools: Toolbox) -> None:
    assert len({made(tools) for _ in range(20)}) == 20


def test_an_offer_is_refused_when_its_time_is_over_and_can_still_be_opened(tools: Toolbox) -> None:
    old = made(tools, age=LIFETIME + timedelta(seconds=1))

    assert isinstance(offers.opened(tools, old), Offer)
    with pytest.raises(PaymentRefused, match="invalid_payment_requirements"):
        offers.read(tools, old)


@pytest.mark.parametrize("network", ["eip155:8453", "eip155:84532", "eip155:421614"])
def test_an_offer_with_any_one_character_changed_is_refused(tools: Toolbox, network: str) -> None:
    offer = made(tools, network)

    for position in range(3, len(offer)):
        other = ALPHABET[(ALPHABET.index(offer[position]) + 1) % len(ALPHABET)]
        with pytest.raises(PaymentRefused):
            offers.opened(tools, offer[:position] + other + offer[position + 1 :])


@pytest.mark.parametrize("change", ["", "o1.", "o2" + "x" * 100, "o1." + "A" * 100, "é" * 100])
def test_what_is_no_offer_is_refused(tools: Toolbox, change: str) -> None:
    with pytest.raises(PaymentRefused):
        offers.opened(tools, change)


@settings(suppress_health_check=list(HealthCheck), max_examples=50)
@given(text=st.text() | st.text(ALPHABET, min_size=60, max_size=200).map("o1.".__add__))
def test_whatever_is_shown_as_an_offer_is_refused(tools: Toolbox, text: str) -> None:
    with pytest.raises(PaymentRefused):
        offers.opened(tools, text)


def test_a_cut_or_lengthened_offer_is_refused(tools: Toolbox) -> None:
    offer = made(tools)

    for other in (offer[:-4], offer + "AAAA", offer + "=", offer + "\n", " " + offer):
        with pytest.raises(PaymentRefused):
            offers.opened(tools, other)


def test_an_offer_outlives_the_rotation_of_keys_until_its_key_is_gone(tools: Toolbox) -> None:
    old, new = new_key(), new_key()
    offer = made(tools.with_(vault=Vault((old,))))

    assert offers.read(tools.with_(vault=Vault((new, old))), offer)
    with pytest.raises(PaymentRefused):
        offers.read(tools.with_(vault=Vault((new,))), offer)


def test_without_a_vault_there_are_no_offers(tools: Toolbox) -> None:
    with pytest.raises(NotNow):
        made(tools.with_(vault=None))
