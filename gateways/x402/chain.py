"""What became of an authorization, by the chain's own word: JSON-RPC of any node of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateways.deadline import total_deadline
from gateways.errors import OutsideError, Refused
from gateways.http import HttpClient
from gateways.x402 import USE_NOT_FOUND, Moved, NotMoved, PaymentKey, Unknown
from models.money import UsdMicros

CALL_SECONDS = 10.0
TOTAL_SECONDS = 45.0
MAX_ANSWER_BYTES = 1024 * 1024
BLOCKS_PER_SEARCH = 1000
"""Public nodes look through no more at a time; on Base that is half an hour."""
RECENT_BLOCKS = 3 * BLOCKS_PER_SEARCH
EARLIER, LATER = timedelta(hours=1), timedelta(hours=3)
"""No payment is taken that is good for longer, and clocks may differ."""
LATEST, FINAL = "latest", "finalized"

AUTHORIZATION_STATE = "0xe94a0102"
"""Selector of ``authorizationState(address,bytes32)``."""
AUTHORIZATION_USED = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
AUTHORIZATION_CANCELED = "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81"
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


@dataclass(frozen=True, kw_only=True)
class _Block:
    number: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Blocks from ``first`` to ``last``, both included."""

    first: int
    last: int

    def pages(self) -> "list[_Span]":
        """The same, in as many pieces as nodes like to search."""
        return [
            _Span(first=first, last=min(first + BLOCKS_PER_SEARCH - 1, self.last))
            for first in range(self.first, self.last + 1, BLOCKS_PER_SEARCH)
        ]


@dataclass(frozen=True, kw_only=True)
class _Doubt:
    """What is asked about."""

    key: PaymentKey
    pay_to: str
    amount: UsdMicros
    since: datetime


class RpcChain:
    """``Chain`` by one node per network. Safe to share between threads."""

    def __init__(self, urls: Mapping[str, str], http: HttpClient) -> None:
        """``urls`` by CAIP-2 name; they may hold a key, and stand in no log."""
        self._urls = dict(urls)
        self._http = http

    def knows(self, network: str) -> bool:
        return network in self._urls

    def authorization(
        self, key: PaymentKey, *, pay_to: str, amount: UsdMicros, since: datetime
    ) -> Moved | NotMoved | Unknown:
        """As the protocol says."""
        url = self._urls.get(key.network)
        if url is None:
            return Unknown(reason="no_node")
        doubt = _Doubt(key=key, pay_to=pay_to, amount=amount, since=since)
        try:
            with total_deadline(TOTAL_SECONDS):
                return _Node(url, self._http).judge(doubt)
        except OutsideError as error:
            return Unknown(reason=error.code)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            return Unknown(reason="bad_answer")
        except TimeoutError:
            return Unknown(reason="timeout")


