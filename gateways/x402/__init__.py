"""Payments over x402: what is asked for, what is presented, and who verifies and settles it.

Only ``exact`` on EVM networks by EIP-3009: the payer signs an authorization, the facilitator puts
it on the chain and pays for that. Amounts are micro-dollars, which are USDC's own atomic units.
Every address and every nonce is lower case, so that equal things are equal text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from models.money import UsdMicros

SCHEME = "exact"

X402Version = Literal[1, 2]


class MalformedPayment(ValueError):
    """What was presented is no payment that could be looked at; the message is safe to show."""


class Reason(StrEnum):
    """Why a payment is not taken, in x402's own codes."""

    SCHEME = "unsupported_scheme"
    NETWORK = "invalid_network"
    REQUIREMENTS = "invalid_payment_requirements"
    """Not what is asked for here and now: another offer, an old one, another resource."""
    VALID_AFTER = "invalid_exact_evm_payload_authorization_valid_after"
    VALID_BEFORE = "invalid_exact_evm_payload_authorization_valid_before"
    AMOUNT = "invalid_exact_evm_payload_authorization_value_mismatch"
    RECIPIENT = "invalid_exact_evm_payload_recipient_mismatch"
    SIGNATURE = "invalid_exact_evm_payload_signature"
    NOT_JUDGED = "unexpected_verify_error"
    """Only the facilitator could say whether it is good, and it cannot."""


