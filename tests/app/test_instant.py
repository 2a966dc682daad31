"""Instant resources over HTTP: a program asks the price, pays, and gets what it paid for."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import text

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.catalogue import CatalogueModel
from models.creator import Provider
from models.resource import ResourceType
from models.run import RunState
from services.instant import catalogue, creators, keys, resources, retention
from services.toolbox import Toolbox
from tests.app.conftest import Build, BusyDoorbell
from tests.app.contract import CheckedClient
from tests.support import rows
from tests.support.doorbell import RecordingDoorbell
from tests.support.lost_database import LostAt
from tests.support.market import (
    BODY,
    MODEL,
    NETWORK,
    PAYEE,
    PRICE_MICROS,
    Buyer,
    Market,
    held,
    open_market,
)
from tests.support.x402_payer import decoded, v2_headers


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def client(client_with: Build, busy_workers: BusyDoorbell) -> CheckedClient:
    """Beside workers that are quick."""
    return client_with(collaborators={"doorbell": busy_workers}, instant_wait_seconds=20)


@pytest.mark.parametrize("version", [2, 1])
def test_a_caller_pays_in_the_request_and_gets_the_result(
    market: Market, client: CheckedClient, version: int
) -> None:
    path = market.publish()
    buyer = Buyer(client)

    response = buyer.buy(path, version=version)

    assert response.status_code == 200
    answer = response.get_json()
    assert answer["response"]
    assert answer["usage"]["output_tokens"] > 0
    assert answer["receipt"]["paidUsdc"] == 0.012
    name = "PAYMENT-RESPONSE" if version == 2 else "X-PAYMENT-RESPONSE"
    receipt = decoded(response.headers[name])
    assert receipt["success"]
    assert receipt["transaction"] == answer["receipt"]["transaction"]
    (moved,) = market.moved()
    assert moved.details["payTo"] == PAYEE
    assert moved.details["amountMicros"] == PRICE_MICROS
    assert market.run().state is RunState.SUCCEEDED


@pytest.fixture
def buyer(client: CheckedClient) -> Buyer:
    return Buyer(client)


@pytest.mark.parametrize("of", [ResourceType.OPENROUTER_INSTANT, ResourceType.STATIC])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_has_not_paid_is_told_the_price_whatever_the_body(
    market: Market, client: CheckedClient, method: str, of: ResourceType
) -> None:
    path = market.publish(of=of)

    plain = client.open(path, method=method)
    senseless = client.open(path, method=method, data=b"{{", content_type="text/plain")

    assert plain.status_code == senseless.status_code == 402
    assert decoded(plain.headers["PAYMENT-REQUIRED"])["accepts"][0]["network"] == NETWORK
    assert market.runs() == []


def test_a_body_that_is_too_large_is_refused_before_the_price(
    market: Market, client: CheckedClient
) -> None:
    path = market.publish()

    assert client.post(path, data=b" " * 70_000).status_code == 413


def test_an_address_that_was_never_published_or_is_archived_is_unknown(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    payment = buyer.payment(path)
    resources.archive(market.tools, market.creator.id, "haiku")

    for client in (buyer.client,):
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404
        assert client.get(market.path("another")).status_code == 404
        assert client.get("/api/instant/nobody/haiku").status_code == 404
        assert client.get(path + f"/runs/{uuid4()}").status_code == 404
    assert buyer.show(path, payment).status_code == 404


def test_what_was_bought_is_still_read_when_its_resource_is_archived(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    payment = buyer.payment(path)
    assert buyer.show(path, payment).status_code == 200

    resources.archive(market.tools, market.creator.id, "haiku")

    assert buyer.show(path, payment).status_code == 200


def _paused(market: Market) -> None:
    resources.pause(market.tools, market.creator.id, "haiku")


def _without_key(market: Market) -> None:
    keys.delete(market.tools, market.creator.id, Provider.OPENROUTER)


def _without_address(market: Market) -> None:
    creators.change(market.tools, market.creator.id, addresses={NETWORK: None})


def _model_vanished(market: Market) -> None:
    listed = market.stand_in.catalogue()
    market.stand_in.set_catalogue([entry for entry in listed if entry["id"] != MODEL])
    assert catalogue.sync(market.tools)


def _context_shrunk(market: Market) -> None:
    listed = market.stand_in.catalogue()
    for entry in listed:
        if entry["id"] == MODEL:
            entry["context_length"] = 40
    market.stand_in.set_catalogue(listed)
    assert catalogue.sync(market.tools)


def _capped(market: Market) -> None:
    caps = {"cost_cap_per_call_usd": Decimal("0.0000001")}
    creators.change(market.tools, market.creator.id, caps=caps)


def _capped_for_the_day(market: Market) -> None:
    caps = {"cost_cap_per_day_usd": Decimal("0.0000001")}
    creators.change(market.tools, market.creator.id, caps=caps)


@pytest.mark.parametrize(
    "stop",
    [_paused, _without_key, _without_address, _model_vanished, _capped, _capped_for_the_day],
)
def test_what_cannot_be_delivered_is_not_sold_and_nothing_is_charged(
    market: Market, buyer: Buyer, stop: object
) -> None:
    path = market.publish()
    payment = buyer.payment(path)
    assert callable(stop)
    stop(market)

    answers = [buyer.client.get(path), buyer.client.post(path), buyer.show(path, payment)]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert {answer.get_json()["error"] for answer in answers} == {"Resource unavailable"}
    assert all("Retry-After" in answer.headers for answer in answers)
    assert market.runs() == []


def test_a_prompt_that_has_outgrown_its_model_is_not_sold(market: Market, buyer: Buyer) -> None:
    """Never a 400 for a probe: it is no caller's fault."""
    path = market.publish()
    _context_shrunk(market)

    answers = [buyer.client.get(path), buyer.client.post(path)]

    assert [answer.status_code for answer in answers] == [503, 503]