@dataclass(frozen=True)
class _Node:
    """One conversation. Raises OutsideError, or what reading a senseless answer raises."""

    url: str
    http: HttpClient

    def judge(self, doubt: _Doubt) -> Moved | NotMoved | Unknown:
        final = self._final_block()
        if not self._is_used(doubt.key, LATEST):
            # asked in this order, so that nothing moves between the two readings unseen
            if self._is_used(doubt.key, hex(final.number)):
                return Unknown(reason="contradiction")
            return NotMoved(as_of=final.at, is_spent=False)
        log = self._log_of_its_use(doubt)
        if log is None:
            return Unknown(reason=USE_NOT_FOUND)
        number = int(log["blockNumber"], 16)
        if self._paid(doubt, log):
            at = self._block(hex(number)).at
            return Moved(transaction=str(log["transactionHash"]), at=at)
        if number > final.number:
            return Unknown(reason="not_final")
        return NotMoved(as_of=final.at, is_spent=True)

    def _final_block(self) -> _Block:
        """The newest block that no reorganisation takes back; the latest where nobody knows."""
        try:
            return self._block(FINAL)
        except Refused:
            return self._block(LATEST)

    def _block(self, tag: str) -> _Block:
        said = self._ask("eth_getBlockByNumber", tag, False)  # noqa: FBT003  their argument
        seconds = int(said["timestamp"], 16)
        return _Block(number=int(said["number"], 16), at=datetime.fromtimestamp(seconds, UTC))

    def _is_used(self, key: PaymentKey, tag: str) -> bool:
        data = AUTHORIZATION_STATE + _word(key.payer) + key.nonce.removeprefix("0x")
        said = self._ask("eth_call", {"to": key.asset, "data": data}, tag)
        if len(said) != 2 + 64:
            raise ValueError("no such contract")
        return int(said, 16) != 0

    def _log_of_its_use(self, doubt: _Doubt) -> dict[str, Any] | None:
        """Look at what was written lately, then at the hours around when it was first seen."""
        latest = self._block(LATEST).number
        recent = _Span(first=max(0, latest - RECENT_BLOCKS + 1), last=latest)
        log = self._found(doubt.key, reversed(recent.pages()))
        if log is not None:
            return log
        around = _Span(
            first=self._first_block(doubt.since - EARLIER, latest),
            last=self._first_block(doubt.since + LATER, latest),
        )
        return self._found(doubt.key, around.pages())

    def _found(self, key: PaymentKey, spans: Iterable[_Span]) -> dict[str, Any] | None:
        for span in spans:
            logs = self._logs(key, span.first, span.last)
            if logs:
                return logs[0]
        return None

    def _first_block(self, moment: datetime, latest: int) -> int:
        """The first block at or after ``moment``, or the latest."""
        low, high = 0, latest
        while low < high:
            middle = (low + high) // 2
            if self._block(hex(middle)).at < moment:
                low = middle + 1
            else:
                high = middle
        return low

    def _logs(self, key: PaymentKey, first: int, last: int) -> list[dict[str, Any]]:
        payer = "0x" + _word(key.payer)
        wanted = {
            "address": key.asset,
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "topics": [[AUTHORIZATION_USED, AUTHORIZATION_CANCELED], payer, key.nonce],
        }
        logs: list[dict[str, Any]] = self._ask("eth_getLogs", wanted)
        return [log for log in logs if _is_about(key, log)]

    def _paid(self, doubt: _Doubt, use: Mapping[str, Any]) -> bool:
        """Whether the transfer that follows the use is ours.

        The token writes both down one after the other; any other transfer of the transaction may
        belong to another authorization.
        """
        if use["topics"][0] != AUTHORIZATION_USED:
            return False
        receipt = self._ask("eth_getTransactionReceipt", use["transactionHash"])
        if receipt["status"] != "0x1":
            raise ValueError("a log of a transaction that failed")
        after = [
            log
            for log in receipt["logs"]
            if log["address"].lower() == doubt.key.asset
            and int(log["logIndex"], 16) > int(use["logIndex"], 16)
        ]
        transfer = min(after, key=lambda log: int(log["logIndex"], 16))
        return _is_transfer(transfer, doubt)

    def _ask(self, method: str, *params: Any) -> Any:
        """One call. Raises Refused for an error that the node names, and for null."""
        reply = self.http.post(
            self.url,
            seconds=CALL_SECONDS,
            body={"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)},
            max_bytes=MAX_ANSWER_BYTES,
        )
        said = reply.required().object()
        if said.get("error") is not None:
            raise Refused(f"the node refuses {method}", code="rpc_error")
        if said.get("result") is None:
            raise Refused(f"the node knows nothing of {method}", code="rpc_nothing")
        return said["result"]


def _is_about(key: PaymentKey, log: Mapping[str, Any]) -> bool:
    """A node is not trusted to have searched for what it was asked."""
    topics = [str(topic).lower() for topic in log["topics"]]
    return (
        not log.get("removed")
        and str(log["address"]).lower() == key.asset
        and topics[0] in (AUTHORIZATION_USED, AUTHORIZATION_CANCELED)
        and topics[1:] == ["0x" + _word(key.payer), key.nonce]
    )


def _is_transfer(log: Mapping[str, Any], doubt: _Doubt) -> bool:
    topics = [str(topic).lower() for topic in log["topics"]]
    parties = ["0x" + _word(doubt.key.payer), "0x" + _word(doubt.pay_to)]
    return topics == [TRANSFER, *parties] and int(log["data"], 16) == doubt.amount


def _word(address: str) -> str:
    return address.removeprefix("0x").rjust(64, "0")