class PaymentRefused(Exception):
    """A payment that is well formed and not what was asked for. Nothing was charged."""

    def __init__(self, reason: str) -> None:
        """``reason`` is one of x402's codes (``Reason``, or what the facilitator says)."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Network:
    """An EVM chain and the one token that is taken on it."""

    name: str
    """CAIP-2, such as ``eip155:8453``."""
    v1_name: str
    chain_id: int
    asset: str
    """The token's contract, lower case."""
    domain_name: str
    """EIP-712 domain of the token: differs between networks."""
    domain_version: str


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """What one payment must be. Equal requirements are equal dictionaries on the wire."""

    network: Network
    amount: UsdMicros
    pay_to: str
    max_timeout_seconds: int
    offer: str
    """Signed by us: which resource and version this buys, until when."""

    def v2(self) -> dict[str, Any]:
        """As version 2 spells it."""
        return self.v2_without_offer() | {"extra": self._extra() | {"offer": self.offer}}

    def v2_without_offer(self) -> dict[str, Any]:
        """As a facilitator is sent it: a catalogue of paid requirements may show all of it, and
        whoever holds the offer of a payment may have its result.
        """
        return {
            "scheme": SCHEME,
            "network": self.network.name,
            "amount": str(self.amount),
            "asset": self.network.asset,
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.max_timeout_seconds,
            "extra": self._extra(),
        }

    def v1(
        self,
        *,
        resource: str,
        description: str,
        output_schema: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """As version 1 spells it: its clients echo no offer, so none is shown."""
        schema = {} if output_schema is None else {"outputSchema": dict(output_schema)}
        return {
            "scheme": SCHEME,
            "network": self.network.v1_name,
            "maxAmountRequired": str(self.amount),
            "resource": resource,
            "description": description,
            "mimeType": "application/json",
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.max_timeout_seconds,
            "asset": self.network.asset,
            "extra": self._extra(),
        } | schema

    def _extra(self) -> dict[str, str]:
        return {"name": self.network.domain_name, "version": self.network.domain_version}


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """EIP-3009: ``payer`` lets ``pay_to`` have ``amount``, once, within a window of time."""

    payer: str
    pay_to: str
    amount: int
    """Not known to be a sensible amount: up to 256 bits."""
    valid_after: int
    """Seconds since 1970; the chain wants a later block."""
    valid_before: int
    """Seconds since 1970; the chain wants an earlier block."""
    nonce: str
    """``0x`` and 64 lower-case hex digits."""


@dataclass(frozen=True, kw_only=True)
class PaymentKey:
    """What the token itself keeps from happening twice, whatever the header looked like."""

    network: str
    asset: str
    payer: str
    nonce: str


@dataclass(frozen=True, kw_only=True)
class Payment:
    """A payment that was presented. Every member has its shape; nothing else is checked yet."""

    version: X402Version
    network: Network
    asset: str
    """Version 1 names none: then the network's own."""
    authorization: Authorization
    signature: str = field(repr=False)
    offer: str | None = field(repr=False)
    """None: version 1, or a client of version 2 that dropped it."""
    payment_identifier: str | None
    resource_url: str | None
    accepted: Mapping[str, Any] | None = field(repr=False)
    """Version 2: the requirement that the client says it fulfils, as sent."""
    raw: Mapping[str, Any] = field(repr=False)
    """What the facilitator is sent: rebuilt from checked members, so that it sees what we saw."""

    @property
    def key(self) -> PaymentKey:
        return PaymentKey(
            network=self.network.name,
            asset=self.asset,
            payer=self.authorization.payer,
            nonce=self.authorization.nonce,
        )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The facilitator would settle it now. That is no money yet."""

    payer: str | None


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """The facilitator says that this payment is no good."""

    reason: str
    """x402's code; an open set."""


class SettlementOutcome(StrEnum):
    SETTLED = "settled"
    REFUSED = "refused"
    """Nothing was put on the chain *by this request*.

    After an earlier request whose outcome is unknown this proves nothing: the money may have moved,
    and the wallet be empty because of that.
    """
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How one request to settle ended."""

    outcome: SettlementOutcome
    transaction: str | None = None
    """Its hash, also where it is known while the outcome is not."""
    reason: str | None = None
    """x402's code, or a word of ours (``timeout``, ``wrong_payer``); None when settled."""
    answer: Mapping[str, Any] = field(default_factory=dict)
    """What the facilitator said, for the record and for ``PAYMENT-RESPONSE``."""


class Facilitator(Protocol):
    """Trusted for what it says about signatures of smart wallets and about transactions."""

    def verify(
        self, payment: Mapping[str, Any], requirement: Mapping[str, Any]
    ) -> Verified | Rejected:
        """Ask whether this could be settled. Raises Unavailable. Safe to repeat."""

    def settle(self, payment: Mapping[str, Any], requirement: Mapping[str, Any]) -> Settlement:
        """Move the money; never raises for what the outside does.

        Safe to repeat with the same payment: the token takes an authorization once.
        """


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The chain says that this authorization paid whom it should."""

    transaction: str
    at: datetime
    """The block's own time. One authorization is good at any shop where this creator is paid: only
    the time tells whether it may have been a request of ours that moved the money.
    """


@dataclass(frozen=True, kw_only=True)
class NotMoved:
    """At a final block the authorization had not paid whom it should."""

    as_of: datetime
    """The block's own time."""
    is_spent: bool
    """Used for something else, or cancelled: it can never pay any more."""

    def is_for_ever(self, valid_before: datetime) -> bool:
        """Whether it never will: the token refuses it from ``valid_before`` on."""
        return self.is_spent or self.as_of >= valid_before


USE_NOT_FOUND = "use_not_found"


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The chain could not be asked, or made no sense."""

    reason: str

    @property
    def is_of_another_time(self) -> bool:
        """The node answers and knows it as used, but not of any time at which we could have."""
        return self.reason == USE_NOT_FOUND


class Chain(Protocol):
    """The chains themselves, by JSON-RPC: settles doubts that the facilitator leaves."""

    def authorization(
        self, key: PaymentKey, *, pay_to: str, amount: UsdMicros, since: datetime
    ) -> Moved | NotMoved | Unknown:
        """What became of an authorization first seen at ``since``. Never raises."""

    def knows(self, network: str) -> bool:
        """Whether this network can be asked at all."""
