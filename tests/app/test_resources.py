"""Publishing over HTTP: the owner sees everything, everybody else what is safe to know."""

from decimal import Decimal
from typing import Any

import pytest
import simplejson
from flask import Flask
from werkzeug.test import TestResponse

from app import context
from models.creator import Provider, ProviderKey
from services.toolbox import Toolbox
from tests.app.contract import CheckedClient
from tests.support.publishing import HAIKU, SMALL, VAULT, Publisher, publisher

OWN = "/api/creator/resources"
POEM = {
    "slug": "poem",
    "type": "openrouter_instant",
    "name": "Poems 🧿",
    "description": "Short ones.",
    "priceUsd": 0.123456,
    "model": HAIKU,
    "systemPrompt": "prompt-canary: a poem about {topic}{/topic}.",
    "parameters": [{"name": "topic", "description": "Of what?", "required": True}],
    "allowsUserMessage": True,
    "temperature": 0.7,
    "maxTokens": 300,
}
FACT = {
    "slug": "fact",
    "type": "static",
    "name": "A fact",
    "priceUsd": 0.001,
    "content": "content-canary",
    "contentType": "text/markdown",
}
SERVER = {
    "slug": "server",
    "type": "proxy",
    "name": "A server",
    "priceUsd": 1,
    "upstreamUrl": "https://upstream-canary.example/run",
    "upstreamMethod": "GET",
    "parameters": [{"name": "q", "required": False, "default": "all"}],
}
CANARIES = ("prompt-canary", "content-canary", "upstream-canary")


class Browser:
    """A creator with the API key at hand."""

    def __init__(self, client: CheckedClient, who: Publisher) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {who.api_key}"}

    def ask(self, method: str, address: str, body: Any = None) -> TestResponse:
        more = {} if body is None else {"json": body}
        return self._client.open(address, method=method, headers=self._headers, **more)

    def publish(self, body: dict[str, Any], **changes: Any) -> TestResponse:
        return self.ask("POST", OWN, {**body, **changes})

    def edit(self, **changes: Any) -> TestResponse:
        return self.ask("PATCH", f"{OWN}/poem", changes)


@pytest.fixture
def open_for_creators(tools: Toolbox, web: Flask, client: CheckedClient) -> CheckedClient:
    """The shared application: building one of its own takes longer than a test."""
    context.install(web, tools.with_(vault=VAULT))
    return client


@pytest.fixture
def who(tools: Toolbox) -> Publisher:
    made = publisher(tools)
    with tools.database.transaction("test.key") as session:
        key = ProviderKey(creator_id=made.creator.id, provider=Provider.OPENROUTER)
        key.sealed, key.last4, key.is_valid = "sealed", "abcd", True
        session.add(key)
    return made


@pytest.fixture
def ann(open_for_creators: CheckedClient, who: Publisher) -> Browser:
    return Browser(open_for_creators, who)


def exact(response: TestResponse) -> Any:
    return simplejson.loads(response.data, use_decimal=True)


def pointers(response: TestResponse) -> list[str]:
    assert response.status_code == 400
    assert response.json is not None
    return [error["pointer"] for error in response.json["errors"]]


def test_a_published_resource_is_read_back_as_it_was_sent(ann: Browser) -> None:
    made = ann.publish(POEM)

    assert made.status_code == 201
    assert made.headers["Location"] == f"{OWN}/poem"
    shown = exact(ann.ask("GET", f"{OWN}/poem"))
    assert shown == exact(made)
    assert shown | POEM == shown | {"priceUsd": 0.123456, "temperature": 0.7}
    assert shown["priceUsd"] == Decimal("0.123456")
    assert (shown["version"], shown["active"], shown["selling"]) == (1, True, True)
    assert shown["topP"] == 1
    assert "presencePenalty" not in shown
    assert shown["links"] == {"self": f"{OWN}/poem", "run": "/api/instant/ann/poem"}


@pytest.mark.parametrize("body", [FACT, SERVER], ids=["static", "proxy"])
def test_the_other_types_are_read_back_too(ann: Browser, body: dict[str, Any]) -> None:
    shown = ann.publish(body).json
    assert shown is not None

    want = {name: value for name, value in body.items() if name != "parameters"}
    assert {name: shown[name] for name in want} == want
    assert "temperature" not in shown


def test_an_edit_is_a_new_version(ann: Browser) -> None:
    ann.publish(POEM)

    edited = ann.edit(priceUsd=0.5, temperature=None)

    assert edited.status_code == 200
    assert edited.json is not None
    assert (edited.json["version"], edited.json["priceUsd"]) == (2, 0.5)
    assert edited.json["temperature"] == 1


