"""Every body that the API takes, broken in every way: a 4xx in words, and nothing is written.

The judge in the client sees to the words, and that nothing is taken that the document forbids.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text

from local.stand_in.testing import StandInClient
from models import tables
from models.resource import ResourceType
from services.toolbox import Toolbox
from tests.app.contract import Answer, CheckedClient
from tests.app.test_claiming_refunds import owed
from tests.app.test_resources import FACT, POEM, SERVER
from tests.architecture.test_routes import ROUTES, Access
from tests.support.creators import ADDRESS, OPERATOR
from tests.support.life import REQUEST, Life
from tests.support.market import KEY, Buyer, Market, open_market

Json = dict[str, Any]
JSON = "application/json"
Place = tuple[str | int, ...]
"""Where a member stands: names of members, and numbers of entries."""

_DIGEST = " UNION ALL ".join(
    f"SELECT '{table.name}', count(*), coalesce(sum(hashtext(t::text)), 0) FROM {table.name} t"
    for table in tables.metadata.sorted_tables
)


def contents(tools: Toolbox) -> list[tuple[Any, ...]]:
    """What the whole database holds; equal when nothing was written."""
    with tools.database.reading("test.contents") as session:
        return [tuple(row) for row in session.execute(text(_DIGEST))]


@dataclass(frozen=True)
class World:
    """A creator who sells something, a payer, and a job that is owed a refund."""

    market: Market
    life: Life
    client: CheckedClient

    @property
    def creator(self) -> Json:
        return {"Authorization": f"Bearer {self.market.api_key}"}


@pytest.fixture
def world(tools: Toolbox, stand_in: StandInClient, life: Life, client: CheckedClient) -> World:
    return World(open_market(tools, stand_in), life, client)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One that would be taken as it is."""

    method: str
    path: str
    body: Json
    headers: Json


_numbers = count(1)
_ADDRESSES = {"eip155:8453": ADDRESS, "eip155:84532": ADDRESS}


def _job(_: World) -> Request:
    body = {"request": REQUEST, "metadata": {"order": "7"}, "refundTo": "alice@wallet.example"}
    return Request(method="POST", path="/api/jobs", body=body, headers={})


def _claim(world: World, view: Any = None) -> Request:
    view = view or world.life.complete()
    invoice = world.life.stand_in.payer_invoice(owed(world.client, view))
    path = f"/api/jobs/{view.job.public_id}/refund"
    return Request(method="POST", path=path, body={"invoice": invoice}, headers={})


def _registration(_: World) -> Request:
    body = {"handle": f"handle-{next(_numbers)}", "payoutAddresses": _ADDRESSES}
    return Request(method="POST", path="/api/creators", body=body, headers=OPERATOR)


def _account(world: World) -> Request:
    body = {"payoutAddresses": _ADDRESSES, "costCapPerCallUsd": 0.5, "costCapPerDayUsd": 5}
    return Request(method="PATCH", path="/api/creator", body=body, headers=world.creator)


def _key(world: World) -> Request:
    path = "/api/creator/keys/openrouter"
    return Request(method="PUT", path=path, body={"key": KEY}, headers=world.creator)


_EVERY_MEMBER: dict[str, Json] = {
    "model": {**POEM, "topP": 0.5, "frequencyPenalty": 0.1, "presencePenalty": -0.1},
    "static": {**FACT, "description": "On honest work."},
    "proxy": {**SERVER, "description": "Honest work, elsewhere."},
}


def _resource(world: World, of: str) -> Request:
    body = {**deepcopy(_EVERY_MEMBER[of]), "slug": f"slug-{next(_numbers)}"}
    path = "/api/creator/resources"
    return Request(method="POST", path=path, body=body, headers=world.creator)


def _edit(world: World, of: str) -> Request:
    made = world.client.post(
        "/api/creator/resources", json=_resource(world, of).body, headers=world.creator
    )
    body = {
        name: value for name, value in _EVERY_MEMBER[of].items() if name not in ("slug", "type")
    }
    path = made.json["links"]["self"]
    return Request(method="PATCH", path=path, body=deepcopy(body), headers=world.creator)


def _run(world: World) -> Request:
    slug = f"haiku-{next(_numbers)}"
    path = world.market.publish(slug, ResourceType.OPENROUTER_INSTANT)
    body = {"subject": "honest work", "user_message": "Please."}
    headers = Buyer(world.client).payment(path)
    return Request(method="POST", path=path, body=body, headers=headers)


REQUESTS: dict[str, Callable[[World], Request]] = {
    "createJob": _job,
    "claimRefund": _claim,
    "createCreator": _registration,
    "editCreator": _account,
    "saveKey": _key,
    "createResource model": partial(_resource, of="model"),
    "createResource static": partial(_resource, of="static"),
    "createResource proxy": partial(_resource, of="proxy"),
    "editResource model": partial(_edit, of="model"),
    "editResource static": partial(_edit, of="static"),
    "editResource proxy": partial(_edit, of="proxy"),
    "runInstant": _run,
}
every_body = pytest.mark.parametrize("make", REQUESTS.values(), ids=REQUESTS)

