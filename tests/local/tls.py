"""A certificate of 127.0.0.1, and TLS in front of a server that has none."""

import asyncio
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

OPENSSL = shutil.which("openssl")


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
    """A port of 127.0.0.1 where TLS is spoken, with the server of another port behind it.

    A process of its own: what it leaves open when it ends is nobody's here.
    """
    front = subprocess.Popen(
        [sys.executable, "-m", __name__, str(port), identity.certificate, identity.key],
        stdout=subprocess.PIPE,
        text=True,
    )
    with front:
        assert front.stdout is not None
        try:
            yield int(front.stdout.readline())
        finally:
            front.kill()


async def _serve(port: int, identity: Identity) -> None:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_behind, writer_behind = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_copy(reader, writer_behind), _copy(reader_behind, writer))
        finally:
            writer.transport.abort()
            writer_behind.transport.abort()

    server = await asyncio.start_server(join, "127.0.0.1", 0, ssl=identity.context)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - for who started us
    await server.serve_forever()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


if __name__ == "__main__":
    _port, _certificate, _key = sys.argv[1:]
    asyncio.run(_serve(int(_port), Identity(certificate=Path(_certificate), key=Path(_key))))
