"""An internet of our own: names with addresses, and at each address a server on the loopback."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateways.http import PublicHttpClient
from tests.conformance.scripted_server import ScriptedServer, scripted_server

OPENSSL = shutil.which("openssl")
NAMES = ("wallet.example", "pay.example", "xn--bcher-kva.example")
WALLET, PAY = "93.184.216.34", "2606:4700::1111"


@dataclass
class Internet:
    """``addresses`` is the phone book; ``dialled`` whom we really connected to."""

    servers: dict[str, ScriptedServer]
    addresses: dict[str, list[str]]
    certificates: ssl.SSLContext
    asked: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)

    @property
    def wallet(self) -> ScriptedServer:
        return self.servers[WALLET]

    @property
    def pay(self) -> ScriptedServer:
        return self.servers[PAY]

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "nobody")
        return self.addresses[host]

    def dial(self, address: str, port: int, seconds: float | None) -> socket.socket:
        self.dialled.append((address, port))
        real = self.servers[address].url.rpartition(":")[2]
        return socket.create_connection(("127.0.0.1", int(real)), seconds)

    def client(self, **more: object) -> PublicHttpClient:
        return PublicHttpClient(
            resolve=self.resolve,
            dial=self.dial,
            certificates=self.certificates,
            **more,  # type: ignore[arg-type]
        )


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of all ``NAMES``, signed by nobody else."""
    crt, key = folder / "crt.pem", folder / "key.pem"
    names = ",".join(f"DNS:{name}" for name in NAMES)
    command = f"{OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=internet"
    command += f" -addext subjectAltName={names} -out {crt} -keyout {key}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return crt, key


@contextmanager
def internet_of(certificate: tuple[Path, Path]) -> Iterator[Internet]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(certificate[0])
    with ExitStack() as stack:
        yield Internet(
            servers={
                address: stack.enter_context(scripted_server(serving)) for address in (WALLET, PAY)
            },
            addresses={
                "wallet.example": [WALLET],
                "pay.example": [PAY],
                "xn--bcher-kva.example": [WALLET],
                "stranger.example": [WALLET],
            },
            certificates=trusting,
        )
