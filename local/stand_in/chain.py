"""The chain of the stand-in's facilitator: as a node tells it, and as a test changes it.

``/x402/rpc`` is Base Sepolia's JSON-RPC, ``/x402/rpc/{chain}`` another's: as much of it as finds
out what became of an authorization.
"""

from collections.abc import Callable, Mapping
from typing import Any

from local.stand_in.faults import Errand, Fault, Faults
from local.stand_in.tokens import (
    BLOCKS_UNTIL_FINAL,
    AlreadyUsed,
    Tokens,
    Transfer,
    Use,
    time_of,
)
from local.stand_in.wire import Reply, Request, Route, json_reply

BASE_SEPOLIA = 84532

AUTHORIZATION_STATE = "0xe94a0102"
"""Selector of ``authorizationState(address,bytes32)``."""
AUTHORIZATION_USED = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
AUTHORIZATION_CANCELED = "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81"
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


class RpcError(Exception):
    """The node does not do that."""


class ChainApi:
    def __init__(self, tokens: Tokens, faults: Faults) -> None:
        self._tokens = tokens
        self._faults = faults

    def routes(self) -> list[Route]:
        return [
            Route("POST /x402/rpc", lambda request: self._rpc(request, BASE_SEPOLIA)),
            Route("POST /x402/rpc/{chain}", lambda request, chain: self._rpc(request, int(chain))),
            Route("GET /stand-in/tokens/{address}", self._balance),
            Route("PUT /stand-in/tokens/{address}", self._set_balance),
            Route("POST /stand-in/tokens/cancel", self._cancel),
            Route("POST /stand-in/tokens/use", self._use),
            Route("POST /stand-in/tokens/advance", self._advance),
        ]

    def _balance(self, request: Request, address: str) -> Reply:
        chain = int(request.parameter("chain") or BASE_SEPOLIA)
        return json_reply({"micros": self._tokens.balance(chain, address.lower())})

    def _set_balance(self, request: Request, address: str) -> Reply:
        body = request.json()
        chain = int(body.get("chain") or BASE_SEPOLIA)
        self._tokens.set_balance(chain, address.lower(), int(body["micros"]))
        return json_reply({"ok": True})

    def _cancel(self, request: Request) -> Reply:
        """The payer takes an authorization back."""
        return self._put(request.json(), pay_to=None, micros=0)

    def _use(self, request: Request) -> Reply:
        """Somebody submits an authorization himself, or another one of the same nonce."""
        body = request.json()
        return self._put(body, pay_to=str(body["payTo"]).lower(), micros=int(body["micros"]))

    def _put(self, body: Mapping[str, Any], *, pay_to: str | None, micros: int) -> Reply:
        transfer = Transfer(
            chain=int(body.get("chain") or BASE_SEPOLIA),
            payer=str(body["payer"]).lower(),
            nonce=str(body["nonce"]).lower(),
            pay_to=pay_to,
            micros=micros,
        )
        try:
            return json_reply({"transaction": self._tokens.put(transfer).hash})
        except AlreadyUsed:
            return json_reply({"error": "The authorization is used."}, status=409)

    def _advance(self, request: Request) -> Reply:
        """The chain's clock runs ahead by so many seconds."""
        self._tokens.advance(int(request.json()["seconds"]))
        return json_reply({"now": self._tokens.now()})

    def _rpc(self, request: Request, chain: int) -> Reply:
        def act(_: Fault | None) -> Reply:
            return json_reply(self._answer(request.json(), chain))

        errand = Errand(target="x402.rpc", subject=request.as_text, client=request.client)
        return self._faults.run(errand, act)

    def _answer(self, call: Mapping[str, Any], chain: int) -> dict[str, Any]:
        told = {"jsonrpc": "2.0", "id": call.get("id")}
        methods: dict[str, Callable[[int, list[Any]], Any]] = {
            "eth_chainId": lambda chain, _: hex(chain),
            "eth_blockNumber": lambda *_: hex(self._tokens.latest_block()),
            "eth_getBlockByNumber": lambda _, values: self._block(values[0]),
            "eth_call": lambda chain, values: self._state(chain, *values),
            "eth_getLogs": lambda chain, values: self._logs(chain, values[0]),
            "eth_getTransactionReceipt": lambda chain, values: self._receipt(chain, values[0]),
        }
        try:
            return told | {"result": methods[call["method"]](chain, call["params"])}
        except (KeyError, IndexError, ValueError, TypeError, RpcError) as error:
            return told | {"error": {"code": -32602, "message": f"Cannot do that: {error!r}"}}

    def _number(self, tag: str) -> int:
        latest = self._tokens.latest_block()
        if tag == "latest":
            return latest
        if tag in ("finalized", "safe"):
            return latest - BLOCKS_UNTIL_FINAL
        return int(tag, 16)

    def _block(self, tag: str) -> dict[str, str] | None:
        number = self._number(tag)
        if number > self._tokens.latest_block():
            return None
        return {"number": hex(number), "timestamp": hex(time_of(number))}

    def _state(self, chain: int, call: Mapping[str, str], tag: str) -> str:
        data = call["data"]
        if not data.startswith(AUTHORIZATION_STATE):
            raise RpcError("only authorizationState is known here")
        payer, nonce = "0x" + data[34:74], "0x" + data[74:138]
        use = self._tokens.use(chain, payer, nonce)
        is_used = use is not None and use.block <= self._number(tag)
        return "0x" + f"{int(is_used):064x}"

    def _logs(self, chain: int, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        kinds, payer, nonce = wanted["topics"]
        use = self._tokens.use(chain, "0x" + payer[-40:], nonce)
        if use is None:
            return []
        first, last = self._number(wanted["fromBlock"]), self._number(wanted["toBlock"])
        logs = _logs_of(use, wanted["address"]) if first <= use.block <= last else []
        return [log for log in logs if log["topics"][0] in kinds]

    def _receipt(self, chain: int, transaction: str) -> dict[str, Any] | None:
        use = self._tokens.used_in(chain, transaction)
        if use is None:
            return None
        # which token it was is not kept: there is one a chain
        logs = _logs_of(use, TOKENS[chain])
        return {"transactionHash": use.hash, "status": "0x1", "logs": logs}


TOKENS = {
    8453: "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913",
    BASE_SEPOLIA: "0x036cbd53842c5426634e7929541ec2318f3dcf7e",
}


def _logs_of(use: Use, token: str) -> list[dict[str, Any]]:
    """What the token of a real chain writes down, in its order."""
    transfer = use.transfer
    is_cancelled = transfer.pay_to is None
    kind = AUTHORIZATION_CANCELED if is_cancelled else AUTHORIZATION_USED
    logs = [([kind, _word(transfer.payer), transfer.nonce], "0x")]
    if transfer.pay_to is not None:
        parties = [TRANSFER, _word(transfer.payer), _word(transfer.pay_to)]
        logs.append((parties, f"0x{transfer.micros:064x}"))
    return [
        {
            "address": token,
            "topics": topics,
            "data": data,
            "blockNumber": hex(use.block),
            "transactionHash": use.hash,
            "logIndex": hex(index),
            "removed": False,
        }
        for index, (topics, data) in enumerate(logs, start=3)
    ]


def _word(address: str) -> str:
    return "0x" + address.removeprefix("0x").rjust(64, "0")
