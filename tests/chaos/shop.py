"""A creator who sells one thing of each kind: registered before anything goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.plans import Ware
from tests.journeys.waiting import wait_until
from tests.support import wire

OPS_TOKEN = "chaos-token-of-the-operator-0001"
HANDLE = "chaos"
NETWORK = "eip155:84532"
PAYEE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""The first example of EIP-55; nobody's."""
PROVIDER_KEY = "sk-or-v1-chaos-key-of-the-creator-0001"
MODEL = "openai/gpt-6-mini"
CONTENT = "What is sold, letter by letter."
CATALOGUE_SECONDS = 60
TIMEOUT_SECONDS = 30

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Where it sells, and its creator's key."""

    door: str
    api_key: str = field(repr=False)

    def path(self, ware: Ware) -> str:
        return f"/api/instant/{HANDLE}/{ware.value}"

    def body(self, ware: Ware, words: str) -> Json:
        """What its buyer says: something that nobody else says, where anything can be said."""
        said: dict[Ware, Json] = {
            Ware.HAIKU: {"subject": "honest work", "user_message": words},
            Ware.TEXT: {},
            Ware.ECHO: {"words": words},
        }
        return said[ware]

    def is_delivered(self, ware: Ware, words: str, response: object) -> bool:
        """Whether that is what was bought, made for whoever said ``words``."""
        return response == CONTENT if ware is Ware.TEXT else words in str(response)

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    def earnings(self) -> Json:
        """What the product says that it sold."""
        return _ask("GET", f"{self.door}/api/creator/earnings", None, self.auth)


def open_shop(door: str, world: str) -> Shop:
    """Register the creator, with a key and a ware of each kind. ``world`` has an upstream."""
    operator = {"Authorization": f"Bearer {OPS_TOKEN}"}
    creator = {"handle": HANDLE, "payoutAddresses": {NETWORK: PAYEE}}
    new = _ask("POST", f"{door}/api/creators", creator, operator)
    shop = Shop(door=door, api_key=new["apiKey"])
    _ask("PUT", f"{door}/api/creator/keys/openrouter", {"key": PROVIDER_KEY}, shop.auth)
    wait_until("models are listed", lambda: _models(door), bool, seconds=CATALOGUE_SECONDS)
    for ware, members in _wares(world).items():
        about = {"slug": ware.value, "name": f"Chaos: {ware.value}", **members}
        _ask("POST", f"{door}/api/creator/resources", about, shop.auth)
    return shop


def _models(door: str) -> list[object]:
    return list(_ask("GET", f"{door}/api/models", None, {})["models"])


def _wares(world: str) -> Mapping[Ware, Json]:
    return {
        Ware.HAIKU: {
            "type": "openrouter_instant",
            "priceUsd": 0.012,
            "model": MODEL,
            "systemPrompt": "Write a haiku on {subject}{/subject}.",
            "parameters": [{"name": "subject", "required": True}],
            "allowsUserMessage": True,
        },
        Ware.TEXT: {"type": "static", "priceUsd": 0.001, "content": CONTENT},
        Ware.ECHO: {
            "type": "proxy",
            "priceUsd": 0.25,
            "upstreamUrl": f"{world}/upstream/echo",
            "parameters": [{"name": "words", "required": True}],
        },
    }


def _ask(method: str, url: str, body: object, headers: Mapping[str, str]) -> Json:
    answer = wire.ask(method, url, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
    assert answer.ok, f"{method} {url}: {answer.status_code} {answer.text}"
    return dict(answer.json())