def test_a_refused_payment_is_told_no_price_while_nothing_can_be_bought(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    payment = buyer.payment(path, version=1, value="11999")
    assert buyer.show(path, payment).status_code == 402
    _paused(market)

    answer = buyer.show(path, payment)

    assert (answer.status_code, answer.get_json()["error"]) == (503, "Resource unavailable")


@pytest.mark.parametrize(
    ("spelled", "status"),
    [
        ("/api/instant/ada/%68aiku", 402),
        ("//api/instant/ada/haiku", 404),
        ("/api//instant/ada/haiku", 404),
        ("/api/instant/ada/haiku/", 402),
        ("/api/instant/ada/./haiku", 404),
        ("/api/instant/ADA/haiku", 404),
        ("/api/instant/ada/HAIKU", 404),
        ("/api/instant/ada%2Fhaiku", 402),
        ("/api/instant/ada/haiku%2f", 402),
        ("/api/instant/ada/haiku%20", 404),
        ("/api/instant/ada/haiku%5c", 404),
        ("/api/instant/ada/haiku;x=1", 404),
    ],
)
def test_there_is_no_spelling_of_the_address_that_asks_for_no_payment(
    market: Market, client: CheckedClient, spelled: str, status: int
) -> None:
    market.publish()

    assert client.post(spelled, json=BODY).status_code == status
    assert market.runs() == []


def test_a_paid_get_is_refused_and_not_charged(market: Market, buyer: Buyer) -> None:
    path = market.publish()

    answer = buyer.client.get(path, headers=buyer.payment(path))

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert market.runs() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"subject": 5}, 400),
        ({"subject": "x", "colour": "red"}, 400),
        ({"subject": ""}, 200),
    ],
)
def test_a_body_is_checked_before_anything_is_charged(
    market: Market, buyer: Buyer, body: dict[str, object], status: int
) -> None:
    path = market.publish()

    answer = buyer.show(path, buyer.payment(path), body)

    assert answer.status_code == status
    assert len(market.runs()) == (status == 200)