@pytest.mark.parametrize("verb", ["pause", "archive"])
def test_a_resource_goes_off_sale_and_back(ann: Browser, verb: str) -> None:
    ann.publish(POEM)
    back = {"pause": "resume", "archive": "restore"}[verb]

    off = ann.ask("POST", f"{OWN}/poem/{verb}").json
    on = ann.ask("POST", f"{OWN}/poem/{back}").json

    assert off is not None
    assert (off["active"], off["selling"], off["obstacles"]) == (False, False, [f"{verb}d"])
    assert on is not None
    assert (on["active"], on["selling"], on["obstacles"]) == (True, True, [])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"slug": "Poem"}, "/slug"),
        ({"slug": "po em"}, "/slug"),
        ({"slug": "a--b"}, "/slug"),
        ({"slug": "p" * 61}, "/slug"),
        ({"slug": None}, "/slug"),
        ({"type": "agent"}, "/type"),
        ({"type": None}, "/type"),
        ({"name": " "}, "/name"),
        ({"name": "n" * 121}, "/name"),
        ({"name": "a\x00b"}, "/name"),
        ({"priceUsd": "0.01"}, "/priceUsd"),
        ({"priceUsd": True}, "/priceUsd"),
        ({"priceUsd": None}, "/priceUsd"),
        ({"priceUsd": 0}, "/priceUsd"),
        ({"priceUsd": 0.0009}, "/priceUsd"),
        ({"priceUsd": 1.000001}, "/priceUsd"),
        ({"priceUsd": 0.0000015}, "/priceUsd"),
        ({"priceUsd": 0.1000001}, "/priceUsd"),
        ({"priceUsd": 1e300}, "/priceUsd"),
        ({"model": "nobody/knows"}, "/model"),
        ({"model": 7}, "/model"),
        ({"temperature": 2.1}, "/temperature"),
        ({"temperature": "1"}, "/temperature"),
        ({"temperature": 0.00001}, "/temperature"),
        ({"topP": 1.1}, "/topP"),
        ({"frequencyPenalty": -2.1}, "/frequencyPenalty"),
        ({"presencePenalty": 3}, "/presencePenalty"),
        ({"maxTokens": 0}, "/maxTokens"),
        ({"maxTokens": 1.5}, "/maxTokens"),
        ({"maxTokens": True}, "/maxTokens"),
        ({"maxTokens": 999_999}, "/maxTokens"),
        ({"parameters": {}}, "/parameters"),
        ({"parameters": [{"name": "topic"}]}, "/parameters/0/required"),
        ({"parameters": [{"name": "topic", "required": True, "x": 1}]}, "/parameters/0/x"),
        ({"parameters": [{"name": "Topic", "required": True}]}, "/parameters/0/name"),
        ({"allowsUserMessage": "yes"}, "/allowsUserMessage"),
        ({"content": "x"}, "/content"),
        ({"active": False}, "/active"),
        ({"secret": "x"}, "/secret"),
    ],
    ids=str,
)
def test_a_resource_that_is_not_right_is_refused_with_the_place(
    ann: Browser, change: dict[str, Any], pointer: str
) -> None:
    assert pointer in pointers(ann.publish(POEM, **change))


def test_a_price_is_read_as_it_was_written_and_not_as_its_nearest_float(
    ann: Browser, who: Publisher, open_for_creators: CheckedClient
) -> None:
    def send(price: str) -> TestResponse:
        body = simplejson.dumps(FACT).replace("0.001", price)
        headers = {"Authorization": f"Bearer {who.api_key}"}
        return open_for_creators.post(
            OWN, data=body, content_type="application/json", headers=headers
        )

    assert pointers(send("0.1000000000000000000000000000000001")) == ["/priceUsd"]
    assert pointers(send("1e999999999")) == ["/priceUsd"]
    assert send("1e99999999999999999999").status_code == 400
    assert exact(send("1.00e-1"))["priceUsd"] == Decimal("0.1")


@pytest.mark.parametrize("change", [{"slug": "other"}, {"type": "static"}, {"active": False}])
def test_what_a_resource_is_for_ever_is_no_edit(ann: Browser, change: dict[str, Any]) -> None:
    ann.publish(POEM)

    assert pointers(ann.edit(**change)) == [f"/{next(iter(change))}"]


def test_a_slug_can_be_taken_once(ann: Browser) -> None:
    ann.publish(POEM)

    again = ann.publish(FACT, slug="poem")

    assert again.status_code == 409
    assert again.json is not None
    assert again.json["code"] == "slug_taken"


@pytest.mark.parametrize("slug", ["nothing", "Poem", "po%00em", "%2e%2e", "p" * 61])
@pytest.mark.parametrize(
    ("method", "verb"), [("GET", ""), ("PATCH", ""), ("POST", "/pause"), ("POST", "/restore")]
)
def test_what_is_not_there_is_not_found(ann: Browser, slug: str, method: str, verb: str) -> None:
    body = {"name": "x"} if method == "PATCH" else None

    assert ann.ask(method, f"{OWN}/{slug}{verb}", body).status_code == 404


def test_another_creators_resource_is_not_found(
    ann: Browser, who: Publisher, open_for_creators: CheckedClient
) -> None:
    ann.publish(POEM)
    bob = Browser(open_for_creators, Publisher(who.tools, "bob"))

    assert bob.ask("GET", f"{OWN}/poem").status_code == 404
    assert bob.edit(name="mine now").status_code == 404
    assert bob.ask("GET", OWN).json == {"resources": []}


