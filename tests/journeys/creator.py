"""A creator, whoever looks in, and a caller with a wallet: each keeps what was said to it."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.journeys.product import Product
from tests.journeys.waiting import wait_until
from tests.support import wire
from tests.support.x402_payer import Payer, decoded, v2_headers

NETWORK = "eip155:84532"
PAYEE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""The first example of EIP-55; nobody's."""

Json = dict[str, Any]


@dataclass
class Visitor:
    """Speaks HTTP to the product, and keeps every answer as it came."""

    product: Product
    api_key: str | None = None
    heard: list[str] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: Any = None, raw: Any = None
    ) -> requests.Response:
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        response = wire.ask(
            method,
            path if path.startswith("http") else self.product.url + path,
            json=body,
            data=raw,
            headers=key | (headers or {}),
        )
        names = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        self.heard.append(f"{method} {path}\n{response.status_code}\n{names}\n{response.text}")
        return response

    def does(self, method: str, path: str, body: Any = None, **more: Any) -> Json:
        """As ``ask``, for what must go well."""
        response = self.ask(method, path, body, **more)
        assert response.ok, f"{response.status_code} {response.text}"
        return dict(response.json())

    def heard_of(self, secret: str) -> list[str]:
        """The answers that a secret stands in, as it is or as JSON writes it."""
        spellings = {secret, json.dumps(secret)[1:-1]}
        return [said for said in self.heard if any(text in said for text in spellings)]


def operator_of(product: Product) -> Visitor:
    """Whoever can read the files of the deployment."""
    return Visitor(product, (product.data_dir / "ops.token").read_text().strip())


def registered(product: Product) -> tuple[str, Visitor]:
    """A new creator with an address: the handle, and how to speak for it."""
    handle = f"creator-{secrets.token_hex(4)}"
    body = {"handle": handle, "payoutAddresses": {NETWORK: PAYEE}}
    new = operator_of(product).does("POST", "/api/creators", body)
    return handle, Visitor(product, new["apiKey"])


@dataclass
class Buyer(Visitor):
    """Pays with test money of its own."""

    payer: Payer = field(default_factory=Payer)

    def buys(self, path: str, body: Any) -> tuple[requests.Response, dict[str, str]]:
        """The result, however long it takes, and the headers that it was paid with."""
        price = self.ask("POST", path)
        assert price.status_code == 402, price.text
        paid = v2_headers(self.payer.v2(decoded(price.headers["PAYMENT-REQUIRED"])))
        response = self.ask("POST", path, body, headers=paid)
        if response.status_code == 202:
            response = self._end_of(response.json()["statusUrl"])
        return response, paid

    def _end_of(self, status_url: str) -> requests.Response:
        return wait_until(
            "the run has ended",
            lambda: self.ask("GET", status_url),
            lambda response: response.status_code != 202,
        )
