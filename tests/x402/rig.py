"""The rig: a chain, a facilitator on it, and the official clients with their wallets."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict

from tests.app.contract import Seen
from tests.support import wire
from tests.support.x402_payer import Payer
from tests.x402.chain import Chain, running_chain
from tests.x402.facilitator import Facilitator, running_facilitator
from tests.x402.install import Installed, install
from tests.x402.purchases import ended

BUYERS = Path(__file__).parent / "buyers"
BUYING_SECONDS = 90

Command = Callable[[Installed], list[str]]
CLIENTS: dict[str, Command] = {
    "x402 for requests": lambda at: [str(at.python), str(BUYERS / "with_requests.py")],
    "x402 for httpx": lambda at: [str(at.python), str(BUYERS / "with_httpx.py")],
    "@x402/fetch": lambda at: [str(at.node), str(BUYERS / "with_fetch.mjs")],
    "x402 1.0 for requests": lambda at: [str(at.python_v1), str(BUYERS / "with_requests_v1.py")],
}
"""The command that buys with each; ``URL KEY BODY`` follow."""


@dataclass(frozen=True, kw_only=True)
class Bought:
    """What a client printed at its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, kw_only=True)
class Rig:
    chain: Chain
    facilitator: Facilitator
    installed: Installed
    folder: Path

    def payer(self, micros: int = 0) -> Payer:
        """Somebody with a new wallet that has as many millionths of a dollar."""
        payer = Payer()
        if micros:
            self.chain.mint(payer.address, micros)
        return payer

    def buy(self, client: str, url: str, payer: Payer, body: object) -> Bought:
        """Buy once with an official client, in a process of its own, as a customer does.

        Whoever is told that it takes longer looks where the answer says, until it is over.
        """
        done = subprocess.run(
            [*CLIENTS[client](self.installed), url, key_of(payer), json.dumps(body)],
            env={"PATH": os.defpath, "PACKAGES": str(self.installed.packages)},
            capture_output=True,
            text=True,
            check=False,
            timeout=BUYING_SECONDS,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said = json.loads(done.stdout.splitlines()[-1])
        if said["status"] == 202:
            told = ended(said["body"]["statusUrl"])
            return _bought(told.status_code, told.headers, told.json())
        return _of_ours(_bought(**said), url, body)

    def mend(self) -> None:
        """Take back every fault. Safe to repeat."""
        self.facilitator.mend()
        self.facilitator.forget()


@contextmanager
def running_rig(environ: Mapping[str, str]) -> Iterator[Rig]:
    """All of it on free ports, fresh; all gone at the end. Call from the main thread.

    Installs what is missing first. Raises CannotInstall.
    """
    installed = install(environ)
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="x402-rig-")))
        # as root, PostgreSQL runs as somebody else, who must get through to its data
        folder.chmod(0o711)
        chain = ending.enter_context(running_chain(installed.anvil, folder))
        facilitator = ending.enter_context(running_facilitator(installed.python, chain, folder))
        yield Rig(chain=chain, facilitator=facilitator, installed=installed, folder=folder)


def _bought(status: int, headers: Mapping[str, str], body: Any) -> Bought:
    in_lower_case = {name.lower(): value for name, value in headers.items()}
    return Bought(status=status, headers=in_lower_case, body=body)


def _of_ours(bought: Bought, url: str, sent: object) -> Bought:
    """The same, held against the OpenAPI document if the product has answered."""
    if "x-request-id" in bought.headers:
        seen = Seen(
            method="POST",
            path=urlsplit(url).path,
            status_code=bought.status,
            mimetype=bought.headers["content-type"].partition(";")[0],
            headers=CaseInsensitiveDict(bought.headers),
            text=json.dumps(bought.body),
        )
        wire.contract().judge(seen, sent)
    return bought


def key_of(payer: Payer) -> str:
    return "0x" + bytes(payer.account.key).hex()
