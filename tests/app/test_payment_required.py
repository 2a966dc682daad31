"""The answer 402, held against x402's own types: version 2 in the header, version 1 in the body."""

from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from x402.extensions.payment_identifier import (
    append_payment_identifier_to_extensions,
    extract_payment_identifier,
)
from x402.http import decode_payment_required_header
from x402.schemas import PaymentPayload, PaymentRequired
from x402.schemas.v1 import PaymentRequiredV1

from local.stand_in.testing import StandInClient
from models.resource import ResourceType
from services.toolbox import Toolbox
from tests.app.conftest import Build
from tests.app.contract import CheckedClient
from tests.support.market import BODY, PAYEE, Market, open_market
from tests.support.x402_payer import Payer, decoded, v2_headers


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def client(client_with: Build) -> CheckedClient:
    return client_with()


def required(response: Any) -> PaymentRequired:
    assert response.status_code == 402
    found = decode_payment_required_header(response.headers["PAYMENT-REQUIRED"])
    assert isinstance(found, PaymentRequired)
    return found


def test_the_header_is_a_payment_required_of_version_2(
    market: Market, client: CheckedClient
) -> None:
    path = market.publish()

    found = required(client.post(path))

    assert found.x402_version == 2
    assert found.resource is not None
    assert found.resource.url == f"http://localhost{path}"
    (accepted,) = found.accepts
    assert accepted.network == "eip155:84532"
    assert accepted.amount == "12000"
    assert accepted.pay_to == PAYEE
    assert accepted.max_timeout_seconds == 600
    assert accepted.extra["name"] == "USDC"
    assert accepted.extra["version"] == "2"
    assert accepted.extra["offer"]


def test_the_body_is_a_payment_required_of_version_1(market: Market, client: CheckedClient) -> None:
    path = market.publish()

    body = client.post(path).get_json()

    (accepted,) = PaymentRequiredV1.model_validate(body).accepts
    assert accepted.network == "base-sepolia"
    assert accepted.max_amount_required == "12000"
    assert accepted.resource == f"http://localhost{path}"
    assert accepted.extra is not None
    assert (accepted.extra["name"], accepted.extra["version"]) == ("USDC", "2")
    assert accepted.output_schema is not None
    fields = accepted.output_schema["input"]["bodyFields"]
    assert fields["subject"]["type"] == "string"
    assert fields["subject"]["required"] is True
    assert fields["user_message"]["required"] is False


def test_who_reads_no_headers_finds_amount_and_offer_in_the_body(
    market: Market, client: CheckedClient
) -> None:
    response = client.post(market.publish())

    (shown,) = response.get_json()["accepts"]
    assert shown["amount"] == "12000"
    assert shown["extra"] == required(response).accepts[0].extra


def test_the_body_is_an_error_like_every_other(market: Market, client: CheckedClient) -> None:
    body = client.post(market.publish()).get_json()

    assert body["code"] == "payment_required"
    assert body["status"] == 402
    assert "$0.012" in body["error"]
    assert body["requestId"]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_probe_is_a_402_by_any_method(market: Market, client: CheckedClient, method: str) -> None:
    response = client.open(market.publish(), method=method)

    assert required(response).accepts


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", None),
        (b"{", "application/json"),
        (b'{"unknown": 1}', "application/json"),
        (b"subject=x", "application/x-www-form-urlencoded"),
        (b"\x00\xff", "application/octet-stream"),
    ],
)
def test_a_probe_is_a_402_whatever_its_body(
    market: Market, client: CheckedClient, body: bytes, content_type: str | None
) -> None:
    response = client.post(market.publish(), data=body, content_type=content_type)

    assert required(response).accepts


def test_no_two_probes_get_the_same_offer(market: Market, client: CheckedClient) -> None:
    path = market.publish()

    offers = {required(client.get(path)).accepts[0].extra["offer"] for _ in range(5)}

    assert len(offers) == 5


@pytest.mark.parametrize("of", [ResourceType.OPENROUTER_INSTANT, ResourceType.STATIC])
def test_the_bazaar_entry_fits_its_own_schema(
    market: Market, client: CheckedClient, of: ResourceType
) -> None:
    extensions = required(client.post(market.publish("listed", of))).extensions

    assert extensions is not None
    bazaar = extensions["bazaar"]
    Draft202012Validator.check_schema(bazaar["schema"])
    Draft202012Validator(bazaar["schema"]).validate(bazaar["info"])