def test_a_payment_with_an_unreadable_body_is_not_used(market: Market, buyer: Buyer) -> None:
    path = market.publish()
    payment = buyer.payment(path)

    wrong_type = buyer.client.post(path, data=b"a=b", content_type="text/plain", headers=payment)
    no_json = buyer.client.post(path, data=b"{", content_type="application/json", headers=payment)

    assert (wrong_type.status_code, no_json.status_code) == (415, 400)
    assert buyer.show(path, payment).status_code == 200


@pytest.mark.parametrize("header", ["PAYMENT-SIGNATURE", "X-PAYMENT"])
@pytest.mark.parametrize("text", ["%%%", "e30=", "W10=", "bm8=", "A" * 9000])
def test_what_is_no_payment_is_a_400(
    market: Market, client: CheckedClient, header: str, text: str
) -> None:
    path = market.publish()

    answer = client.post(path, json=BODY, headers={header: text})

    assert answer.status_code == 400
    assert answer.get_json()["code"] == "malformed_payment"


def test_the_same_payment_with_the_same_offer_is_the_same_run(market: Market, buyer: Buyer) -> None:
    path = market.publish()
    payment = buyer.payment(path)

    first, again = buyer.show(path, payment), buyer.show(path, payment)

    assert first.get_json() == again.get_json()
    assert first.headers["PAYMENT-RESPONSE"] == again.headers["PAYMENT-RESPONSE"]
    assert len(market.moved()) == market.model_calls() == 1


def test_a_payment_rebuilt_from_the_public_chain_gets_nothing(market: Market, buyer: Buyer) -> None:
    """On the chain stand authorization and signature; the offer does not."""
    path = market.publish()
    payment = buyer.payment(path)
    assert buyer.show(path, payment).status_code == 200
    seen = decoded(payment["PAYMENT-SIGNATURE"])
    fresh = decoded(buyer.client.get(path).headers["PAYMENT-REQUIRED"])

    thief = seen | {"accepted": fresh["accepts"][0]}
    answer = buyer.show(path, v2_headers(thief))

    assert answer.status_code == 409
    assert answer.get_json()["code"] == "payment_already_used"
    assert "response" not in answer.get_json()


def test_version_1_proves_by_its_idempotency_key_that_a_payment_is_its_own(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    payment = buyer.payment(path, version=1)
    mine = payment | {"Idempotency-Key": "only-i-know-this-one"}

    first, again = buyer.show(path, mine), buyer.show(path, mine)
    without = buyer.show(path, payment)
    other = buyer.show(path, payment | {"Idempotency-Key": "somebody-elses-guess"})

    assert first.get_json() == again.get_json()
    assert (without.status_code, other.status_code) == (409, 409)
    assert len(market.moved()) == 1


@pytest.mark.parametrize(("key", "status"), [("short", 400), ("has a blank in the middle", 400)])
def test_an_idempotency_key_that_could_be_guessed_is_refused(
    market: Market, buyer: Buyer, key: str, status: int
) -> None:
    path = market.publish()

    answer = buyer.show(path, buyer.payment(path) | {"Idempotency-Key": key})

    assert answer.status_code == status
    assert market.runs() == []


def test_a_payment_identifier_shown_with_a_second_payment_charges_once(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    name = "a-request-of-mine-7f3a"

    first = buyer.buy(path, identifier=name)
    again = buyer.buy(path, identifier=name)
    other_request = buyer.buy(path, {"subject": "tea"}, identifier=name)
    stranger = Buyer(buyer.client).buy(path, identifier=name)

    assert first.get_json() == again.get_json()
    assert other_request.status_code == 409
    assert stranger.get_json()["receipt"] != first.get_json()["receipt"]
    assert len(market.moved()) == 2


def test_a_name_that_was_guessed_opens_nothing_without_the_payers_own_signature(
    market: Market, buyer: Buyer
) -> None:
    """A smart wallet's signature is not judged here: anybody can write one under any name."""
    path, name = market.publish(), "order-number-00000017"
    assert buyer.buy(path, identifier=name).status_code == 200
    forged = decoded(buyer.payment(path, identifier=name)["PAYMENT-SIGNATURE"])
    forged["payload"]["signature"] = "0x00"

    answer = buyer.show(path, v2_headers(forged))

    assert answer.status_code == 409
    assert "response" not in answer.get_json()


@pytest.mark.parametrize("kind", ["Idempotency-Key", "payment-identifier"])
def test_a_request_that_failed_uncharged_may_be_tried_again_under_its_name(
    market: Market, buyer: Buyer, stand_in: StandInClient, kind: str
) -> None:
    """With another payment: the first one has bought its one run."""
    path, name = market.publish(), "a-request-of-mine-7f3a"
    is_header = kind == "Idempotency-Key"
    header = {"Idempotency-Key": name} if is_header else {}
    identifier: dict[str, str] = {} if is_header else {"identifier": name}
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY))
    first = buyer.payment(path, version=2, **identifier) | header
    failed = buyer.show(path, first)

    again = buyer.show(path, buyer.payment(path, version=2, **identifier) | header)

    assert (failed.status_code, again.status_code) == (503, 200)
    assert buyer.show(path, first).status_code == 503
    assert len(market.moved()) == 1


