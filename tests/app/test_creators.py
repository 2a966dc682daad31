"""Creators over HTTP: registered by the operator, their account, their keys."""

from contextlib import ExitStack

import pytest
from flask import Flask

from app.waiting import KEY_CHECKS, SEATS
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.key_states import KeyState
from local.stand_in.testing import StandInClient
from services.toolbox import Toolbox
from tests.app.conftest import Build, taken
from tests.app.contract import CheckedClient
from tests.support.creators import (
    ADDRESS,
    ANTHROPIC_KEY,
    OPENROUTER_KEY,
    OPERATOR,
    Someone,
    a_creator,
)

BASE, SEPOLIA = "eip155:8453", "eip155:84532"
KEY = "/api/creator/keys/openrouter"


@pytest.fixture
def ada(tools: Toolbox) -> Someone:
    return a_creator(tools)


def save(client: CheckedClient, who: Someone, key: str = OPENROUTER_KEY, at: str = KEY) -> None:
    assert client.put(at, json={"key": key}, headers=who.headers).status_code == 200


# --- Registration


def test_the_operator_registers_a_creator_who_is_shown_the_api_key_once(
    client: CheckedClient,
) -> None:
    body = {"handle": "ada-lovelace", "payoutAddresses": {BASE: ADDRESS.lower()}}

    created = client.post("/api/creators", json=body, headers=OPERATOR)

    assert created.status_code == 201
    assert created.json["payoutAddresses"] == {BASE: ADDRESS}
    headers = {"Authorization": f"Bearer {created.json['apiKey']}"}
    account = client.get("/api/creator", headers=headers)
    assert account.status_code == 200
    assert account.json["handle"] == "ada-lovelace"
    assert account.json["apiKeyLast4"] == created.json["apiKey"][-4:]
    assert created.json["apiKey"] not in account.text


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_nobody_else_registers_creators(client: CheckedClient, headers: dict[str, str]) -> None:
    assert client.post("/api/creators", json={"handle": "x"}, headers=headers).status_code == 401


def test_a_creators_own_key_registers_nobody(client: CheckedClient, ada: Someone) -> None:
    refused = client.post("/api/creators", json={"handle": "bob"}, headers=ada.headers)

    assert refused.status_code == 401


def test_without_an_ops_token_nobody_registers_creators(client_with: Build) -> None:
    client = client_with(ops_token=None)

    refused = client.post("/api/creators", json={"handle": "x"}, headers=OPERATOR)

    assert refused.status_code == 401


@pytest.mark.parametrize(
    "handle", ["", "Ada", "a_b", "-a", "a-", "a--b", "a b", "a" * 61, "ä", 7, None]
)
def test_a_handle_that_is_none_is_refused(client: CheckedClient, handle: object) -> None:
    refused = client.post("/api/creators", json={"handle": handle}, headers=OPERATOR)

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_request")


def test_a_handle_is_given_once(client: CheckedClient, ada: Someone) -> None:
    refused = client.post("/api/creators", json={"handle": ada.handle}, headers=OPERATOR)

    assert (refused.status_code, refused.json["code"]) == (409, "handle_taken")


# --- The account


def test_without_vault_keys_there_are_no_creators(client_with: Build, ada: Someone) -> None:
    client = client_with(collaborators={"vault": None})

    answers = [
        client.get("/api/creator", headers=ada.headers),
        client.post("/api/creators", json={"handle": "bob"}, headers=OPERATOR),
        client.put(KEY, json={"key": OPENROUTER_KEY}, headers=ada.headers),
    ]

    for answer in answers:
        assert (answer.status_code, answer.json["code"]) == (503, "instant_unavailable")
        assert "Retry-After" in answer.headers


def test_what_is_given_is_changed_and_the_rest_stays(client: CheckedClient, ada: Someone) -> None:
    other = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
    first = {"payoutAddresses": {BASE: other}, "costCapPerDayUsd": 12.5}

    client.patch("/api/creator", json=first, headers=ada.headers)
    account = client.patch("/api/creator", json={"costCapPerCallUsd": 0.25}, headers=ada.headers)

    assert account.json["payoutAddresses"] == {BASE: other, SEPOLIA: ADDRESS}
    assert account.json["costCapPerDayUsd"] == 12.5
    assert account.json["costCapPerCallUsd"] == 0.25


