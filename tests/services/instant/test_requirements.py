"""A payment is looked at before anything is stored: to whom, how much, where, when, by whom."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from config.settings import LONGEST_RUN_SECONDS
from gateways.x402 import Payment, PaymentRefused, Reason, Verified, chain, wire
from gateways.x402.networks import BASE, BASE_SEPOLIA
from local.stand_in.testing import StandInClient
from models.money import UsdMicros
from services.instant import offers, requirements
from services.instant.resources import OnSale
from services.toolbox import Toolbox
from tests.support.market import PAYEE, PRICE_MICROS, Market, open_market
from tests.support.x402_payer import Json, Payer, encoded

URL = "https://shop.example/api/instant/ada/haiku"
RUN_SECONDS = 240
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve secp256k1."""


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def sale(market: Market) -> OnSale:
    market.publish()
    return market.sale()


@pytest.fixture
def payer() -> Payer:
    return Payer()


def required(tools: Toolbox, sale: OnSale) -> Json:
    asked = requirements.offered(tools, sale)
    return {"accepts": [one.v2() for one in asked], "resource": {"url": URL}}


def presented(payment: Json) -> Payment:
    found = wire.payment_of(encoded(payment), None)
    assert found is not None
    return found


def presented_v1(tools: Toolbox, sale: OnSale, payer: Payer, **changes: Any) -> Payment:
    asked = requirements.offered(tools, sale)
    accepts = [requirements.as_v1(one, sale.version, URL) for one in asked]
    found = wire.payment_of(None, encoded(payer.v1({"accepts": accepts}, **changes)))
    assert found is not None
    return found


def check(tools: Toolbox, sale: OnSale, payment: Payment, url: str = URL) -> Json:
    return requirements.check(tools, sale, sale.version, payment, url=url)


def refusal(tools: Toolbox, sale: OnSale, payment: Payment, url: str = URL) -> str:
    with pytest.raises(PaymentRefused) as caught:
        check(tools, sale, payment, url)
    return caught.value.reason


def test_what_is_asked_is_the_price_at_the_creators_address(tools: Toolbox, sale: OnSale) -> None:
    (asked,) = requirements.offered(tools, sale)

    assert asked.network is BASE_SEPOLIA
    assert asked.amount == PRICE_MICROS
    assert asked.pay_to == PAYEE
    assert asked.max_timeout_seconds == RUN_SECONDS + 360
    assert asked.v2()["extra"]["name"] == "USDC"
    assert offers.read(tools, asked.offer).resource_id == sale.resource.id


def test_there_is_one_requirement_for_each_network_the_creator_is_paid_on(
    tools: Toolbox, sale: OnSale
) -> None:
    both = tools.with_(networks=(BASE, BASE_SEPOLIA))
    everywhere = replace(sale, addresses={BASE.name: PAYEE, BASE_SEPOLIA.name: PAYEE})

    assert [one.network for one in requirements.offered(both, everywhere)] == [BASE, BASE_SEPOLIA]
    assert [one.network for one in requirements.offered(both, sale)] == [BASE_SEPOLIA]
    assert [one.network for one in requirements.offered(tools, everywhere)] == [BASE_SEPOLIA]
    assert requirements.offered(tools, replace(sale, addresses={})) == ()