def test_an_idempotency_key_shown_with_another_request_is_a_422(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    key = {"Idempotency-Key": "a-request-of-mine-7f3a"}

    buyer.show(path, buyer.payment(path) | key)
    other = buyer.show(path, buyer.payment(path) | key, {"subject": "tea"})

    assert other.status_code == 422
    assert len(market.moved()) == 1


def test_a_payment_for_one_resource_is_not_taken_at_another(market: Market, buyer: Buyer) -> None:
    here, there = market.publish(), market.publish("sonnet")
    payment = buyer.payment(here)

    before = buyer.show(there, payment)
    assert buyer.show(here, payment).status_code == 200
    after = buyer.show(there, payment)

    assert (before.status_code, after.status_code) == (402, 409)
    assert len(market.moved()) == 1


def test_a_payment_buys_the_version_that_it_was_offered(market: Market, buyer: Buyer) -> None:
    path = market.publish(of=ResourceType.STATIC)
    payment = buyer.payment(path)
    resources.edit(market.tools, market.creator.id, "haiku", {"content": "Newer words."})

    old = buyer.show(path, payment, {})
    new = buyer.buy(path, {})

    assert old.get_json()["response"] == "What is sold, letter by letter."
    assert new.get_json()["response"] == "Newer words."


def test_version_1_gets_a_fresh_price_when_nothing_is_sold_at_the_old_one(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    payment = buyer.payment(path, version=1)
    changes = {"price_usd": Decimal("0.02")}
    resources.edit(market.tools, market.creator.id, "haiku", changes)
    with market.tools.database.transaction("test.long_ago") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE resource_versions SET created_at = created_at - interval '1 hour'")
        )

    answer = buyer.show(path, payment)

    assert answer.status_code == 402
    assert answer.get_json()["accepts"][0]["maxAmountRequired"] == "20000"
    assert market.runs() == []


def test_an_offer_that_somebody_changed_is_answered_with_a_fresh_price(
    market: Market, buyer: Buyer
) -> None:
    path = market.publish()
    payment = decoded(buyer.payment(path)["PAYMENT-SIGNATURE"])
    offer = payment["accepted"]["extra"]["offer"]
    payment["accepted"]["extra"]["offer"] = offer[:-2] + ("AA" if offer[-2:] != "AA" else "BB")

    answer = buyer.show(path, v2_headers(payment))

    assert answer.status_code == 402
    assert market.runs() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"value": "11999"},
        {"value": str(2**255)},
        {"to": "0x" + "5e" * 20},
        {"validBefore": "1700000000"},
        {"validAfter": "4000000000"},
    ],
    ids=str,
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_payment_that_is_not_what_was_asked_for_is_refused_without_asking_anybody(
    market: Market, buyer: Buyer, version: int, changes: dict[str, str]
) -> None:
    path = market.publish()

    answer = buyer.buy(path, version=version, **changes)

    assert answer.status_code == 402
    assert market.runs() == []
    assert "POST /x402/verify" not in market.stand_in.counts().requests