def test_null_takes_an_address_and_a_cap_away(client: CheckedClient, ada: Someone) -> None:
    client.patch("/api/creator", json={"costCapPerDayUsd": 1}, headers=ada.headers)

    nothing = {"payoutAddresses": {BASE: None}, "costCapPerDayUsd": None}
    account = client.patch("/api/creator", json=nothing, headers=ada.headers)

    assert account.json["payoutAddresses"] == {SEPOLIA: ADDRESS}
    assert account.json["costCapPerDayUsd"] is None


@pytest.mark.parametrize(
    "addresses",
    [
        {BASE: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"},  # the last letter's case
        {BASE: "0x" + "0" * 40},
        {"eip155:1": ADDRESS},
        {"": ADDRESS},
        {"solana:mainnet": ADDRESS},
    ],
)
def test_an_address_that_would_lose_money_is_refused(
    client: CheckedClient, ada: Someone, addresses: dict[str, str]
) -> None:
    refused = client.patch("/api/creator", json={"payoutAddresses": addresses}, headers=ada.headers)

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_payout_address")
    assert refused.json["errors"][0]["pointer"].startswith("/payoutAddresses/")


@pytest.mark.parametrize("network", ["eip155:1", "", "eip155:\0", "\ud800"])
def test_from_what_is_no_network_nothing_can_be_taken_away(
    client: CheckedClient, ada: Someone, network: str
) -> None:
    before = client.get("/api/creator", headers=ada.headers).json
    body = {"payoutAddresses": {SEPOLIA: None, network: None}}

    refused = client.patch("/api/creator", json=body, headers=ada.headers)

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_payout_address")
    assert client.get("/api/creator", headers=ada.headers).json == before


@pytest.mark.parametrize(
    "body",
    [
        {"payoutAddresses": {BASE: "0x123"}},
        {"payoutAddresses": {BASE: 5}},
        {"payoutAddresses": None},
        {"payoutAddresses": []},
        {"costCapPerCallUsd": 0},
        {"costCapPerCallUsd": -1},
        {"costCapPerCallUsd": "1"},
        {"handle": "bob"},
    ],
)
def test_what_is_no_account_is_refused(
    client: CheckedClient, ada: Someone, body: dict[str, object]
) -> None:
    refused = client.patch("/api/creator", json=body, headers=ada.headers)

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_request")


def test_a_renewed_api_key_works_and_the_old_one_opens_nothing(
    client: CheckedClient, ada: Someone
) -> None:
    renewed = client.post("/api/creator/api-key", headers=ada.headers)

    headers = {"Authorization": f"Bearer {renewed.json['apiKey']}"}
    assert client.get("/api/creator", headers=headers).status_code == 200
    assert client.get("/api/creator", headers=ada.headers).status_code == 401


# --- Keys


@pytest.mark.parametrize(
    ("provider", "key"), [("openrouter", OPENROUTER_KEY), ("anthropic", ANTHROPIC_KEY)]
)
def test_a_saved_key_is_verified_and_never_comes_back(
    client: CheckedClient, ada: Someone, provider: str, key: str
) -> None:
    saved = client.put(f"/api/creator/keys/{provider}", json={"key": key}, headers=ada.headers)

    assert saved.status_code == 200
    assert (saved.json["last4"], saved.json["isValid"]) == (key[-4:], True)
    assert saved.json["lastVerifiedAt"] is not None
    account = client.get("/api/creator", headers=ada.headers)
    assert [known["provider"] for known in account.json["keys"]] == [provider]
    assert key[:-4] not in saved.text + account.text


def test_a_key_that_its_provider_does_not_accept_changes_nothing(
    client: CheckedClient, ada: Someone
) -> None:
    save(client, ada)

    refused = client.put(KEY, json={"key": "sk-or-v1-invalid-0003"}, headers=ada.headers)

    assert (refused.status_code, refused.json["code"]) == (400, "provider_key_refused")
    account = client.get("/api/creator", headers=ada.headers)
    assert account.json["keys"][0]["last4"] == OPENROUTER_KEY[-4:]


@pytest.mark.parametrize("key", ["short", "with a blank in it", "ümläute-sind-keine", "x" * 600])
def test_what_can_be_no_key_is_refused_without_asking_anybody(
    client: CheckedClient, ada: Someone, stand_in: StandInClient, key: str
) -> None:
    refused = client.put(KEY, json={"key": key}, headers=ada.headers)

    assert (refused.status_code, refused.json["code"]) == (400, "provider_key_refused")
    assert "GET /openrouter/api/v1/key" not in stand_in.counts().requests


def test_while_the_provider_is_away_a_key_is_kept_and_its_validity_is_unknown(
    client: CheckedClient, ada: Someone, stand_in: StandInClient
) -> None:
    stand_in.arm(Fault(target="openrouter.key", kind=FaultKind.STATUS, status=503))

    saved = client.put(KEY, json={"key": OPENROUTER_KEY}, headers=ada.headers)

    assert (saved.status_code, saved.json["isValid"]) == (200, None)


def test_a_key_without_credits_is_kept_and_says_so(client: CheckedClient, ada: Someone) -> None:
    saved = client.put(KEY, json={"key": "sk-or-v1-no-credits-1"}, headers=ada.headers)

    assert (saved.json["isValid"], saved.json["lastErrorCode"]) == (True, "credits")


def test_a_test_says_what_the_provider_says_now(
    client: CheckedClient, ada: Someone, stand_in: StandInClient
) -> None:
    save(client, ada)
    stand_in.tell_of_a_key(OPENROUTER_KEY, KeyState.INVALID)

    tested = client.post(f"{KEY}/test", headers=ada.headers)

    assert (tested.json["isValid"], tested.json["lastErrorCode"]) == (False, "key_invalid")


def test_a_test_while_the_provider_is_away_says_so_and_changes_nothing(
    client: CheckedClient, ada: Someone, stand_in: StandInClient
) -> None:
    save(client, ada)
    stand_in.arm(Fault(target="openrouter.key", kind=FaultKind.RESET, times=2))

    tested = client.post(f"{KEY}/test", headers=ada.headers)

    assert tested.status_code == 503
    account = client.get("/api/creator", headers=ada.headers)
    assert account.json["keys"][0]["isValid"] is True


def test_a_deleted_key_is_gone(client: CheckedClient, ada: Someone) -> None:
    save(client, ada)

    deleted = client.delete(KEY, headers=ada.headers)

    assert deleted.json == {"provider": "openrouter", "paused": []}
    assert client.delete(KEY, headers=ada.headers).status_code == 404
    assert client.post(f"{KEY}/test", headers=ada.headers).status_code == 404
    assert client.get("/api/creator", headers=ada.headers).json["keys"] == []


def test_a_provider_that_is_none_is_nowhere(client: CheckedClient, ada: Someone) -> None:
    nowhere = "/api/creator/keys/acme"

    assert client.put(nowhere, json={"key": "x" * 20}, headers=ada.headers).status_code == 404
    assert client.delete(nowhere, headers=ada.headers).status_code == 404


def test_one_creators_key_is_not_anothers(
    client: CheckedClient, tools: Toolbox, ada: Someone
) -> None:
    save(client, ada)
    bob = a_creator(tools, "bob")

    assert client.get("/api/creator", headers=bob.headers).json["keys"] == []
    assert client.delete(KEY, headers=bob.headers).status_code == 404
    assert len(client.get("/api/creator", headers=ada.headers).json["keys"]) == 1


def test_a_hung_provider_holds_a_few_threads_and_no_more(
    client: CheckedClient, web: Flask, ada: Someone
) -> None:
    """Whoever comes then is told to come again, at once."""
    with ExitStack() as others:
        for _ in range(KEY_CHECKS):
            others.enter_context(web.extensions["key_checks"].turn())
        refused = client.put(KEY, json={"key": OPENROUTER_KEY}, headers=ada.headers)

    assert (refused.status_code, refused.json["code"]) == (503, "model_unavailable")
    save(client, ada)


def test_without_a_free_seat_no_provider_is_asked(
    client: CheckedClient, web: Flask, ada: Someone, stand_in: StandInClient
) -> None:
    save(client, ada)
    before = stand_in.counts().requests["GET /openrouter/api/v1/key"]

    with taken(web.extensions["waiting_room"], SEATS):
        refused = client.post(f"{KEY}/test", headers=ada.headers)

    assert refused.status_code == 503
    assert stand_in.counts().requests["GET /openrouter/api/v1/key"] == before
