"""The wire between B and its Lightning node: a TCP proxy that can be slow, cut, or refused."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from local.processes import free_port

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
Held = asyncio.Queue[tuple[float, bytes]]
"""What the node answered and when it is due; an empty answer is its end."""


class Line:
    """Forwards every connection to ``target_port`` on loopback until told otherwise.

    Faults hold for old and new connections, until ``mend``. All methods may be called from any
    thread and have taken effect when they return.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.was_cut = False
        self._target_port = target_port
        self._delay_seconds = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._socket = self._bound()
        self._is_listening = False
        self._mended = asyncio.Event()
        self._mended.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def delay_answers(self, seconds: float) -> None:
        """The node hears at once; its answers arrive this much later, in their order.

        It does not hear that B has given up: what was asked of it, it does.
        """
        self._do(self._set_delay(seconds))

    def cut(self) -> None:
        """Reset every connection there is; new ones get through."""
        self.was_cut = True
        self._do(self._reset_all())

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._do(self._stop_listening())
        self.cut()

    def mend(self) -> None:
        """Forward as if nothing had been; what was held arrives now. Safe to repeat."""
        self._do(self._set_delay(0))
        self._do(self._listen())

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        self.delay_answers(seconds)
        try:
            yield
        finally:
            self.mend()

    @contextmanager
    def refused(self) -> Iterator[None]:
        self.refuse()
        try:
            yield
        finally:
            self.mend()

    def close(self) -> None:
        """End the line for good."""
        self.refuse()
        self._do(self._set_delay(0))
        self._do(self._all_forwarded())
        self._socket.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def _bound(self) -> socket.socket:
        """Bound but not listening: the port stays ours, and the kernel refuses who calls."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.setblocking(False)
        return listener

    async def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._socket.listen()
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        """Here and not by asyncio's server: in 3.11 that leaks who calls just as it is closed."""
        with suppress(OSError):
            connection, _ = self._socket.accept()
            task = self._loop.create_task(self._forward(connection))
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)

    async def _stop_listening(self) -> None:
        if not self._is_listening:
            return
        self._is_listening = False
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = self._bound()

    async def _all_forwarded(self) -> None:
        while self._forwarding:
            await asyncio.wait(self._forwarding)

    async def _reset_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)
        self._open.clear()

    async def _set_delay(self, seconds: float) -> None:
        self._delay_seconds = seconds
        if seconds:
            self._mended.clear()
        else:
            self._mended.set()

    async def _forward(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection)
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        if writer.is_closing():  # cut meanwhile
            _reset(far_writer)
            return
        ends = {writer, far_writer}
        self._open |= ends
        held: Held = asyncio.Queue()
        await asyncio.gather(
            self._pass_on(reader, far_writer),
            self._hold(far_reader, held),
            self._let_go(held, writer),
        )
        self._open -= ends

    async def _pass_on(self, asked: asyncio.StreamReader, node: asyncio.StreamWriter) -> None:
        """At once; but that B has given up waiting the node hears only over a mended line."""
        with suppress(OSError):
            while chunk := await asked.read(CHUNK):
                node.write(chunk)
        await self._mended.wait()
        node.close()

    async def _hold(self, answers: asyncio.StreamReader, held: Held) -> None:
        with suppress(OSError):
            while chunk := await answers.read(CHUNK):
                held.put_nowait((self._loop.time() + self._delay_seconds, chunk))
        held.put_nowait((self._loop.time() + self._delay_seconds, b""))

    async def _let_go(self, held: Held, sink: asyncio.StreamWriter) -> None:
        """In the order they came, each when it is due, or all at once when the line is mended."""
        chunk = b"first"
        while chunk:
            due, chunk = await held.get()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._mended.wait()
            if not sink.is_closing():
                sink.write(chunk)
        sink.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
