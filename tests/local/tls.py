"""A certificate of 127.0.0.1, and TLS in front of a server that has none."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

OPENSSL = shutil.which("openssl")
_PATIENCE = 20
ROUNDS_TO_CLOSE = 5
"""Of the loop: a transport that was aborted closes its socket in one of the next."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate that nobody else signed, and its key."""

    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_identity(folder: Path) -> Identity:
    identity = Identity(certificate=folder / "crt.pem", key=folder / "key.pem")
    command = f"{OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += (
        f" -addext subjectAltName=IP:127.0.0.1 -out {identity.certificate} -keyout {identity.key}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return identity


@contextmanager
def tls_before(port: int, identity: Identity) -> Iterator[int]:
    """A port of 127.0.0.1 where TLS is spoken, with the server of another port behind it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_listen(port, identity), loop).result(_PATIENCE)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(_PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        loop.close()


async def _listen(port: int, identity: Identity) -> asyncio.Server:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_behind, writer_behind = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_copy(reader, writer_behind), _copy(reader_behind, writer))
        finally:
            writer.transport.abort()
            writer_behind.transport.abort()

    return await asyncio.start_server(join, "127.0.0.1", 0, ssl=identity.context)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for _ in range(ROUNDS_TO_CLOSE):
        await asyncio.sleep(0)