def test_everybody_sees_what_sells_and_nothing_that_is_sold(
    ann: Browser, open_for_creators: CheckedClient
) -> None:
    for body in (POEM, FACT, SERVER):
        assert ann.publish(body).status_code == 201

    response = open_for_creators.get("/api/resources")

    text = response.get_data(as_text=True)
    assert not [canary for canary in CANARIES if canary in text]
    server, fact, poem = exact(response)["resources"]
    assert poem == {
        "creator": "ann",
        "slug": "poem",
        "type": "openrouter_instant",
        "name": "Poems 🧿",
        "description": "Short ones.",
        "priceUsd": Decimal("0.123456"),
        "version": 1,
        "model": HAIKU,
        "parameters": [{"name": "topic", "description": "Of what?", "required": True}],
        "allowsUserMessage": True,
        "links": {"run": "/api/instant/ann/poem"},
    }
    assert fact["contentType"] == "text/markdown"
    assert set(server) == {
        *("creator", "slug", "type", "name", "description", "priceUsd", "version"),
        *("parameters", "links"),
    }


def test_what_does_not_sell_is_not_on_the_public_list(
    ann: Browser, open_for_creators: CheckedClient
) -> None:
    ann.publish(FACT)
    ann.publish(POEM, type="prompt_template")  # without an Anthropic key
    ann.ask("POST", f"{OWN}/fact/pause")

    assert open_for_creators.get("/api/resources").json == {"resources": []}


def test_lists_are_read_page_by_page(ann: Browser, open_for_creators: CheckedClient) -> None:
    for n in range(3):
        ann.publish(FACT, slug=f"fact-{n}")

    for address, ask in ((OWN, ann.ask), ("/api/resources", open_public(open_for_creators))):
        first = ask("GET", f"{address}?limit=2").json
        assert first is not None
        rest = ask("GET", f"{address}?limit=2&cursor={first['nextCursor']}").json
        assert rest is not None
        slugs = [item["slug"] for item in (*first["resources"], *rest["resources"])]
        assert slugs == ["fact-2", "fact-1", "fact-0"]
        assert "nextCursor" not in rest


def open_public(client: CheckedClient) -> Any:
    return lambda method, address: client.open(address, method=method)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "cursor=-1", "cursor=x", "cursor=" + "9" * 19],
)
def test_a_query_that_is_not_right_is_refused(ann: Browser, query: str) -> None:
    assert ann.ask("GET", f"{OWN}?{query}").status_code == 400


@pytest.mark.parametrize("query", ["creator=Ann", "creator=", "creator=a%00b", "limit=1000"])
def test_a_public_query_that_is_not_right_is_refused(client: CheckedClient, query: str) -> None:
    assert client.get(f"/api/resources?{query}").status_code == 400


def test_the_public_list_can_be_of_one_creator(
    ann: Browser, who: Publisher, open_for_creators: CheckedClient
) -> None:
    ann.publish(FACT)
    Publisher(who.tools, "bob").publish()

    for handle, slugs in (("ann", ["fact"]), ("bob", ["poem"]), ("eve", [])):
        listed = open_for_creators.get(f"/api/resources?creator={handle}").json
        assert listed is not None
        assert [item["slug"] for item in listed["resources"]] == slugs


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", OWN),
        ("POST", OWN),
        ("GET", f"{OWN}/poem"),
        ("PATCH", f"{OWN}/poem"),
        *(("POST", f"{OWN}/poem/{verb}") for verb in ("pause", "resume", "archive", "restore")),
    ],
)
def test_without_a_key_nobody_gets_in(
    open_for_creators: CheckedClient, method: str, address: str
) -> None:
    for headers in ({}, {"Authorization": "Bearer hwc_nobodys"}, {"Authorization": "Basic YQ=="}):
        assert open_for_creators.open(address, method=method, headers=headers).status_code == 401


def test_the_models_are_listed_with_their_prices(
    who: Publisher, open_for_creators: CheckedClient
) -> None:
    response = open_for_creators.get("/api/models")

    models = {model["id"]: model for model in exact(response)["models"]}
    assert models[HAIKU] == models[HAIKU] | {
        "types": ["openrouter_instant", "prompt_template"],
        "contextTokens": 200_000,
        "maxOutputTokens": 64_000,
        "inputUsdPerMillionTokens": 1,
        "outputUsdPerMillionTokens": 5,
    }
    assert models[SMALL]["types"] == ["openrouter_instant"]
    assert models[SMALL]["inputUsdPerMillionTokens"] == Decimal("0.02")
    assert response.json is not None
    assert response.json["syncedAt"].endswith("Z")
    assert "public" in response.headers["Cache-Control"]


def test_before_the_first_sync_there_are_no_models(client: CheckedClient) -> None:
    assert client.get("/api/models").json == {"models": []}
