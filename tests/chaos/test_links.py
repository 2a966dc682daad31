"""The wires do what the nemesis is told that they do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from tests.chaos.links import LOOPBACK, Link, Mode, Target


class Caller:
    """One connection through a link to a server that answers every line with itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, line: bytes) -> None:
        self._writer.write(line + b"\n")
        await self._writer.drain()

    async def hear(self, seconds: float = 60.0) -> bytes:
        """The next line; nothing when the connection is at its end. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            return (await self._reader.readline()).strip()

    def close(self) -> None:
        self._writer.close()


async def call(port: int) -> Caller:
    return Caller(*await asyncio.open_connection(LOOPBACK, port))


async def with_link(talk: Callable[[Link, int, list[bytes]], Awaitable[None]]) -> None:
    """Run ``talk`` with a link, its port, and all lines that the server behind it has heard."""
    heard: list[bytes] = []

    over = asyncio.Condition()
    open_calls = 0

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_calls
        open_calls += 1
        with suppress(ConnectionError):
            while line := await reader.readline():
                heard.append(line.strip())
                writer.write(line)
        writer.close()
        async with over:
            open_calls -= 1
            over.notify_all()

    server = await asyncio.start_server(echo, LOOPBACK, 0)
    link = Link(target=Target(port=server.sockets[0].getsockname()[1]))
    port = await link.listen()
    try:
        await talk(link, port, heard)
    finally:
        link.close()
        async with asyncio.timeout(60), over:
            await over.wait_for(lambda: open_calls == 0)
        server.close()


def test_a_link_passes_on_both_ways() -> None:
    async def talk(_: Link, port: int, heard: list[bytes]) -> None:
        caller = await call(port)
        await caller.say(b"hello")
        assert await caller.hear() == b"hello"
        assert heard == [b"hello"]
        caller.close()

    asyncio.run(with_link(talk))


def test_a_reset_ends_connections_and_lets_new_ones_through() -> None:
    async def talk(link: Link, port: int, _: list[bytes]) -> None:
        caller = await call(port)
        await caller.say(b"hello")
        await caller.hear()
        link.change(Mode.RESET, 0)
        with pytest.raises(ConnectionResetError):
            await caller.hear()
        another = await call(port)
        await another.say(b"again")
        assert await another.hear() == b"again"
        another.close()

    asyncio.run(with_link(talk))


def test_while_a_link_refuses_nobody_gets_through() -> None:
    async def talk(link: Link, port: int, heard: list[bytes]) -> None:
        link.change(Mode.REFUSE, 0)
        caller = await call(port)
        with pytest.raises(ConnectionResetError):
            await caller.hear()
        link.change(Mode.PASS, 0)
        another = await call(port)
        await another.say(b"again")
        assert await another.hear() == b"again"
        assert heard == [b"again"]
        another.close()

    asyncio.run(with_link(talk))


def test_a_black_hole_swallows_what_is_said_and_is_reset_when_mended() -> None:
    async def talk(link: Link, port: int, heard: list[bytes]) -> None:
        caller = await call(port)
        await caller.say(b"before")
        await caller.hear()
        link.change(Mode.BLACK_HOLE, 0)
        await caller.say(b"lost")
        with pytest.raises(TimeoutError):
            await caller.hear(seconds=0.2)
        link.change(Mode.PASS, 0)
        with pytest.raises(ConnectionResetError):
            await caller.hear()
        assert heard == [b"before"]

    asyncio.run(with_link(talk))


@pytest.mark.parametrize(("mode", "seconds"), [(Mode.DELAY, 0.2), (Mode.TRICKLE, 0.0)])
def test_a_slow_link_brings_everything_later_and_in_order(mode: Mode, seconds: float) -> None:
    async def talk(link: Link, port: int, _: list[bytes]) -> None:
        caller = await call(port)
        link.change(mode, seconds)
        began = time.monotonic()
        for number in range(20):
            await caller.say(b"line %d" % number)
        assert [await caller.hear() for _ in range(20)] == [b"line %d" % n for n in range(20)]
        assert time.monotonic() - began >= 0.2
        caller.close()

    asyncio.run(with_link(talk))


def test_a_cut_commit_is_done_and_its_answer_lost() -> None:
    async def talk(link: Link, port: int, heard: list[bytes]) -> None:
        caller = await call(port)
        link.change(Mode.CUT_COMMIT, 0)
        await caller.say(b"SELECT 1\x00")
        assert await caller.hear() == b"SELECT 1\x00"
        await caller.say(b"COMMIT\x00")
        with pytest.raises(ConnectionResetError):
            await caller.hear()
        assert heard[-1] == b"COMMIT\x00"
        another = await call(port)
        await another.say(b"COMMIT\x00")
        assert await another.hear() == b"COMMIT\x00"
        another.close()

    asyncio.run(with_link(talk))