def test_a_payment_of_version_2_fulfils_what_it_was_made_for(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    asked = required(tools, sale)

    expected = asked["accepts"][0]
    del expected["extra"]["offer"]
    assert check(tools, sale, presented(payer.v2(required(tools, sale)))) == expected


def test_a_payment_of_version_1_fulfils_what_it_was_made_for(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    fulfilled = check(tools, sale, presented_v1(tools, sale, payer))

    assert fulfilled["network"] == "base-sepolia"
    assert fulfilled["maxAmountRequired"] == str(PRICE_MICROS)
    assert fulfilled["resource"] == URL


def test_a_client_may_spell_addresses_with_their_checksum(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    payment = payer.v2(required(tools, sale))
    payment["accepted"]["payTo"] = "0x" + payment["accepted"]["payTo"][2:].upper()
    payment["accepted"]["asset"] = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"

    assert check(tools, sale, presented(payment))["payTo"] == PAYEE


def test_the_facilitator_hears_of_the_resource_in_our_words_and_not_the_payers(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    lie = {"bazaar": {"info": {"description": "free for everybody"}}}
    payment = presented(payer.v2(required(tools, sale)) | {"extensions": lie})

    told = requirements.for_facilitator(
        payment, check(tools, sale, payment), sale.version, URL, is_listed=True
    )

    assert told["payload"] == payment.raw["payload"]
    assert told["resource"]["url"] == URL
    assert told["resource"]["description"] == sale.version.description
    assert told["extensions"]["bazaar"]["info"]["input"]["method"] == "POST"
    assert "free for everybody" not in str(told)
    assert tools.facilitator is not None
    verified = tools.facilitator.verify(told, check(tools, sale, payment))
    assert verified == Verified(payer=payer.address)


def test_the_facilitator_is_sent_our_own_requirement_however_the_payer_spelled_it(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    """One that reads strictly would fail, and could not be told from one that is out of order."""
    payment = payer.v2(required(tools, sale))
    accepted = payment["accepted"]
    accepted["payTo"] = "0X" + accepted["payTo"][2:].upper()
    accepted["maxTimeoutSeconds"] = float(accepted["maxTimeoutSeconds"])
    read = presented(payment)

    requirement = check(tools, sale, read)
    told = requirements.for_facilitator(read, requirement, sale.version, URL, is_listed=True)

    assert json.dumps(told["accepted"]) == json.dumps(requirement)


def test_a_resource_that_has_much_to_say_of_itself_does_not_say_it_to_the_facilitator(
    tools: Toolbox, market: Market, payer: Payer
) -> None:
    """What is sent stands in the log of runs, too, and a payment that is no good costs nothing."""
    names = [f"parameter_{n}" for n in range(30)]
    market.publish(
        "long",
        system_prompt="".join(f"{{{name}}}{{/{name}}}" for name in names),
        parameters=[
            {"name": name, "required": False, "description": "d" * 500, "default": "e" * 1500}
            for name in names
        ],
    )
    sale = market.sale("long")
    payment = presented(payer.v2(required(tools, sale)))

    requirement = check(tools, sale, payment)
    told = requirements.for_facilitator(payment, requirement, sale.version, URL, is_listed=True)

    assert len(json.dumps(told)) < 16_000
    assert tools.facilitator is not None
    assert tools.facilitator.verify(told, requirement) == Verified(payer=payer.address)


def test_the_facilitator_is_not_told_the_offer_which_opens_the_result(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    """A facilitator's public catalogue may show the requirements that were paid."""
    payment = presented(payer.v2(required(tools, sale)))
    assert payment.offer is not None

    requirement = check(tools, sale, payment)
    told = requirements.for_facilitator(payment, requirement, sale.version, URL, is_listed=True)

    assert payment.offer not in str(requirement) + str(told)
    assert told["accepted"] == requirement


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"to": "0x" + "d0" * 20}, Reason.RECIPIENT, id="to somebody else"),
        pytest.param({"value": str(PRICE_MICROS - 1)}, Reason.AMOUNT, id="one too little"),
        pytest.param({"value": str(PRICE_MICROS + 1)}, Reason.AMOUNT, id="one too much"),
        pytest.param({"value": "0"}, Reason.AMOUNT, id="nothing"),
        pytest.param({"validBefore": "1700000000"}, Reason.VALID_BEFORE, id="expired"),
        pytest.param({"validAfter": str(2**255)}, Reason.VALID_AFTER, id="never valid"),
        pytest.param({"validBefore": str(2**39)}, Reason.VALID_BEFORE, id="for ever"),
    ],
)
def test_an_authorization_of_other_terms_is_refused(
    tools: Toolbox,
    sale: OnSale,
    payer: Payer,
    version: int,
    changes: dict[str, str],
    reason: Reason,
) -> None:
    if version == 1:
        payment = presented_v1(tools, sale, payer, **changes)
    else:
        payment = presented(payer.v2(required(tools, sale), **changes))

    assert refusal(tools, sale, payment) == reason


@pytest.mark.parametrize(
    ("left", "is_taken"),
    [
        (RUN_SECONDS + 60 - 1, False),
        (RUN_SECONDS + 60 + 30, True),
        (7200 - 1, True),
        (7200 + 30, False),
    ],
)
def test_a_payment_is_good_long_enough_to_run_and_settle_and_no_longer_than_two_hours(
    tools: Toolbox, sale: OnSale, payer: Payer, left: int, is_taken: bool
) -> None:
    valid_before = str(int(time.time()) + left)
    payment = presented(payer.v2(required(tools, sale), validBefore=valid_before))

    if is_taken:
        assert check(tools, sale, payment)
    else:
        assert refusal(tools, sale, payment) == Reason.VALID_BEFORE


def test_the_longest_run_asks_for_no_payment_that_is_refused_or_not_searched_for(
    tools: Toolbox,
) -> None:
    changed = {"instant_run_seconds": LONGEST_RUN_SECONDS}
    asked_for = requirements.max_timeout(tools.settings.model_copy(update=changed))

    assert asked_for + requirements.CLOCKS_APART <= requirements.LONGEST
    assert requirements.LONGEST + requirements.CLOCKS_APART <= chain.LATER


def test_a_payment_that_is_not_valid_yet_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    soon = presented(payer.v2(required(tools, sale), validAfter=str(int(time.time()) + 30)))

    assert refusal(tools, sale, soon) == Reason.VALID_AFTER


@pytest.mark.parametrize("version", [1, 2])
def test_a_signature_of_somebody_else_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer, version: int
) -> None:
    theirs = {"from": Payer().address}
    if version == 1:
        payment = presented_v1(tools, sale, payer, **theirs)
    else:
        payment = presented(payer.v2(required(tools, sale), **theirs))

    assert refusal(tools, sale, payment) == Reason.SIGNATURE


@pytest.mark.parametrize("member", ["value", "nonce", "validBefore"])
def test_an_authorization_changed_after_it_was_signed_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer, member: str
) -> None:
    changed = {
        "value": str(PRICE_MICROS),
        "nonce": "0x" + "11" * 32,
        "validBefore": str(int(time.time()) + 900),
    }
    payment = payer.v2(required(tools, sale), **({"value": "1"} if member == "value" else {}))
    payment["payload"]["authorization"][member] = changed[member]

    assert refusal(tools, sale, presented(payment)) == Reason.SIGNATURE


