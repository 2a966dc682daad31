"""A facilitator over HTTP, through x402's own client on our connection: it knows no deadline."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.schemas import SettleResponse, VerifyResponse

from gateways import json_text
from gateways.errors import OutsideError, Unavailable
from gateways.http import HttpClient, Reply
from gateways.x402 import (
    Rejected,
    Settlement,
    SettlementOutcome,
    Verified,
)
from gateways.x402.networks import by_v1_name

VERIFY_SECONDS = 15.0
SETTLE_SECONDS = 60.0
"""A transaction is mined in there, or it is not known."""
MAX_ANSWER_BYTES = 64 * 1024
MAX_REASON_CHARS = 100

_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)

NOT_ON_THE_CHAIN = frozenset(
    {
        "insufficient_funds",
        "invalid_exact_evm_insufficient_balance",
        "invalid_exact_evm_payload_authorization_valid_after",
        "invalid_exact_evm_payload_authorization_valid_before",
        "invalid_exact_evm_payload_authorization_value_mismatch",
        "invalid_exact_evm_payload_authorization_value",
        "invalid_exact_evm_payload_recipient_mismatch",
        "invalid_exact_evm_payload_signature",
        "invalid_exact_evm_payload_undeployed_smart_wallet",
        "invalid_exact_evm_eip3009_not_supported",
        "invalid_exact_evm_token_name_mismatch",
        "invalid_exact_evm_token_version_mismatch",
        "missing_eip712_domain",
        "network_mismatch",
        "asset_not_deployed_contract",
        "invalid_network",
        "invalid_payload",
        "invalid_payment_requirements",
        "invalid_scheme",
        "unsupported_scheme",
        "invalid_x402_version",
    }
)
"""Refusals from before anything is sent. Whatever else is said, even that the nonce was used or the
transaction failed, may be about a transfer that did reach the creator."""

_THEIR_TROUBLE = frozenset(
    {
        "unexpected_verify_error",
        "invalid_exact_evm_failed_to_get_network_config",
        "invalid_exact_evm_failed_to_get_asset_info",
        "invalid_exact_evm_failed_to_verify_signature",
    }
)
"""They could not look: says nothing about the payment."""


class HttpFacilitator:
    """``Facilitator`` at a URL. Safe to share between threads."""

    def __init__(
        self,
        url: str,
        http: HttpClient,
        *,
        verify_seconds: float = VERIFY_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._verifier = _client(url, http, verify_seconds)
        self._settler = _client(url, http, settle_seconds)

    def verify(
        self, payment: Mapping[str, Any], requirement: Mapping[str, Any]
    ) -> Verified | Rejected:
        """As the protocol says."""
        try:
            said = self._verifier.verify_from_bytes(_bytes(payment), _bytes(requirement))
        except ValueError as error:
            raise Unavailable("the facilitator made no sense", code="bad_answer") from error
        if not said.is_valid and said.invalid_reason in _THEIR_TROUBLE:
            raise Unavailable("the facilitator could not look", code="facilitator")
        return _judgement(said, payer=_payer(payment))

    def settle(self, payment: Mapping[str, Any], requirement: Mapping[str, Any]) -> Settlement:
        """As the protocol says."""
        try:
            said = self._settler.settle_from_bytes(_bytes(payment), _bytes(requirement))
        except OutsideError as error:
            return Settlement(outcome=SettlementOutcome.UNKNOWN, reason=error.code)
        except ValueError:
            return Settlement(outcome=SettlementOutcome.UNKNOWN, reason="bad_answer")
        return _settlement(said, payer=_payer(payment), network=str(requirement["network"]))


def _judgement(said: VerifyResponse, *, payer: str) -> Verified | Rejected:
    if not said.is_valid:
        return Rejected(reason=_word(said.invalid_reason) or "invalid_payload")
    if said.payer is not None and said.payer.lower() != payer:
        raise Unavailable("the facilitator verified another payer", code="wrong_payer")
    return Verified(payer=payer)


def _settlement(said: SettleResponse, *, payer: str, network: str) -> Settlement:
    transaction = said.transaction if _TRANSACTION.fullmatch(said.transaction) else None
    reason = _word(said.error_reason) if not said.success else None
    if said.success:
        reason = _contradiction(said, payer=payer, network=network)
    return Settlement(
        outcome=_outcome(said, reason),
        transaction=transaction,
        reason=reason or (None if said.success else "unexpected_settle_error"),
        answer={
            "success": said.success,
            "transaction": transaction or "",
            "network": network,
            "payer": payer,
        }
        | ({} if reason is None else {"errorReason": reason}),
    )


def _outcome(said: SettleResponse, reason: str | None) -> SettlementOutcome:
    if said.success:
        return SettlementOutcome.SETTLED if reason is None else SettlementOutcome.UNKNOWN
    if reason in NOT_ON_THE_CHAIN and not said.transaction:
        return SettlementOutcome.REFUSED
    return SettlementOutcome.UNKNOWN


def _contradiction(said: SettleResponse, *, payer: str, network: str) -> str | None:
    """What is wrong with a success. Nobody is charged on the word of somebody confused."""
    if _TRANSACTION.fullmatch(said.transaction) is None:
        return "no_transaction"
    if said.network not in _spellings(network):
        return "wrong_network"
    if said.payer is not None and said.payer.lower() != payer:
        return "wrong_payer"
    return None


def _spellings(network: str) -> set[str]:
    """Facilitators are not agreed on which name to answer with."""
    known = by_v1_name(network)
    return {network} if known is None else {known.name, known.v1_name}


def _word(reason: str | None) -> str | None:
    """A code as it may be stored and shown: they are an open set, and not all are codes."""
    if reason is None:
        return None
    is_code = re.fullmatch(r"[A-Za-z0-9_.:-]+", reason, re.ASCII) and len(reason) < MAX_REASON_CHARS
    return reason if is_code else "unexpected_error"


def _payer(payment: Mapping[str, Any]) -> str:
    return str(payment["payload"]["authorization"]["from"]).lower()


def _bytes(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _client(url: str, http: HttpClient, seconds: float) -> HTTPFacilitatorClientSync:
    connection = _Connection(http, seconds)
    return HTTPFacilitatorClientSync(FacilitatorConfig(url=url, http_client=connection))


@dataclass(frozen=True)
class _Connection:
    """What their client uses of ``httpx.Client``: with a total deadline, and no redirects."""

    http: HttpClient
    seconds: float

    def post(self, url: str, *, headers: Mapping[str, str], json: Mapping[str, Any]) -> "_Response":
        reply = self.http.post(
            url, seconds=self.seconds, headers=headers, body=json, max_bytes=MAX_ANSWER_BYTES
        )
        if reply.status != 200:
            # whatever the status: payments are judged in bodies, so this is about the moment
            raise Unavailable(
                f"facilitator: HTTP {reply.status}",
                code=f"http_{reply.status}",
                retry_after=reply.retry_after,
            )
        return _Response(reply)


@dataclass(frozen=True)
class _Response:
    """What their client reads of ``httpx.Response``."""

    reply: Reply
    status_code: int = 200

    @property
    def headers(self) -> dict[str, str]:
        return {}

    @property
    def content(self) -> bytes:
        return self.reply.body

    @property
    def text(self) -> str:
        return self.reply.body.decode(errors="replace")

    def json(self) -> Any:
        """Raises ValueError, which their client turns into an error of its own."""
        return json_text.loads(self.reply.body)
