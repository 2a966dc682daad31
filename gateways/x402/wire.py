"""x402 on the wire: headers in and out, strictly read.

A facilitator reads leniently: a nonce in upper case, without ``0x`` or with a blank inside, a value
of ``1_0000`` are all the same payment to it. What is not spelled in exactly one way is refused
here, so that one payment cannot come twice.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from gateways import evm_addresses, json_text
from gateways.x402 import (
    SCHEME,
    Authorization,
    MalformedPayment,
    Network,
    Payment,
    PaymentRefused,
    Reason,
)
from gateways.x402.networks import by_name, by_v1_name
from gateways.x402.signatures import is_of_one_key

REQUIRED_HEADER = "PAYMENT-REQUIRED"
SIGNATURE_HEADER = "PAYMENT-SIGNATURE"
RESPONSE_HEADER = "PAYMENT-RESPONSE"
V1_PAYMENT_HEADER = "X-PAYMENT"
V1_RESPONSE_HEADER = "X-PAYMENT-RESPONSE"

MAX_HEADER_CHARS = 8000
"""Web servers take no longer ones anyway (gunicorn: 8190 with the header's name)."""
MAX_SIGNATURE_BYTES = 2048
"""A smart wallet's may carry the wallet's own creation."""
MAX_URL_CHARS = 2048
LATEST_TIME = 2**40
"""Seconds since 1970; anything later is as good as for ever."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_NONCE = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,77}", re.ASCII)
_SIGNATURE = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_OFFER = re.compile(r"[A-Za-z0-9._-]{1,512}", re.ASCII)
_IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]{16,128}", re.ASCII)

_PARITIES = {"00": "1b", "01": "1c"}
"""As some wallets end a signature, and as the token wants it: a facilitator that took the one would
settle in vain.
"""

_AUTHORIZATION_MEMBERS = {"from", "to", "value", "validAfter", "validBefore", "nonce"}


def encode(value: Mapping[str, Any]) -> str:
    """A header's value: base64 of JSON."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> dict[str, Any]:
    """Read a header's value. Raises MalformedPayment."""
    if len(text) > MAX_HEADER_CHARS:
        raise MalformedPayment("The payment is too large.")
    try:
        value = json_text.loads(
            base64.b64decode(text, validate=True).decode(),
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_doubles,
        )
    except ValueError as error:
        raise MalformedPayment("The payment is not base64 of a JSON object.") from error
    if not isinstance(value, dict):
        raise MalformedPayment("The payment is not a JSON object.")
    return value


def payment_of(signature: str | None, v1_payment: str | None) -> Payment | None:
    """Read the two headers that can hold a payment; None when there is none.

    Raises MalformedPayment, also when both are there: they might be two payments. Raises
    PaymentRefused for schemes and networks that nobody here knows.
    """
    if signature is not None and v1_payment is not None:
        raise MalformedPayment("There are two payments, of version 1 and of version 2.")
    if signature is not None:
        return _v2(decode(signature))
    if v1_payment is not None:
        return _v1(decode(v1_payment))
    return None


def _v2(value: dict[str, Any]) -> Payment:
    if value.get("x402Version") != 2 or isinstance(value["x402Version"], bool):
        raise MalformedPayment("x402Version is not 2.")
    accepted = _object(value, "accepted")
    network = _network(by_name(_text(accepted, "network")), accepted)
    inner = _inner(value)
    authorization, signature = _authorization(inner), _signature(inner)
    resource_url = _resource_url(value)
    return Payment(
        version=2,
        network=network,
        asset=_address(accepted, "asset"),
        authorization=authorization,
        signature=signature,
        offer=_offer(accepted),
        payment_identifier=_payment_identifier(value),
        resource_url=resource_url,
        accepted=accepted,
        raw={
            "x402Version": 2,
            "accepted": accepted,
            "payload": _rebuilt(authorization, signature),
        }
        | ({} if resource_url is None else {"resource": {"url": resource_url}}),
    )


def _v1(value: dict[str, Any]) -> Payment:
    if value.get("x402Version") != 1 or isinstance(value["x402Version"], bool):
        raise MalformedPayment("x402Version is not 1.")
    network = _network(by_v1_name(_text(value, "network")), value)
    inner = _inner(value)
    authorization, signature = _authorization(inner), _signature(inner)
    return Payment(
        version=1,
        network=network,
        asset=network.asset,
        authorization=authorization,
        signature=signature,
        offer=None,
        payment_identifier=None,
        resource_url=None,
        accepted=None,
        raw={
            "x402Version": 1,
            "scheme": SCHEME,
            "network": network.v1_name,
            "payload": _rebuilt(authorization, signature),
        },
    )


def _network(network: Network | None, holder: Mapping[str, Any]) -> Network:
    if _text(holder, "scheme") != SCHEME:
        raise PaymentRefused(Reason.SCHEME)
    if network is None:
        raise PaymentRefused(Reason.NETWORK)
    return network


def _inner(value: Mapping[str, Any]) -> dict[str, Any]:
    """``payload``, with nothing beside it: the facilitator picks the transfer method by its shape.

    A second one in there might be what it settles.
    """
    inner = _object(value, "payload")
    if set(inner) != {"signature", "authorization"}:
        raise MalformedPayment("The payload wants signature and authorization, nothing else.")
    return inner


def _authorization(inner: Mapping[str, Any]) -> Authorization:
    stated = _object(inner, "authorization")
    if set(stated) != _AUTHORIZATION_MEMBERS:
        raise MalformedPayment("The authorization does not have the members of EIP-3009.")
    return Authorization(
        payer=_address(stated, "from"),
        pay_to=_address(stated, "to"),
        amount=_number(stated, "value", below=2**256),
        valid_after=_number(stated, "validAfter", below=2**256),
        valid_before=_number(stated, "validBefore", below=LATEST_TIME),
        nonce=_matching(stated, "nonce", _NONCE).lower(),
    )


def _signature(inner: Mapping[str, Any]) -> str:
    signature = _matching(inner, "signature", _SIGNATURE).lower()
    if len(signature) > 2 + 2 * MAX_SIGNATURE_BYTES:
        raise MalformedPayment("The signature is too long.")
    if is_of_one_key(signature):
        return signature[:-2] + _PARITIES.get(signature[-2:], signature[-2:])
    return signature


def _rebuilt(authorization: Authorization, signature: str) -> dict[str, Any]:
    """What the facilitator is sent: x402's own, on web3, takes no address without its checksum."""
    return {
        "signature": signature,
        "authorization": {
            "from": evm_addresses.checksummed(authorization.payer),
            "to": evm_addresses.checksummed(authorization.pay_to),
            "value": str(authorization.amount),
            "validAfter": str(authorization.valid_after),
            "validBefore": str(authorization.valid_before),
            "nonce": authorization.nonce,
        },
    }


def _offer(accepted: Mapping[str, Any]) -> str | None:
    extra = accepted.get("extra")
    offer = extra.get("offer") if isinstance(extra, dict) else None
    if offer is None:
        return None
    if not isinstance(offer, str) or _OFFER.fullmatch(offer) is None:
        raise MalformedPayment("The offer is none of ours.")
    return offer


def _payment_identifier(value: Mapping[str, Any]) -> str | None:
    """The caller's own id of this payment, if the extension was used."""
    holder: Any = value
    for name in ("extensions", "payment-identifier", "info"):
        holder = holder.get(name)
        if holder is None:
            return None
        if not isinstance(holder, dict):
            raise MalformedPayment(f"{name} is not a JSON object.")
    identifier = holder.get("id")
    if identifier is None:
        return None
    if not isinstance(identifier, str) or _IDENTIFIER.fullmatch(identifier) is None:
        raise MalformedPayment("The payment-identifier wants 16 to 128 of A-Z, a-z, 0-9, _ and -.")
    return identifier


def _resource_url(value: Mapping[str, Any]) -> str | None:
    resource = value.get("resource")
    if resource is None:
        return None
    if not isinstance(resource, dict):
        raise MalformedPayment("resource is not a JSON object.")
    url = _text(resource, "url")
    if len(url) > MAX_URL_CHARS:
        raise MalformedPayment("The resource's url is too long.")
    return url


def _object(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise MalformedPayment(f"{name} is not a JSON object.")
    return value


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise MalformedPayment(f"{name} is not a string.")
    return value


def _matching(holder: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    text = _text(holder, name)
    if pattern.fullmatch(text) is None:
        raise MalformedPayment(f"{name} is not spelled as it must be.")
    return text


def _address(holder: Mapping[str, Any], name: str) -> str:
    return _matching(holder, name, _ADDRESS).lower()


def _number(holder: Mapping[str, Any], name: str, *, below: int) -> int:
    number = int(_matching(holder, name, _NUMBER))
    if number >= below:
        raise MalformedPayment(f"{name} is too large.")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose members are named once: readers disagree about which of two counts."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member is named twice")
    return value
