"""An x402 facilitator without a chain: ``/x402/verify``, ``/settle`` and ``/supported``.

It reads and judges as x402's own does, with real signatures; its chain is
``local.stand_in.tokens``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateways import evm_addresses
from gateways.x402 import Authorization, Network
from gateways.x402.signatures import signer
from local.stand_in.effects import EffectKind, EffectLog
from local.stand_in.faults import Errand, Fault, FaultKind, Faults
from local.stand_in.tokens import AlreadyUsed, NotEnough, Tokens, Transfer
from local.stand_in.wire import Reply, Request, Route, json_reply

CHAINS = {"eip155:8453": 8453, "eip155:84532": 84532, "base": 8453, "base-sepolia": 84532}
SECONDS_TO_SETTLE = 6
"""What x402's own facilitator wants to be left of the window."""


class NotGood(Exception):
    """The payment is refused, for a reason in x402's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Presented:
    """Payment and requirement together, as the facilitator reads them."""

    network: str
    asset: str
    domain: tuple[str, str]
    scheme: str
    pay_to: str
    amount: str
    signature: str
    authorization: Mapping[str, Any]

    @property
    def payer(self) -> str:
        return str(self.authorization["from"]).lower()

    def transfer(self) -> Transfer:
        return Transfer(
            chain=CHAINS[self.network],
            payer=self.payer,
            nonce="0x" + str(self.authorization["nonce"]).lower().removeprefix("0x"),
            pay_to=str(self.authorization["to"]).lower(),
            micros=int(self.authorization["value"]),
        )


class FacilitatorApi:
    def __init__(self, tokens: Tokens, effects: EffectLog, faults: Faults) -> None:
        self._tokens = tokens
        self._effects = effects
        self._faults = faults

    def routes(self) -> list[Route]:
        return [
            Route("GET /x402/supported", _supported),
            Route("POST /x402/verify", self._verify),
            Route("POST /x402/settle", self._settle),
        ]

    def _verify(self, request: Request) -> Reply:
        def act(fault: Fault | None) -> Reply:
            presented = _presented(request.json())
            try:
                _declined(fault)
                if not _lies(fault):
                    self._judge(presented)
            except NotGood as refused:
                return json_reply(
                    {
                        "isValid": False,
                        "invalidReason": refused.reason,
                        "payer": presented.payer,
                    }
                )
            return json_reply({"isValid": True, "payer": presented.payer})

        return self._run("x402.verify", request, act)

    def _settle(self, request: Request) -> Reply:
        def act(fault: Fault | None) -> Reply:
            presented = _presented(request.json())
            said = {"network": presented.network, "payer": presented.payer}
            if _lies(fault):
                return json_reply({"success": True, "transaction": "0x" + "ab" * 32} | said)
            try:
                if fault is None or not fault.after_effect:
                    _declined(fault)
                transaction = self._put(presented, fault)
                _declined(fault)
            except NotGood as refused:
                told = {"success": False, "errorReason": refused.reason, "transaction": ""}
                return json_reply(told | said)
            if fault is not None and fault.kind is FaultKind.SETTLEMENT_PENDING:
                pending = {"success": False, "errorReason": "settlement_pending"}
                return json_reply(pending | {"transaction": transaction} | said)
            return json_reply({"success": True, "transaction": transaction} | said)

        return self._run("x402.settle", request, act)

    def _put(self, presented: Presented, fault: Fault | None) -> str:
        """Move the tokens; a pending transaction is lost, unless its fault comes after the effect.

        As x402's own: a used authorization is seen first when the transaction fails.
        """
        self._judge(presented, is_settling=True)
        if fault is not None and not fault.after_effect:
            return "0x" + "cd" * 32
        try:
            use = self._tokens.put(presented.transfer())
        except AlreadyUsed:
            raise NotGood("transaction_failed") from None
        except NotEnough:
            raise NotGood("invalid_exact_evm_insufficient_balance") from None
        self._effects.append(
            EffectKind.TOKENS_MOVED,
            network=presented.network,
            payer=use.transfer.payer,
            payTo=use.transfer.pay_to,
            amountMicros=use.transfer.micros,
            nonce=use.transfer.nonce,
            transaction=use.hash,
        )
        return use.hash

    def _judge(self, presented: Presented, *, is_settling: bool = False) -> None:
        """Raise NotGood for the first thing that is wrong."""
        _judge_terms(presented, now=self._tokens.now())
        transfer = presented.transfer()
        if _signer(presented) != presented.payer:
            raise NotGood("invalid_exact_evm_payload_signature")
        _insist_on_checksums(presented.authorization)
        if is_settling:
            return
        if self._tokens.use(transfer.chain, transfer.payer, transfer.nonce) is not None:
            raise NotGood("invalid_exact_evm_nonce_already_used")
        if self._tokens.balance(transfer.chain, transfer.payer) < transfer.micros:
            raise NotGood("invalid_exact_evm_insufficient_balance")

    def _run(self, target: str, request: Request, act: Any) -> Reply:
        errand = Errand(target=target, subject=request.as_text, client=request.client)

        def act_or_refuse(fault: Fault | None) -> Reply:
            try:
                return act(fault)  # type: ignore[no-any-return]
            except (KeyError, TypeError, ValueError):
                return json_reply({"error": "This is no payment."}, status=400)

        return self._faults.run(errand, act_or_refuse)


def _supported(_: Request) -> Reply:
    kinds = [
        {"x402Version": 2 if ":" in network else 1, "scheme": "exact", "network": network}
        for network in CHAINS
    ]
    return json_reply({"kinds": kinds, "extensions": [], "signers": {}})


def _presented(body: Mapping[str, Any]) -> Presented:
    """Read both versions. Raises KeyError, TypeError or ValueError for what makes no sense."""
    payment, wanted = body["paymentPayload"], body["paymentRequirements"]
    stated = payment["accepted"] if body["x402Version"] == 2 else payment
    if stated["network"] != wanted["network"] or stated["scheme"] != wanted["scheme"]:
        raise ValueError("payment and requirement disagree")
    return Presented(
        network=wanted["network"],
        scheme=wanted["scheme"],
        asset=wanted["asset"],
        domain=(wanted["extra"]["name"], wanted["extra"]["version"]),
        pay_to=wanted["payTo"].lower(),
        amount=wanted["amount" if body["x402Version"] == 2 else "maxAmountRequired"],
        signature=payment["payload"]["signature"],
        authorization=payment["payload"]["authorization"],
    )


def _judge_terms(presented: Presented, *, now: int) -> None:
    authorization = presented.authorization
    wrong = {
        "unsupported_scheme": presented.scheme != "exact",
        "invalid_network": presented.network not in CHAINS,
        "invalid_exact_evm_payload_recipient_mismatch": (
            str(authorization["to"]).lower() != presented.pay_to
        ),
        "invalid_exact_evm_payload_authorization_value_mismatch": (
            int(authorization["value"]) != int(presented.amount)
        ),
        "invalid_exact_evm_payload_authorization_valid_before": (
            int(authorization["validBefore"]) < now + SECONDS_TO_SETTLE
        ),
        "invalid_exact_evm_payload_authorization_valid_after": (
            int(authorization["validAfter"]) > now
        ),
    }
    for reason, is_wrong in wrong.items():
        if is_wrong:
            raise NotGood(reason)


def _insist_on_checksums(authorization: Mapping[str, Any]) -> None:
    """x402's own stands on web3, which takes no address without its checksum."""
    for name in ("from", "to"):
        address = str(authorization[name])
        if address != evm_addresses.checksummed(address):
            raise NotGood("invalid_exact_evm_transaction_simulation_failed")


def _signer(presented: Presented) -> str | None:
    authorization = presented.authorization
    name, version = presented.domain
    network = Network(
        name=presented.network,
        v1_name=presented.network,
        chain_id=CHAINS[presented.network],
        asset=presented.asset,
        domain_name=name,
        domain_version=version,
    )
    signed = Authorization(
        payer=str(authorization["from"]),
        pay_to=str(authorization["to"]),
        amount=int(authorization["value"]),
        valid_after=int(authorization["validAfter"]),
        valid_before=int(authorization["validBefore"]),
        nonce=str(authorization["nonce"]),
    )
    try:
        return signer(network, signed, presented.signature)
    except (ValueError, IndexError, OverflowError):  # not the shape of one
        return None


def _declined(fault: Fault | None) -> None:
    if fault is not None and fault.kind is FaultKind.DECLINED:
        raise NotGood(fault.text or "insufficient_funds")


def _lies(fault: Fault | None) -> bool:
    return fault is not None and fault.kind is FaultKind.LIE
