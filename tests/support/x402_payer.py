"""A caller with a wallet: reads a 402 and signs what it asks for, of either version of x402.

Made by itself from eth-account, so that it agrees with the product only where both are right.
"""

import base64
import json
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

CHAIN_IDS = {"eip155:8453": 8453, "eip155:84532": 84532, "base": 8453, "base-sepolia": 84532}
_TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}

Json = dict[str, Any]


def encoded(value: object) -> str:
    """As a header holds it."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def decoded(header: str) -> Json:
    value: Json = json.loads(base64.b64decode(header, validate=True))
    return value


def v2_headers(payment: Mapping[str, Any]) -> dict[str, str]:
    return {"PAYMENT-SIGNATURE": encoded(payment)}


def v1_headers(payment: Mapping[str, Any]) -> dict[str, str]:
    return {"X-PAYMENT": encoded(payment)}


def wallet_of(key: bytes | None = None) -> "LocalAccount":
    """The wallet of a private key; without one, of a random one."""
    limit = sys.getrecursionlimit()
    from eth_account import Account  # takes a second, and most tests pay nothing

    sys.setrecursionlimit(limit)  # it raised it for all, so that nested JSON would end the process
    found: LocalAccount = Account.from_key(key or secrets.token_bytes(32))
    return found


@dataclass(frozen=True)
class Payer:
    """A wallet with a key that nobody else has."""

    account: "LocalAccount" = field(default_factory=wallet_of)

    @property
    def address(self) -> str:
        return str(self.account.address).lower()

    def v2(
        self,
        required: Mapping[str, Any],
        *,
        network: str | None = None,
        identifier: str | None = None,
        **changes: Any,
    ) -> Json:
        """The payment for a decoded ``PAYMENT-REQUIRED``; ``network`` picks one of ``accepts``.

        ``changes`` are members of the authorization, signed as they are changed.
        """
        accepted = _picked(required["accepts"], network)
        payment = {
            "x402Version": 2,
            "resource": required["resource"],
            "accepted": accepted,
            "payload": self.payload(accepted, accepted["amount"], **changes),
        }
        if identifier is None:
            return payment
        info = {"required": False, "id": identifier}
        return payment | {"extensions": {"payment-identifier": {"info": info}}}

    def v1(self, body: Mapping[str, Any], *, network: str | None = None, **changes: Any) -> Json:
        """The payment for a 402's body, as a client of version 1 makes it."""
        accepted = _picked(body["accepts"], network)
        changes = {"validAfter": str(int(time.time()) - 600)} | changes
        return {
            "x402Version": 1,
            "scheme": "exact",
            "network": accepted["network"],
            "payload": self.payload(accepted, accepted["maxAmountRequired"], **changes),
        }

    def payload(self, accepted: Mapping[str, Any], amount: str, **changes: Any) -> Json:
        """Authorization and signature for one requirement."""
        authorization = {
            "from": str(self.account.address),
            "to": accepted["payTo"],
            "value": amount,
            "validAfter": "0",
            "validBefore": str(int(time.time()) + accepted["maxTimeoutSeconds"]),
            "nonce": "0x" + secrets.token_hex(32),
        } | changes
        return {"signature": self.signed(accepted, authorization), "authorization": authorization}

    def signed(self, accepted: Mapping[str, Any], authorization: Mapping[str, Any]) -> str:
        """The signature of an authorization under the domain of the requirement's token."""
        signed = self.account.sign_typed_data(
            domain_data={
                "name": accepted["extra"]["name"],
                "version": accepted["extra"]["version"],
                "chainId": CHAIN_IDS[accepted["network"]],
                "verifyingContract": accepted["asset"],
            },
            message_types=_TYPES,
            message_data={
                "from": authorization["from"],
                "to": authorization["to"],
                "value": int(authorization["value"]),
                "validAfter": int(authorization["validAfter"]),
                "validBefore": int(authorization["validBefore"]),
                "nonce": bytes.fromhex(authorization["nonce"][2:]),
            },
        )
        return "0x" + bytes(signed.signature).hex()

    def pays(self, response: Any, *, version: int = 2, **changes: Any) -> dict[str, str]:
        """The headers that pay for what a 402 response of Flask's test client asks."""
        if version == 1:
            return v1_headers(self.v1(response.get_json(), **changes))
        return v2_headers(self.v2(decoded(response.headers["PAYMENT-REQUIRED"]), **changes))


def _picked(accepts: list[Json], network: str | None) -> Json:
    return next(one for one in accepts if network in (None, one["network"]))