MISSING = object()
VALUES: tuple[Any, ...] = (
    *(MISSING, None, True, 7, -1, 10**400, 0.1234567890123, "", " \t\u2003", "x\x00y"),
    *("x" * 60_000, [], [None], ["x"], {}, {"x": 1}, {"": {}}, "\u202e\U000e0001\ufffe"),
)


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Every member and entry inside of a body, however deep."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in inside:
        yield (*above, name)
        if isinstance(inner, dict | list):
            yield from places(inner, (*above, name))


def broken(body: Json, place: Place, value: Any) -> Json:
    """The body with another value there, or with none."""
    changed = deepcopy(body)
    target: Any = changed
    for name in place[:-1]:
        target = target[name]
    if value is MISSING:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return changed


def sent_as_text(client: CheckedClient, request: Request, raw: str | bytes) -> Answer:
    kind = "application/json"
    return client.open(
        request.path, method=request.method, data=raw, content_type=kind, headers=request.headers
    )


def names_in(schema: Json, spec: Json) -> set[str]:
    """Every member that a schema of the document names, those of its entries included."""
    if "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found = set(schema.get("properties", {}))
    entries = [schema["items"]] if "items" in schema else []
    for inner in (*schema.get("properties", {}).values(), *entries):
        found |= names_in(inner, spec)
    return found


def test_no_body_of_the_document_and_no_member_of_it_is_left_out(world: World) -> None:
    spec = world.client.get("/api/openapi.json").json
    tried: dict[str, set[str]] = {}
    for name, make in REQUESTS.items():
        inside = {part for place in places(make(world).body) for part in place}
        tried.setdefault(name.split()[0], set()).update(map(str, inside))

    for methods in spec["paths"].values():
        for operation in methods.values():
            if "requestBody" not in operation:
                continue
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert names_in(schema, spec) <= tried[operation["operationId"]]


@every_body
def test_as_it_is_it_is_taken(world: World, make: Callable[[World], Request]) -> None:
    """Or what follows would be refused for something else."""
    request = make(world)

    answer = world.client.open(
        request.path, method=request.method, json=request.body, headers=request.headers
    )

    assert answer.status_code < 300


@every_body
def test_a_member_of_any_other_value_is_refused_or_means_what_the_document_says(
    world: World, make: Callable[[World], Request]
) -> None:
    request = make(world)
    before: list[tuple[Any, ...]] = []
    for place in places(request.body):
        for value in VALUES:
            before = before or contents(world.life.tools)

            answer = world.client.open(
                request.path,
                method=request.method,
                json=broken(request.body, place, value),
                headers=request.headers,
            )

            told = f"{place} = {str(value)[:40]!r}: {answer.text[:200]}"
            assert answer.status_code in {200, 201, 202, 400}, told
            if answer.status_code == 400:
                assert contents(world.life.tools) == before, f"something was written, {told}"
                continue
            request, before = make(world) if request.method == "POST" else request, []


def _deep(opening: str, closing: str) -> str:
    return opening * 10_000 + "0" + closing * 10_000


RAW_VALUES = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "0x10", "01", "'x'", "undefined"),
    *(r'"\ud83d"', r'"x\udc00y"', '"\t"', r'"\x00"', "1" * 5000, "1e999999999", "1e-999999999"),
    *(_deep("[", "]"), _deep('{"a":', "}")),
)


@every_body
def test_a_value_that_is_no_json_or_that_nothing_can_hold_is_a_400(
    world: World, make: Callable[[World], Request]
) -> None:
    request = make(world)
    before = contents(world.life.tools)
    mark = "put it here"

    for place in places(request.body):
        text_around = json.dumps(broken(request.body, place, mark))
        for value in RAW_VALUES:
            raw = text_around.replace(f'"{mark}"', value)

            answer = sent_as_text(world.client, request, raw)

            assert answer.status_code == 400, f"{place} = {value[:40]}: {answer.text[:200]}"
    assert contents(world.life.tools) == before


def spoilt(body: Json) -> Iterator[str | bytes]:
    """The body in other spellings, each of them wrong."""
    whole = json.dumps(body)
    for name, value in body.items():
        yield whole[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}"  # a member twice
    for name in ("nobodyKnowsThis", "", "\x00", "__proto__", "constructor", "Request", "_schema"):
        yield json.dumps({**body, name: "x"})
    yield json.dumps({**body, "nobodyKnowsThis": None})
    yield from (
        whole[:-1],
        whole + whole,
        whole + ",",
        "\ufeff" + whole,
        f"[{whole}]",
        f'"{whole}"',
    )
    yield from ("", " ", "null", "true", "7", '"x"', "[]", "{", "\x00", "request=x", "<a/>", "NaN")
    yield from (whole.encode("utf-16"), whole.encode("utf-32"), b"\xff\xfe", b"\x1f\x8b\x08\x00")
    yield from (_deep("[", "]"), _deep('{"a":', "}"), "[" * 60_000, '{"a":' * 12_000)