def test_a_rejected_payment_is_told_why_in_x402s_words(
    market: Market, buyer: Buyer, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.set_tokens(buyer.payer.address, 1)

    answer = buyer.buy(path)

    assert answer.status_code == 402
    assert answer.get_json()["error"] == "invalid_exact_evm_insufficient_balance"
    assert market.run().state is RunState.REFUSED


def test_a_failed_run_is_not_charged_and_says_so_in_the_payment_header(
    market: Market, buyer: Buyer, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY))
    payment = buyer.payment(path)

    answers = [buyer.show(path, payment), buyer.show(path, payment)]

    for answer in answers:
        assert answer.status_code == 503
        assert answer.get_json()["error"] == "Resource unavailable"
        assert decoded(answer.headers["PAYMENT-RESPONSE"])["success"] is False
    assert market.model_calls() == 1
    assert market.moved() == []


def test_a_long_run_is_read_at_an_address_that_nobody_can_guess(
    market: Market, client_with: Build, doorbell: RecordingDoorbell
) -> None:
    client = client_with(instant_wait_seconds=0)
    path = market.publish()
    begun = Buyer(client).buy(path)
    url = begun.get_json()["statusUrl"]
    address = url.removeprefix("http://localhost")

    assert begun.status_code == 202
    assert begun.headers["Location"] == url
    under_way = client.get(address)
    doorbell.answer_all(market.tools)
    ended = client.get(address)

    assert (under_way.status_code, under_way.get_json()["state"]) == (202, "processing")
    assert (ended.status_code, ended.get_json()["state"]) == (200, "succeeded")
    assert ended.get_json()["response"]
    assert decoded(ended.headers["PAYMENT-RESPONSE"])["success"] is True
    elsewhere = address.replace("/haiku/", "/sonnet/")
    market.publish("sonnet")
    assert client.get(elsewhere).status_code == 404
    assert client.get(address[:-1] + "g").status_code == 400


def test_a_failed_long_run_is_news_and_no_error_at_its_own_address(
    market: Market, client_with: Build, doorbell: RecordingDoorbell, stand_in: StandInClient
) -> None:
    client = client_with(instant_wait_seconds=0)
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY))
    url = Buyer(client).buy(path).get_json()["statusUrl"]
    doorbell.answer_all(market.tools)

    ended = client.get(url.removeprefix("http://localhost"))

    assert ended.status_code == 200
    assert ended.get_json() == {"state": "failed", "error": "Resource unavailable"}


def test_a_result_is_gone_after_its_retention(market: Market, buyer: Buyer) -> None:
    path = market.publish()
    payment = buyer.payment(path)
    assert buyer.show(path, payment).status_code == 200
    run = market.run()

    assert retention.prune(market.tools) == 0
    market.age_runs(ended_at=timedelta(days=8))
    assert retention.prune(market.tools) == 1

    assert buyer.client.get(f"{path}/runs/{run.public_id}").status_code == 410
    assert buyer.show(path, payment).status_code == 410
    assert market.run().result is None
    assert market.run().paid_usd_micros == PRICE_MICROS


