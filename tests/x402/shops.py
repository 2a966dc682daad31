"""What can be bought on the rig: from the product, and from a shop that trusts the middleware."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Protocol
from uuid import uuid4

import requests

from gateways.vault import new_key
from local.stand_in.testing import StandInClient
from tests.journeys.product import Product, running_product
from tests.journeys.waiting import wait_until
from tests.support import wire
from tests.support.ports import free_port
from tests.support.x402_payer import Json, Payer
from tests.x402.chain import NETWORK
from tests.x402.facilitator import started
from tests.x402.rig import Rig

START_SECONDS = 60
PATIENCE_SECONDS = 180
PRICE_MICROS = 10_000
MODEL = "openai/gpt-6-mini"


class Shop(Protocol):
    """Somebody who sells things for a cent, each made when it is bought."""

    @property
    def payee(self) -> str: ...

    def new_thing(self) -> str:
        """Something that nobody has bought yet."""

    def url(self, thing: str) -> str: ...

    def ran(self, thing: str) -> int:
        """How often this thing was made, paid or not."""


@dataclass(frozen=True, kw_only=True)
class NaiveShop:
    address: str
    payee: str

    def new_thing(self) -> str:
        return f"thing-{token_hex(6)}"

    def url(self, thing: str) -> str:
        return f"{self.address}/api/instant/shop/{thing}"

    def ran(self, thing: str) -> int:
        return int(self._ran().get(thing, 0))

    def is_up(self) -> bool:
        try:
            self._ran()
        except requests.RequestException:
            return False
        return True

    def _ran(self) -> Json:
        made: Json = requests.get(f"{self.address}/ran", timeout=30).json()
        return made


@contextmanager
def naive_shop(rig: Rig) -> Iterator[NaiveShop]:
    # x402's own facilitator takes no address without its checksum
    payee = str(Payer().account.address)
    port = free_port()
    arguments = [str(port), rig.facilitator.url, payee]
    with started(rig.installed.python, "naive.py", arguments, rig.folder):
        shop = NaiveShop(address=f"http://127.0.0.1:{port}", payee=payee)
        wait_until("the naive shop answers", shop.is_up, seconds=START_SECONDS)
        yield shop


@dataclass(frozen=True, kw_only=True)
class Creator:
    """A creator of the product, with an address and a key of a model provider."""

    product: Product
    handle: str
    api_key: str = field(repr=False)
    payee: str

    def new_thing(self, **other: Any) -> str:
        """A new model resource; ``other`` replaces members of it. Returns its slug."""
        slug = f"thing-{token_hex(6)}"
        made = {
            "type": "openrouter_instant",
            "slug": slug,
            "name": "A thing",
            "description": "Made when it is bought.",
            "priceUsd": PRICE_MICROS / 1_000_000,
            "model": MODEL,
            "systemPrompt": "Make the thing {colour}{/colour}.",
            "parameters": [{"name": "colour", "required": False, "default": "red"}],
            "allowsUserMessage": True,
        }
        self.ask("POST", "/creator/resources", made | other)
        return slug

    def new_static_thing(self, content: str) -> str:
        slug = f"thing-{token_hex(6)}"
        made = {
            "type": "static",
            "slug": slug,
            "name": "A text",
            "description": "Written already.",
            "priceUsd": PRICE_MICROS / 1_000_000,
            "content": content,
            "contentType": "text/plain",
        }
        self.ask("POST", "/creator/resources", made)
        return slug

    def url(self, thing: str) -> str:
        return f"{self.product.url}/api/instant/{self.handle}/{thing}"

    def ran(self, thing: str) -> int:
        return len([run for run in self.runs(thing) if "inputTokens" in run])

    def runs(self, thing: str) -> list[Json]:
        """The log of runs, the newest first."""
        rows: list[Json] = []
        page = self.ask("GET", f"/creator/usage?resource={thing}&limit=1000")
        rows += page["runs"]
        while "nextCursor" in page:
            more = f"&cursor={page['nextCursor']}"
            page = self.ask("GET", f"/creator/usage?resource={thing}&limit=1000{more}")
            rows += page["runs"]
        return rows

    def earnings(self, thing: str) -> Json:
        """The sums of one resource, as they are shown."""
        of_all = self.ask("GET", "/creator/earnings")["resources"]
        return next(sums for sums in of_all if sums["resource"] == thing)

    def wait_for_end(self, thing: str, *, seconds: float = PATIENCE_SECONDS) -> Json:
        """The newest run of this thing, when all are over."""
        is_over = {"succeeded", "failed", "refused", "doubtful"}
        return wait_until(
            "the runs are over",
            lambda: self.runs(thing),
            lambda runs: bool(runs) and all(run["status"] in is_over for run in runs),
            seconds=seconds,
        )[0]

    def ask(self, method: str, path: str, body: object = None) -> Json:
        """One request with the creator's key, which must succeed."""
        answer = wire.ask(
            method,
            f"{self.product.url}/api{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.api_key}"},
            timeout=PATIENCE_SECONDS,
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        made: Json = answer.json()
        return made


@dataclass(frozen=True, kw_only=True)
class Market:
    """The product on the rig."""

    product: Product
    ops_token: str = field(repr=False)

    @property
    def stand_in(self) -> StandInClient:
        """Plays the model provider, and nothing of x402."""
        return StandInClient(self.product.stand_in_url)

    def has_models(self) -> bool:
        answer = wire.get(f"{self.product.url}/api/models")
        return bool(answer.json()["models"])

    def creator(self) -> Creator:
        """A new one, whose address nobody has paid to."""
        handle, payee = f"shop-{uuid4().hex[:12]}", Payer().address
        answer = wire.post(
            f"{self.product.url}/api/creators",
            json={"handle": handle, "payoutAddresses": {NETWORK: payee}},
            headers={"Authorization": f"Bearer {self.ops_token}"},
            timeout=PATIENCE_SECONDS,
        )
        assert answer.status_code == 201, answer.text
        creator = Creator(
            product=self.product, handle=handle, api_key=answer.json()["apiKey"], payee=payee
        )
        provider_key = f"sk-or-v1-{uuid4().hex}"
        creator.ask("PUT", "/creator/keys/openrouter", {"key": provider_key})
        self.product.confidential.extend([creator.api_key, provider_key])
        return creator


@contextmanager
def market(rig: Rig, **settings: str) -> Iterator[Market]:
    """The whole product as processes, on this chain and facilitator."""
    ops_token, vault_key = uuid4().hex, new_key()
    ours = {
        "X402_FACILITATOR_URL": rig.facilitator.url,
        "X402_NETWORKS": NETWORK,
        "X402_RPC_URLS": f'{{"{NETWORK}": "{rig.chain.url}"}}',
        "OPS_TOKEN": ops_token,
        "VAULT_KEYS": vault_key,
        # Long enough that nobody is thought dead on a busy machine.
        "LEASE_SECONDS": "6",
        "INSTANT_WAIT_SECONDS": "2",
        "PLATFORM_FEE_PCT": "2.5",
    }
    with running_product(**(ours | settings)) as product:
        product.confidential.extend([ops_token, vault_key])
        opened = Market(product=product, ops_token=ops_token)
        wait_until("the catalogue of models has come", opened.has_models)
        yield opened