def test_a_client_may_name_its_payment(market: Market, client: CheckedClient) -> None:
    response = client.post(market.publish())
    found = required(response)
    assert found.extensions is not None

    extensions = append_payment_identifier_to_extensions(found.extensions, "a_name_of_my_own_1")

    payment = Payer().v2(decoded(response.headers["PAYMENT-REQUIRED"])) | {"extensions": extensions}
    assert extract_payment_identifier(PaymentPayload.model_validate(payment)) == (
        "a_name_of_my_own_1"
    )


def test_a_long_description_does_not_outgrow_the_headers_of_proxies(
    market: Market, client: CheckedClient
) -> None:
    parameters = [
        {"name": f"part_{number}", "description": "ä" * 100, "required": True}
        for number in range(15)
    ]
    prompt = " ".join(f"{{part_{number}}}{{/part_{number}}}" for number in range(15))
    path = market.publish(
        "long", description="ü" * 900, parameters=parameters, system_prompt=prompt
    )

    response = client.post(path)

    found = required(response)
    assert len(response.headers["PAYMENT-REQUIRED"]) < 3500
    assert found.accepts
    assert found.extensions is not None
    assert "payment-identifier" in found.extensions
    assert len(response.get_json()["accepts"][0]["outputSchema"]["input"]["bodyFields"]) == 16


def test_a_price_is_told_to_the_micro_dollar(market: Market, client: CheckedClient) -> None:
    path = market.publish("exact", price_usd=Decimal("0.012345"))

    response = client.post(path)

    assert required(response).accepts[0].amount == "12345"
    assert "$0.012345" in response.get_json()["error"]


def test_a_payment_that_is_not_taken_gets_a_fresh_price_and_the_reason(
    market: Market, client: CheckedClient
) -> None:
    path = market.publish()
    asked = decoded(client.post(path).headers["PAYMENT-REQUIRED"])
    payment = Payer().v2(asked, value="1")

    response = client.post(path, json={"subject": "x"}, headers=v2_headers(payment))

    reason = "invalid_exact_evm_payload_authorization_value_mismatch"
    assert required(response).error == reason
    assert response.get_json()["error"] == reason
    assert required(response).accepts[0].extra["offer"] != asked["accepts"][0]["extra"]["offer"]
    assert market.runs() == []


def test_the_address_is_the_public_one_behind_a_proxy(market: Market, client_with: Build) -> None:
    client = client_with(public_url="https://api.example/")
    path = market.publish()

    found = required(client.post(path))

    assert found.resource is not None
    assert found.resource.url == f"https://api.example{path}"


@pytest.mark.parametrize("public_url", [None, "https://api.example"])
def test_no_caller_has_a_resource_listed_at_an_address_of_their_own(
    market: Market, client_with: Build, public_url: str | None
) -> None:
    """Catalogues of facilitators list what was paid: a caller chooses the header Host."""
    path = market.publish()
    client = client_with(public_url=public_url, instant_wait_seconds=0)
    elsewhere = {"base_url": "http://shop.elsewhere.example"}
    payment = Payer().pays(client.post(path, **elsewhere))

    assert client.post(path, json=BODY, headers=payment, **elsewhere).status_code == 202

    told = market.run().payment
    assert told is not None
    assert ("bazaar" in told["extensions"]) is (public_url is not None)


def test_a_402_is_kept_by_nobody(market: Market, client: CheckedClient) -> None:
    assert client.post(market.publish()).headers["Cache-Control"] == "no-store"


def test_a_page_elsewhere_may_pay_and_read_what_it_got(
    market: Market, client: CheckedClient
) -> None:
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,payment-signature",
    }

    preflight = client.options(market.publish(), headers=asked)

    allowed = set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
    exposed = set(preflight.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"PAYMENT-SIGNATURE", "X-PAYMENT", "Idempotency-Key", "Content-Type"} <= allowed
    assert {"Authorization", "X-Owner-Test"} <= allowed
    assert {"PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"} <= exposed
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