def test_a_run_that_failed_uncharged_is_never_gone(
    market: Market, buyer: Buyer, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY))
    payment = buyer.payment(path)
    shown = buyer.show(path, payment)
    address = f"{path}/runs/{market.run().public_id}"
    read = buyer.client.get(address)

    market.age_runs(ended_at=timedelta(days=8))
    assert retention.prune(market.tools) == 1
    shown_late, read_late = buyer.show(path, payment), buyer.client.get(address)

    assert (read_late.status_code, read_late.json) == (200, read.json)
    assert read_late.get_json()["state"] == "failed"
    assert (shown_late.status_code, shown_late.json["code"]) == (503, shown.json["code"])
    for late, early in ((shown_late, shown), (read_late, read)):
        assert late.headers["PAYMENT-RESPONSE"] == early.headers["PAYMENT-RESPONSE"]


def _owner(market: Market, key: str | None = None) -> dict[str, str]:
    return {"X-Owner-Test": "true", "Authorization": f"Bearer {key or market.api_key}"}


def test_a_creator_tests_without_paying(market: Market, client: CheckedClient) -> None:
    path = market.publish()
    resources.pause(market.tools, market.creator.id, "haiku")

    answer = client.post(path, json=BODY, headers=_owner(market))

    assert answer.status_code == 200
    assert answer.get_json()["response"]
    assert answer.get_json()["receipt"] is None
    assert answer.get_json()["ownerTest"] is True
    run = market.run()
    assert (run.is_owner_test, run.paid_usd_micros) == (True, 0)
    assert market.moved() == []


def test_an_idempotency_key_with_an_owners_test_is_refused_and_not_ignored(
    market: Market, client: CheckedClient
) -> None:
    """The retry would be another call on the creator's key."""
    path = market.publish()
    headers = _owner(market) | {"Idempotency-Key": "0123456789abcdef"}

    answers = [client.post(path, json=BODY, headers=headers) for _ in range(2)]

    assert [(a.status_code, a.json["code"]) for a in answers] == [(400, "not_supported")] * 2
    assert (market.runs(), market.model_calls()) == ([], 0)


def test_only_the_owner_is_told_why_a_test_failed(
    market: Market, client: CheckedClient, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY))

    answer = client.post(path, json=BODY, headers=_owner(market))

    assert answer.status_code == 503
    assert answer.get_json()["reason"] == "empty_output"


def test_somebody_elses_key_tests_nothing(market: Market, client: CheckedClient) -> None:
    path = market.publish()
    other = creators.register(market.tools, "bob", {})

    wrong = client.post(path, json=BODY, headers=_owner(market, other.api_key))
    missing = client.post(path, json=BODY, headers={"X-Owner-Test": "true"})

    assert (wrong.status_code, missing.status_code) == (401, 401)
    assert market.runs() == []


def test_a_payer_has_so_many_unsettled_runs_and_no_more(
    market: Market, client_with: Build, stand_in: StandInClient
) -> None:
    client = client_with(instant_wait_seconds=0)
    path = market.publish()
    buyer = Buyer(client)

    answers = [buyer.buy(path).status_code for _ in range(3)]

    assert answers == [202, 202, 429]
    assert Buyer(client).buy(path).status_code == 202


def test_a_resource_has_so_many_unsettled_runs_and_no_more(
    market: Market, client_with: Build
) -> None:
    client = client_with(instant_wait_seconds=0, max_unsettled_per_resource=2)
    path = market.publish()
    late = Buyer(client)
    payment = late.payment(path)

    answers = [Buyer(client).buy(path).status_code for _ in range(2)]

    assert answers == [202, 202]
    assert late.show(path, payment).status_code == 503
    assert client.get(path).status_code == 503
    assert client.get(market.publish("sonnet")).status_code == 402


def test_a_payer_whose_runs_keep_failing_is_refused_for_a_while(
    market: Market, buyer: Buyer, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY, times=3))
    for _ in range(3):
        assert buyer.buy(path).status_code == 503

    refused = buyer.buy(path)
    market.age_runs(created_at=timedelta(hours=2))

    assert refused.status_code == 429
    assert refused.get_json()["code"] == "payer_limited"
    assert int(refused.headers["Retry-After"]) > 3500
    assert buyer.buy(path).status_code == 200


