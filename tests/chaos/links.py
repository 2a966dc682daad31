# ruff: noqa: T201 - it answers on standard output
"""``python -m tests.chaos.links CONFIG``: every wire of the fleet as a proxy that misbehaves.

A process of its own, so that it is neither slowed down by its users nor ends with what it serves.
The first line of standard output tells the ports. Then each line of standard input is an order, and
each line of standard output says that one has taken effect, and how the link behaved until then.
"""

import asyncio
import json
import socket
import struct
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from config import garbage

LOOPBACK = "127.0.0.1"
COMMIT = b"COMMIT\x00"
TRICKLED_BYTES = 400
TRICKLE_SECONDS = 0.002
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Mode(StrEnum):
    PASS = "pass"
    DELAY = "delay"
    """What the far end answers arrives ``seconds`` later."""
    TRICKLE = "trickle"
    """Answers arrive byte by byte."""
    BLACK_HOLE = "black_hole"
    """Nothing arrives, in neither direction, and nobody is told."""
    REFUSE = "refuse"
    """Connections are reset, new ones too."""
    RESET = "reset"
    """Connections are reset; new ones get through."""
    CUT_COMMIT = "cut_commit"
    """The next COMMIT is done, and its answer lost with the connection."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a link leads: a port, or the name of one in the file of addresses."""

    port: int | None = None
    name: str = ""
    addresses: Path | None = None

    def find(self) -> int:
        """Raises OSError while nobody knows."""
        if self.port is not None:
            return self.port
        assert self.addresses is not None
        return int(json.loads(self.addresses.read_text())[self.name])


class Half(asyncio.Protocol):
    """One of the two connections that a link joins."""

    def __init__(self, link: "Link", *, is_near: bool, other: "Half | None" = None) -> None:
        self.link = link
        self.is_near = is_near
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.last_due = 0.0
        self.is_cut = False
        """Its next answer is lost, and the connection with it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.link.opened(self)

    def data_received(self, data: bytes) -> None:
        self.link.carry(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        self.link.closed(self)

    def send(self, data: bytes) -> None:
        if self.transport is None:
            self.early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def reset(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            raw: socket.socket = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()


@dataclass(eq=False)
class Link:
    """One wire: who uses it reaches its port, and through it the target."""

    target: Target
    mode: Mode = Mode.PASS
    seconds: float = 0.0
    _server: asyncio.Server | None = None
    _halves: set[Half] = field(default_factory=set)
    _opening: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self) -> int:
        """Take any free port; which one it is."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Half(self, is_near=True), LOOPBACK, 0, backlog=512
        )
        return int(self._server.sockets[0].getsockname()[1])

    def change(self, mode: Mode, seconds: float) -> None:
        """Behave so from now on. What a black hole has swallowed never comes."""
        has_lost = self.mode is Mode.BLACK_HOLE and mode is Mode.PASS
        if has_lost or mode in {Mode.RESET, Mode.REFUSE}:
            self.reset_all()
        self.mode = Mode.PASS if mode is Mode.RESET else mode
        self.seconds = seconds

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset_all()

    def reset_all(self) -> None:
        for half in list(self._halves):
            half.reset()

    def opened(self, half: Half) -> None:
        self._halves.add(half)
        if not half.is_near:
            return
        if self.mode is Mode.REFUSE:
            half.reset()
        elif self.mode is not Mode.BLACK_HOLE:
            opening = asyncio.get_running_loop().create_task(self._reach(half))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _reach(self, near: Half) -> None:
        far = near.other = Half(self, is_near=False, other=near)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: far, LOOPBACK, self.target.find())
        except (OSError, ValueError, KeyError):
            near.reset()
            return
        for data in far.early:
            far.send(data)
        if near not in self._halves and far.transport is not None:
            far.transport.close()

    def closed(self, half: Half) -> None:
        self._halves.discard(half)
        other = half.other
        if other is not None and other.transport is not None:
            other.transport.close()

    def carry(self, half: Half, data: bytes) -> None:
        """Bring what one end said to the other, as well as this link does it now."""
        other = half.other
        if self.mode is Mode.BLACK_HOLE or other is None:
            if self.mode is not Mode.BLACK_HOLE:
                half.early.append(data)
            return
        if half.is_near:
            self._ask(half, other, data)
        else:
            self._answer(half, other, data)

    def _ask(self, near: Half, far: Half, data: bytes) -> None:
        if self.mode is Mode.CUT_COMMIT and COMMIT in data:
            self.mode = Mode.PASS
            far.is_cut = True
        far.send(data)

    def _answer(self, far: Half, near: Half, data: bytes) -> None:
        if far.is_cut:
            near.reset()
            far.reset()
            return
        loop = asyncio.get_running_loop()
        due = max(loop.time() + self._delay(), far.last_due + 1e-6)
        is_at_once = self._delay() == 0 and far.last_due < loop.time()
        if self.mode is not Mode.TRICKLE and (is_at_once or due <= loop.time()):
            near.send(data)
            return
        for piece in self._pieces(data):
            far.last_due = due
            loop.call_at(due, near.send, piece)
            due += TRICKLE_SECONDS

    def _delay(self) -> float:
        return self.seconds if self.mode in {Mode.DELAY, Mode.TRICKLE} else 0.0

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.mode is not Mode.TRICKLE:
            return [data]
        slow, rest = data[:TRICKLED_BYTES], data[TRICKLED_BYTES:]
        return [*(slow[n : n + 1] for n in range(len(slow))), *([rest] if rest else [])]


def _links(config: dict[str, Any]) -> dict[str, Link]:
    addresses = Path(config["addresses"])
    return {
        name: Link(target=Target(port=link.get("port"), name=link["target"], addresses=addresses))
        for name, link in config["links"].items()
    }


async def _serve(links: dict[str, Link]) -> None:
    ports = {name: await link.listen() for name, link in links.items()}
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps(ports), flush=True)
    while line := await orders.readline():
        order = json.loads(line)
        link = links[order["link"]]
        before = link.mode
        link.change(Mode(order["mode"]), order.get("seconds", 0.0))
        print(before.value, flush=True)


if __name__ == "__main__":
    garbage.settle()
    asyncio.run(_serve(_links(json.loads(sys.argv[1]))))
