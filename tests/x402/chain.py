"""A chain of our own that calls itself Base Sepolia, with a dollar of ours where USDC lives."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from eth_utils.crypto import keccak

from tests.lnbits.processes import end, tied
from tests.lnbits.waiting import wait_until
from tests.support.ports import free_port

CHAIN_ID = 84532
NETWORK = f"eip155:{CHAIN_ID}"
USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
"""Where the real one lives on Base Sepolia: clients pay nothing else without being told to."""
CODE = Path(__file__).parent / "contracts" / "TestUsd.json"
START_SECONDS = 60
BLOCK_SECONDS = 60
STOP_SECONDS = 5
BANK = "0x" + "ba" * 20


@dataclass(frozen=True, kw_only=True)
class Transfer:
    payer: str
    payee: str
    micros: int
    transaction: str


@dataclass(frozen=True)
class Chain:
    """One running chain; what a wallet has, and what has moved."""

    url: str
    _sessions: threading.local = field(default_factory=threading.local)

    def rpc(self, method: str, *params: object) -> Any:
        """The result of one JSON-RPC call. Raises AssertionError with the chain's words."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._session.post(self.url, json=body, timeout=30).json()
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def is_up(self) -> bool:
        try:
            return int(self.rpc("eth_chainId"), 16) == CHAIN_ID
        except requests.RequestException:
            return False

    def plant(self) -> None:
        """Put the dollar at its address, and give the bank what transactions cost."""
        self.rpc("anvil_setCode", USDC, json.loads(CODE.read_text())["deployedBytecode"])
        self.rpc("anvil_impersonateAccount", BANK)
        self.give_gas(BANK)

    def give_gas(self, address: str) -> None:
        self.rpc("anvil_setBalance", address, hex(10**21))

    def mint(self, address: str, micros: int) -> None:
        self._send(BANK, _call("mint(address,uint256)", address, micros))

    def balance(self, address: str) -> int:
        """In millionths of a dollar."""
        call = {"to": USDC, "data": _call("balanceOf(address)", address)}
        return int(self.rpc("eth_call", call, "latest"), 16)

    def take_all(self, address: str) -> None:
        """The wallet sends what it has to the bank, as a thief of his own purse does."""
        self.rpc("anvil_impersonateAccount", address)
        self.give_gas(address)
        self._send(address, _call("transfer(address,uint256)", BANK, self.balance(address)))

    def transfers(self, *, to: str) -> list[Transfer]:
        """What has reached this wallet since the beginning, in order."""
        topics = [_topic("Transfer(address,address,uint256)"), None, _word(to)]
        logs = self.rpc("eth_getLogs", {"address": USDC, "fromBlock": "0x0", "topics": topics})
        return [
            Transfer(
                payer="0x" + line["topics"][1][-40:],
                payee="0x" + line["topics"][2][-40:],
                micros=int(line["data"], 16),
                transaction=line["transactionHash"],
            )
            for line in logs
        ]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What is sent meanwhile waits; it is in a block when this ends."""
        self.rpc("evm_setAutomine", False)
        try:
            yield
        finally:
            self.rpc("evm_setAutomine", True)
            self.rpc("evm_mine")

    @contextmanager
    def later(self, seconds: int) -> Iterator[None]:
        """Final blocks are so much later, meanwhile; afterwards nothing of it has been."""
        before = self.rpc("evm_snapshot")
        self.rpc("evm_increaseTime", seconds)
        self.rpc("anvil_mine", hex(4))
        try:
            yield
        finally:
            self.rpc("evm_revert", before)
            # or it would go on from its last block, and date whatever follows too early
            self.rpc("evm_setTime", int(time.time()))

    def _send(self, sender: str, data: str) -> None:
        transaction = {"from": sender, "to": USDC, "data": data, "gas": hex(200_000)}
        sent = self.rpc("eth_sendTransaction", transaction)
        wait_until(lambda: self._receipt(sent) is not None, BLOCK_SECONDS, "a block")
        assert self._receipt(sent)["status"] == "0x1", self._receipt(sent)

    def _receipt(self, transaction: str) -> Any:
        return self.rpc("eth_getTransactionReceipt", transaction)

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._sessions, "own"):
            self._sessions.own = requests.Session()
        session: requests.Session = self._sessions.own
        return session


def _topic(signature: str) -> str:
    return "0x" + keccak(text=signature).hex()


def _word(value: str | int) -> str:
    number = int(value, 16) if isinstance(value, str) else value
    return f"0x{number:064x}"


def _call(signature: str, *arguments: str | int) -> str:
    words = "".join(_word(argument)[2:] for argument in arguments)
    return _topic(signature)[:10] + words


@contextmanager
def running_chain(anvil: Path, folder: Path) -> Iterator[Chain]:
    """A fresh chain with the dollar on it; gone at the end. Call from the main thread."""
    port = free_port()
    command = [str(anvil), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    # a block is final when two others stand on it
    command += ["--chain-id", str(CHAIN_ID), "--slots-in-an-epoch", "1"]
    with (folder / "chain.log").open("wb") as log:
        process = subprocess.Popen(
            tied(command, signal.SIGKILL),
            env={"HOME": str(folder), "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        chain = Chain(f"http://127.0.0.1:{port}")
        wait_until(chain.is_up, START_SECONDS, "the chain answers")
        chain.plant()
        yield chain
    finally:
        end(process, STOP_SECONDS)