def test_without_vault_keys_there_are_no_instant_resources(
    client_with: Build, market: Market
) -> None:
    path = market.publish()
    client = client_with(collaborators={"vault": None})

    answer = client.get(path)

    assert answer.status_code == 503
    assert answer.get_json()["code"] == "instant_unavailable"


def test_a_waiting_caller_is_answered_before_its_run_ends(
    market: Market, client_with: Build, busy_workers: BusyDoorbell, stand_in: StandInClient
) -> None:
    client = client_with(collaborators={"doorbell": busy_workers}, instant_wait_seconds=1)
    path = market.publish()
    buyer = Buyer(client)
    payment = buyer.payment(path)

    with held(stand_in, "openrouter.chat"):
        early = buyer.show(path, payment)
        stand_in.wait_until_held()
    busy_workers.finish()

    assert early.status_code == 202
    assert buyer.show(path, payment).status_code == 200


def test_a_database_lost_while_a_paid_run_is_waited_for_takes_nothing_from_the_caller(
    market: Market, client_with: Build, doorbell: RecordingDoorbell
) -> None:
    lost = LostAt("runs.look", market.tools.database)
    client = client_with(collaborators={"database": lost}, instant_wait_seconds=20)

    answer = Buyer(client).buy(market.publish(), version=1)
    doorbell.answer_all(market.tools)

    assert (answer.status_code, answer.json["state"]) == (202, "processing")
    assert int(answer.headers["Retry-After"]) >= 1
    ended = client.get(answer.json["statusUrl"].removeprefix("http://localhost"))
    assert (ended.status_code, ended.json["state"]) == (200, "succeeded")
    assert len(market.moved()) == 1


def test_a_run_that_has_ended_is_shown_again_also_when_the_database_is_lost_then(
    market: Market, buyer: Buyer, client_with: Build
) -> None:
    path = market.publish()
    payment = buyer.payment(path)
    first = buyer.show(path, payment)
    lost = LostAt("runs.look", market.tools.database)
    client = client_with(collaborators={"database": lost}, instant_wait_seconds=20)

    again = Buyer(client, buyer.payer).show(path, payment)

    assert (again.status_code, again.json) == (200, first.json)
    assert again.headers["PAYMENT-RESPONSE"] == first.headers["PAYMENT-RESPONSE"]


def test_who_cannot_be_told_whether_a_run_is_on_record_is_told_to_show_the_same_payment(
    market: Market, client_with: Build
) -> None:
    path = market.publish()
    lost = client_with(collaborators={"database": LostAt("runs.create", market.tools.database)})
    buyer = Buyer(lost)
    payment = buyer.payment(path)

    in_doubt = buyer.show(path, payment)
    again = Buyer(client_with(), buyer.payer).show(path, payment)

    assert (in_doubt.status_code, in_doubt.json["code"]) == (503, "not_ready")
    assert in_doubt.headers["Retry-After"] == "2"
    assert "send the same payment again" in in_doubt.json["error"]
    assert again.status_code == 202
    assert again.json["statusUrl"].endswith(str(market.run().public_id))


def test_values_that_leave_the_model_no_room_for_an_answer_are_a_400_and_not_charged(
    market: Market, client: CheckedClient, tools: Toolbox
) -> None:
    path = market.publish()
    rows.change(tools, CatalogueModel, context_tokens=2000)

    refused = Buyer(client).buy(path, BODY | {"subject": 2000 * "x"})

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_request")
    assert refused.json["errors"] == [
        {"pointer": "", "detail": "With these values the prompt is too long for the model."}
    ]
    assert market.moved() == []


@pytest.mark.parametrize("text", ["x", "%00", "4cd17f5db6a0405a93cb5a3758286c66"])
def test_what_is_no_id_of_a_run_is_a_400_that_speaks_of_runs(
    market: Market, client: CheckedClient, text: str
) -> None:
    refused = client.get(f"{market.publish()}/runs/{text}")

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_id")
    assert refused.json["error"] == "This is not a run id."