@pytest.mark.parametrize("version", [1, 2])
def test_the_mirror_image_of_a_signature_which_the_token_refuses_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer, version: int
) -> None:
    payment = (
        presented_v1(tools, sale, payer)
        if version == 1
        else presented(payer.v2(required(tools, sale)))
    )
    assert check(tools, sale, payment)

    mirrored = replace(payment, signature=_mirrored(payment.signature))

    assert refusal(tools, sale, mirrored) == Reason.SIGNATURE


def _mirrored(signature: str) -> str:
    """The other signature that the same key makes of the same message."""
    r, s, v = signature[2:66], int(signature[66:130], 16), int(signature[130:], 16)
    return f"0x{r}{ORDER - s:064x}{55 - v:02x}"


def test_the_signature_of_a_smart_wallet_is_left_to_the_facilitator(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    payment = payer.v2(required(tools, sale))
    payment["payload"]["signature"] = "0x" + "5a" * 200

    assert check(tools, sale, presented(payment))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("amount", "1"),
        ("payTo", "0x" + "d0" * 20),
        ("asset", "0x" + "d0" * 20),
        ("maxTimeoutSeconds", 60),
        ("maxTimeoutSeconds", "600"),
        ("extra", {}),
        ("extra", {"assetTransferMethod": "permit2"}),
        ("paymentFlow", "upfront"),
    ],
)
def test_what_a_client_says_it_fulfils_is_what_was_asked_to_the_last_member(
    tools: Toolbox, sale: OnSale, payer: Payer, member: str, value: object
) -> None:
    payment = payer.v2(required(tools, sale))
    if member == "extra" and value:
        payment["accepted"]["extra"] |= value
    else:
        payment["accepted"][member] = value

    assert refusal(tools, sale, presented(payment)) == Reason.REQUIREMENTS


def test_a_network_that_is_not_sold_on_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    main = replace(requirements.offered(tools, sale)[0], network=BASE)
    payment = payer.v2({"accepts": [main.v2()], "resource": {"url": URL}})

    assert refusal(tools, sale, presented(payment)) == Reason.NETWORK


@pytest.mark.parametrize("url", [URL + "/", URL + "?x=1", "https://shop.example/api/instant/ada/b"])
def test_a_payment_that_names_another_resource_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer, url: str
) -> None:
    payment = payer.v2(required(tools, sale) | {"resource": {"url": url}})

    assert refusal(tools, sale, presented(payment)) == Reason.REQUIREMENTS


def test_a_payment_need_not_name_its_resource(tools: Toolbox, sale: OnSale, payer: Payer) -> None:
    payment = payer.v2(required(tools, sale))
    del payment["resource"]

    assert check(tools, sale, presented(payment))


def test_an_offer_of_another_resource_buys_nothing_here(
    market: Market, tools: Toolbox, sale: OnSale, payer: Payer
) -> None:
    market.publish("other")
    payment = payer.v2(required(tools, market.sale("other")))

    assert refusal(tools, sale, presented(payment)) == Reason.REQUIREMENTS


@pytest.mark.parametrize("what", ["version", "network", "price"])
def test_an_offer_of_another_version_network_or_price_is_refused(
    tools: Toolbox, sale: OnSale, payer: Payer, what: str
) -> None:
    offer = offers.make(
        tools,
        sale.resource.id,
        2 if what == "version" else 1,
        BASE.name if what == "network" else BASE_SEPOLIA.name,
        UsdMicros(1 if what == "price" else PRICE_MICROS),
        now=offers.database_now(tools),
    )
    asked = replace(requirements.offered(tools, sale)[0], offer=offer)
    payment = payer.v2({"accepts": [asked.v2()], "resource": {"url": URL}})

    assert refusal(tools, sale, presented(payment)) == Reason.REQUIREMENTS


def test_an_offer_whose_time_is_over_is_refused(tools: Toolbox, sale: OnSale, payer: Payer) -> None:
    past = offers.database_now(tools) - offers.LIFETIME - timedelta(seconds=1)
    version = (sale.resource.id, sale.version.number, BASE_SEPOLIA.name, UsdMicros(PRICE_MICROS))
    asked = replace(
        requirements.offered(tools, sale)[0], offer=offers.make(tools, *version, now=past)
    )
    payment = payer.v2({"accepts": [asked.v2()], "resource": {"url": URL}})

    assert refusal(tools, sale, presented(payment)) == Reason.REQUIREMENTS


def test_version_2_without_an_offer_is_refused(tools: Toolbox, sale: OnSale, payer: Payer) -> None:
    payment = payer.v2(required(tools, sale))
    del payment["accepted"]["extra"]["offer"]

    assert refusal(tools, sale, presented(payment)) == Reason.REQUIREMENTS
