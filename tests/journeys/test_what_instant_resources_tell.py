"""Secrets of creators and callers, followed through a whole product: who gets to see what.

Nothing of them is in an answer to anybody else, in a line that any process writes, or in a message
that goes through Valkey.
"""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, text

from config.settings import psycopg2_url
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from tests.journeys.creator import Buyer, Visitor, operator_of, registered
from tests.journeys.product import Product
from tests.support.x402_payer import decoded

PROMPT = "prompt-canary: write on {subject}{/subject} as nobody else does"
CONTENT = "content-canary: what only buyers may read"
UPSTREAM_TOKEN = "upstream-canary-token"
OPENROUTER_KEY = "sk-or-v1-canary-of-openrouter-0001"
ANTHROPIC_KEY = "sk-ant-canary-of-anthropic-0002"
WRONG_KEY = "sk-or-v1-canary-invalid-0003"
SUBJECT = "subject-canary of the caller"
UPSTREAMS_WORDS = "words-canary that a provider or an upstream says in an error"


@dataclass
class Eavesdropper:
    """Reads every command that Valkey is sent, and so every message of Celery."""

    url: str
    heard: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        connection = redis.Redis.from_url(self.url, socket_timeout=None)  # it may be quiet for long
        with connection.monitor() as monitor:  # type: ignore[no-untyped-call]
            thread = threading.Thread(target=self._listen, args=(monitor,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                redis.Redis.from_url(self.url).echo("the end of it")
                thread.join(60)
        assert not thread.is_alive()

    def _listen(self, monitor: Any) -> None:
        for command in monitor.listen():
            self.heard.append(command["command"])
            if "the end of it" in command["command"]:
                return

    @property
    def everything(self) -> str:
        """As sent, and with what stands in base64 read: kombu's bodies do."""
        words = {word for line in self.heard for word in line.replace('"', " ").split()}
        return "\n".join([*self.heard, *(_unpacked(word) for word in words)])


def _unpacked(word: str) -> str:
    try:
        return base64.b64decode(word.rstrip("\\,"), validate=True).decode()
    except ValueError:
        return ""


@dataclass
class Village:
    """Everybody whose answers are looked at, and what must stand in none of them."""

    product: Product
    creator: Visitor
    handle: str
    stranger: Visitor
    rival: Visitor
    buyer: Buyer
    operator: Visitor

    def path(self, slug: str) -> str:
        return f"/api/instant/{self.handle}/{slug}"


@pytest.fixture
def village(product: Product) -> Village:
    handle, creator = registered(product)
    return Village(
        product=product,
        creator=creator,
        handle=handle,
        stranger=Visitor(product),
        rival=registered(product)[1],
        buyer=Buyer(product),
        operator=operator_of(product),
    )


@pytest.fixture
def stand_in(product: Product) -> StandInClient:
    return StandInClient(product.stand_in_url)


def publish_one_of_each(village: Village) -> None:
    creator = village.creator
    for provider, key in (("openrouter", OPENROUTER_KEY), ("anthropic", ANTHROPIC_KEY)):
        creator.does("PUT", f"/api/creator/keys/{provider}", {"key": key})
        creator.does("POST", f"/api/creator/keys/{provider}/test")
    prompted = {
        "systemPrompt": PROMPT,
        "parameters": [{"name": "subject", "required": True}],
        "allowsUserMessage": True,
    }
    upstream = f"{village.product.stand_in_url}/upstream/text?token={UPSTREAM_TOKEN}"
    kinds: dict[str, dict[str, Any]] = {
        "open": {"type": "openrouter_instant", "model": "openai/gpt-6-mini", **prompted},
        "claude": {"type": "prompt_template", "model": "anthropic/claude-haiku-5.5", **prompted},
        "text": {"type": "static", "content": CONTENT, "contentType": "text/plain"},
        "server": {
            "type": "proxy",
            "upstreamUrl": upstream,
            "parameters": [{"name": "subject", "required": True}],
        },
    }
    for slug, members in kinds.items():
        body = {"slug": slug, "name": f"A {slug}", "priceUsd": 0.01, **members}
        creator.does("POST", "/api/creator/resources", body)


def buy_one_of_each(village: Village) -> list[dict[str, str]]:
    payments = []
    for slug in ("open", "claude", "text", "server"):
        body = {} if slug == "text" else {"subject": SUBJECT}
        response, paid = village.buyer.buys(village.path(slug), body)
        assert response.status_code == 200, response.text
        payments.append(paid)
    assert village.buyer.heard_of(CONTENT), "the buyer got what was paid for"
    return payments


def let_runs_fail(village: Village, stand_in: StandInClient) -> None:
    """Providers and upstream say things that are for nobody."""
    said = f"{UPSTREAMS_WORDS} {OPENROUTER_KEY}"
    for target, slug in (
        ("openrouter.chat", "open"),
        ("anthropic", "claude"),
        ("upstream", "server"),
    ):
        stand_in.arm(Fault(target=target, kind=FaultKind.STATUS, status=403, text=said))
        response, _ = village.buyer.buys(village.path(slug), {"subject": SUBJECT})
        assert response.status_code in {200, 503}, response.text
        assert "Resource unavailable" in response.text


def look_everywhere(village: Village) -> None:
    """Ask for whatever a curious person would ask for, rightly or wrongly."""
    addresses = [
        "/api/healthz",
        "/api/readyz",
        "/api/openapi.json",
        "/api/resources",
        "/api/models",
    ]
    addresses += [f"/api/resources?creator={village.handle}"]
    for slug in ("open", "claude", "text", "server", "nothing"):
        addresses += [village.path(slug), f"/api/creator/resources/{slug}"]
    addresses += [f"{village.path('text')}/runs/4cd17f5d-b6a0-405a-93cb-5a3758286c66"]
    addresses += ["/api/creator", "/api/creator/usage", "/api/creator/earnings"]
    for visitor in (village.stranger, village.rival):
        for address in addresses:
            visitor.ask("GET", address)
            visitor.ask("POST", address, {"subject": {"no": "text"}})
            visitor.ask("PATCH", address, {"name": 1})
    for slug in ("open", "text"):
        village.stranger.ask("POST", village.path(slug), headers={"PAYMENT-SIGNATURE": "e30="})
        village.stranger.ask("POST", village.path(slug), headers={"X-PAYMENT": "nonsense"})
        village.rival.ask("POST", village.path(slug), {}, headers={"X-Owner-Test": "true"})


def make_mistakes(village: Village) -> None:
    """What a creator gets wrong while a secret is in the request."""
    creator, key = village.creator, "/api/creator/keys/openrouter"
    creator.ask("PUT", key, raw=f'{{"key": "{OPENROUTER_KEY}"')
    creator.ask("PUT", key, {"key": OPENROUTER_KEY, "more": 1})
    creator.ask("PUT", key, {"key": [OPENROUTER_KEY]})
    creator.ask("PUT", key, {"key": f"{OPENROUTER_KEY}\x00"})
    creator.ask("PUT", "/api/creator/keys/nobody", {"key": OPENROUTER_KEY})
    creator.ask("PATCH", "/api/creator/resources/open", {"systemPrompt": f"{PROMPT} {{x}}{{/x}}"})
    creator.ask("POST", village.path("open"), {"subject": 1}, headers={"X-Owner-Test": "true"})
    creator.ask("GET", "/api/creator/usage?cursor=x", headers={"Authorization": "Bearer hwc_x"})


def show_payments_again(village: Village, payments: list[dict[str, str]]) -> None:
    """Somebody read a payment off the wire or the chain, and presents it."""
    for paid in payments:
        payment = decoded(paid["PAYMENT-SIGNATURE"])
        del payment["accepted"]["extra"]["offer"]
        raw = base64.b64encode(str(payment).replace("'", '"').encode()).decode()
        village.stranger.ask("POST", village.path("text"), headers={"PAYMENT-SIGNATURE": raw})


def sealed_in(product: Product) -> list[str]:
    engine = create_engine(psycopg2_url(product.environ("web")["DATABASE_URL"]))
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT sealed FROM provider_keys UNION SELECT api_key_hash FROM creators")
        )
        return [row[0] for row in found]


def test_no_secret_is_told_to_anybody_else_logged_or_sent_through_valkey(
    village: Village, stand_in: StandInClient
) -> None:
    product = village.product
    eavesdropper = Eavesdropper(product.environ("web")["REDIS_URL"])
    with eavesdropper.listening():
        publish_one_of_each(village)
        payments = buy_one_of_each(village)
        village.creator.does(
            "POST", village.path("open"), {"subject": SUBJECT}, headers={"X-Owner-Test": "true"}
        )
        let_runs_fail(village, stand_in)
        make_mistakes(village)
        look_everywhere(village)
        show_payments_again(village, payments)
        village.creator.ask("PUT", "/api/creator/keys/openrouter", {"key": WRONG_KEY})
        village.stranger.ask("POST", village.path("open"), {"subject": SUBJECT})

    of_payments = [
        secret
        for paid in payments
        for payment in [decoded(paid["PAYMENT-SIGNATURE"])]
        for secret in (
            paid["PAYMENT-SIGNATURE"],
            payment["payload"]["signature"],
            payment["payload"]["authorization"]["nonce"],
            payment["accepted"]["extra"]["offer"],
        )
    ]
    environment = product.environ("web")
    api_keys = [str(village.creator.api_key), str(village.rival.api_key)]
    nobodys = [
        *(OPENROUTER_KEY, ANTHROPIC_KEY, WRONG_KEY, UPSTREAMS_WORDS),
        *(environment["VAULT_KEYS"], environment["OPS_TOKEN"], *sealed_in(product)),
    ]
    creators = [PROMPT, "prompt-canary", UPSTREAM_TOKEN, str(village.creator.api_key)]
    buyers = [CONTENT, SUBJECT, *of_payments]

    assert village.creator.heard_of("prompt-canary"), "the owner sees the prompt"
    everybody = (village.creator, village.stranger, village.rival, village.buyer)
    for visitor in everybody:
        for secret in nobodys:
            assert not visitor.heard_of(secret), secret
    for visitor in (village.stranger, village.rival, village.buyer):
        for secret in creators:
            assert not visitor.heard_of(secret), secret
    for visitor in (village.stranger, village.rival):
        for secret in buyers:
            assert not visitor.heard_of(secret), secret

    assert '"callbacks": null' in eavesdropper.everything, "bodies of messages were read"
    assert "runs.settle" in eavesdropper.everything
    for secret in (*nobodys, *creators, *buyers, *api_keys):
        assert secret not in product.log, secret
        assert secret not in eavesdropper.everything, secret
    product.confidential.extend((*nobodys, *creators, *buyers, *api_keys))