@every_body
def test_a_body_that_is_spelled_wrongly_is_a_400(
    world: World, make: Callable[[World], Request]
) -> None:
    request = make(world)
    before = contents(world.life.tools)

    for raw in spoilt(request.body):
        answer = sent_as_text(world.client, request, raw)

        assert answer.status_code == 400, f"{raw[:60]!r}: {answer.text[:200]}"
    assert contents(world.life.tools) == before


@every_body
def test_a_body_of_10_mb_is_a_413_and_one_of_another_kind_a_415(
    world: World, make: Callable[[World], Request]
) -> None:
    request = make(world)
    before = contents(world.life.tools)
    whole = json.dumps(request.body).encode()

    too_large = sent_as_text(world.client, request, whole.ljust(10_000_000))
    packed = {**request.headers, "Content-Encoding": "gzip"}
    others = [
        world.client.open(
            request.path, method=request.method, data=whole, content_type=kind, headers=headers
        )
        for kind, headers in (
            ("text/plain", request.headers),
            ("application/x-www-form-urlencoded", request.headers),
            ("application/json", packed),
        )
    ]

    assert (too_large.status_code, too_large.json["code"]) == (413, "payload_too_large")
    assert [answer.status_code for answer in others] == [415, 415, 415]
    assert contents(world.life.tools) == before


NOTHING_SAID: tuple[Json, ...] = ({}, {"content_type": JSON}, {"data": b"{}", "content_type": JSON})
SOMETHING_SAID = (
    *(b'{"refundTo": "alice@wallet.example"}', b'{"": null}', b"{", b"\x00\xff", b"[" * 50_000),
    *(b'{"id": NaN}', b"null", b"[]", b" ", b'{"a": 1, "a": 1}'),
)
BODILESS = sorted(
    (method, path)
    for (method, path), access in ROUTES.items()
    if method != "GET" and not path.endswith(("/creators", "/jobs", "/refund", "/resources"))
    if method in ("POST", "DELETE") and access not in (Access.PAYER, Access.TOKEN)
)
"""LNbits' webhook is passed over, whatever it says: nothing in it is believed."""
every_bodiless_route = pytest.mark.parametrize(("method", "path"), BODILESS)


def _address(world: World, path: str) -> str:
    """Of something that is there."""
    world.market.publish("haiku")
    job = world.life.create()
    for name, value in {
        "id": str(job.job.public_id),
        "provider": "openrouter",
        "slug": "haiku",
        "token": world.life.tools.webhook_token,
        "payment_hash": job.invoices.popitem()[1].payment_hash,
    }.items():
        path = path.replace(f"<string:{name}>", value)
    return path


@every_bodiless_route
def test_where_no_body_is_wanted_one_that_says_something_is_refused(
    world: World, method: str, path: str
) -> None:
    path = _address(world, path)
    before = contents(world.life.tools)

    def send(body: bytes, kind: str = JSON, **more: Any) -> tuple[int, str]:
        headers = world.creator | more
        answer = world.client.open(
            path, method=method, data=body, content_type=kind, headers=headers
        )
        return answer.status_code, answer.json["code"]

    for body in SOMETHING_SAID:
        assert send(body) in {(400, "invalid_request"), (400, "invalid_json")}, body
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert send(b"{}", kind) == (415, "unsupported_media_type")
    assert send(b"{}", **{"Content-Encoding": "gzip"}) == (415, "unsupported_media_type")
    assert send(b" " * 10_000_000) == (413, "payload_too_large")
    assert contents(world.life.tools) == before


@every_bodiless_route
def test_where_no_body_is_wanted_none_in_chunks_is_read_past_the_limit(
    world: World, method: str, path: str
) -> None:
    answer = world.client.open(
        _address(world, path),
        method=method,
        content_type=JSON,
        input_stream=BytesIO(b" " * 70_000),
        headers=world.creator,
        environ_overrides={"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    )

    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


@every_bodiless_route
@pytest.mark.parametrize("said", NOTHING_SAID, ids=["nothing", "a type", "an empty object"])
def test_where_no_body_is_wanted_none_and_an_empty_one_are_taken(
    world: World, method: str, path: str, said: Json
) -> None:
    path = _address(world, path)

    answer = world.client.open(path, method=method, headers=world.creator, **said)

    assert answer.status_code < 300


@pytest.mark.parametrize("body", SOMETHING_SAID, ids=lambda body: repr(body[:20]))
def test_a_webhook_is_a_nudge_whatever_its_body_says(world: World, body: bytes) -> None:
    path = _address(world, "/api/hooks/lnbits/<string:token>")

    assert world.client.post(path, data=body, content_type=JSON).status_code == 204
    assert world.client.post(path, data=b" " * 10_000_000).status_code == 413
