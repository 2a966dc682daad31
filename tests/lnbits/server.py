"""One LNbits process on loopback, set up without a hand on it, and ended by its process id."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.lnbits.processes import end, tied
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet, body_of
from tests.support.ports import free_port

LONGER_THAN_ANY_FREEZE_SECONDS = 120
START_SECONDS = 90
STOP_SECONDS = 10
TOP_UP_SATS = 10_000_000
"""LNbits refuses more in one call."""
PASSWORD = "rig-password"
UNLIMITED = 1_000_000

QUIET = {
    "HOST": "127.0.0.1",
    "TZ": "UTC",
    "AUTH_SECRET_KEY": "rig",
    "LNBITS_ADMIN_UI": "true",
    "ENABLE_LOG_TO_FILE": "false",
    "LNBITS_AUDIT_ENABLED": "false",
    "LNBITS_EXTENSIONS_DEACTIVATE_ALL": "true",
    "LNBITS_CALLBACK_URL_RULES": "[]",
    "LNBITS_CALLBACK_ALLOW_PRIVATE_IPS": "true",
    "LNBITS_RATE_LIMIT_NO": str(UNLIMITED),
    "LNBITS_RATE_LIMIT_UNIT": "second",
    # unset, LNbits asks the internet for these at start and for a rate at every invoice
    "LNBITS_EXTENSIONS_MANIFESTS": "[]",
    "LNBITS_WASM_EXTENSIONS_MANIFESTS": "[]",
    "LNBITS_PRICE_AGGREGATOR_ENABLED": "false",
    "LNBITS_EXCHANGE_RATE_PROVIDERS": "[]",
}
FAKE_NODE = {"LNBITS_BACKEND_WALLET_CLASS": "FakeWallet"}


class DidNotStart(Exception):
    """An LNbits process ended at its start; the message ends with its log."""


def node_behind(url: str, admin_key: str) -> Mapping[str, str]:
    """Settings of an LNbits whose Lightning node is a wallet of another LNbits."""
    return {
        "LNBITS_BACKEND_WALLET_CLASS": "LNbitsWallet",
        "LNBITS_ENDPOINT": url,
        "LNBITS_KEY": admin_key,
    }


class LnbitsServer:
    """An LNbits with its own fresh data folder; keeps port and data over a restart.

    Start it from the main thread: Linux ends the child together with the *thread* that made it.
    """

    def __init__(self, name: str, python: Path, folder: Path, node: Mapping[str, str]) -> None:
        self.name = name
        self.port = free_port()
        self._python = python
        self._folder = folder
        self._log = folder / "lnbits.log"
        self._node = dict(node)
        self._process: subprocess.Popen[bytes] | None = None
        self._bearer = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._running.pid

    def set_up(self) -> None:
        """First start on an empty folder: the wizard is answered, an administrator exists."""
        for needed in ("ext/extensions", "images", "logs"):
            (self._folder / needed).mkdir(parents=True, exist_ok=True)
        self.start()
        credentials = {"username": "admin", "password": PASSWORD, "password_repeat": PASSWORD}
        granted = self._call("PUT", "/api/v1/auth/first_install", credentials)
        self._bearer = granted["access_token"]

    def start(self) -> None:
        """Start and wait until it answers. Raises DidNotStart, or NotInTime."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tied(self._command(), signal.SIGKILL),
                env=self._environ(),
                # LNbits opens its templates relative to the working directory
                cwd=next((self._python.parent.parent / "lib").glob("python*/site-packages")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, START_SECONDS, f"{self.name} answers")

    def stop(self) -> None:
        """Ask it to end, insist after 10 s. Calling twice is safe; a frozen one is thawed."""
        process, self._process = self._process, None
        if process is not None:
            end(process, STOP_SECONDS)

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        process, self._process = self._running, None
        process.kill()
        process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It keeps its port and connections and answers nobody."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def new_wallet(self, name: str, *, sats: int = 0) -> Wallet:
        """A wallet of a new user, its balance set by the administrator: no payment is made."""
        made = self._call("POST", "/api/v1/account", {"name": name})
        wallet = Wallet(
            url=self.url,
            wallet_id=made["id"],
            invoice_key=made["inkey"],
            admin_key=made["adminkey"],
        )
        while sats > 0:
            step = min(sats, TOP_UP_SATS)
            self._call("PUT", "/users/api/v1/balance", {"id": wallet.wallet_id, "amount": step})
            sats -= step
        return wallet

    @contextmanager
    def limited_to(self, per_minute: int) -> Iterator[None]:
        """LNbits' own request limit, per client address and path; effective at once."""
        self._set_limit(per_minute, "minute")
        try:
            yield
        finally:
            self._set_limit(UNLIMITED, "second")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _command(self) -> list[str]:
        # not the ``lnbits`` command: it forks, and leaves the child serving when it is ended
        uvicorn = (
            f"-m uvicorn lnbits.__main__:app --loop uvloop --host 127.0.0.1 --port {self.port}"
            # else, thawed, it closes idle connections before it reads what was asked on them
            f" --timeout-keep-alive {LONGER_THAN_ANY_FREEZE_SECONDS}"
        )
        return [str(self._python), *uvicorn.split()]

    def _set_limit(self, number: int, unit: str) -> None:
        limits = {"lnbits_rate_limit_no": number, "lnbits_rate_limit_unit": unit}
        self._call("PUT", "/admin/api/v1/settings", limits)

    def _environ(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            **QUIET,
            **self._node,
            "PATH": os.defpath,
            "HOME": folder,
            "LNBITS_DATA_FOLDER": folder,
            "LNBITS_EXTENSIONS_PATH": f"{folder}/ext",
            "PORT": str(self.port),
        }

    def _answers(self) -> bool:
        if self._running.poll() is not None:
            raise DidNotStart(f"{self.name} ended at start:\n{self.log[-3000:]}")
        try:
            # before the first install it answers every address with a redirect
            requests.get(f"{self.url}/api/v1/health", timeout=5, allow_redirects=False)
        except requests.RequestException:
            return False
        return True

    def _call(self, method: str, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {self._bearer}"} if self._bearer else {}
        answer = requests.request(
            method, self.url + path, json=body, headers=bearer, timeout=30, allow_redirects=False
        )
        return body_of(answer)
