"""The whole product as `make run` starts it, and a customer who speaks to it over HTTP."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.lnbits.processes import end, tied
from tests.lnbits.waiting import NotInTime, wait_until
from tests.lnbits.wallet import Wallet
from tests.support import wire
from tests.support.canary import assert_tells_nothing
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
STOP_SECONDS = 60
STEP_SECONDS = 120
"""What was sent in vain is sent again after a minute."""
PATIENCE_SECONDS = 60

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Product:
    """One running product."""

    url: str
    log_file: Path
    confidential: list[str] = field(default_factory=list)
    """What its log must not hold: keys, and whatever callers said and were told."""

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def is_up(self) -> bool:
        try:
            return wire.get(f"{self.url}/api/healthz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def create(self, request: str) -> Json:
        """A new job, as the caller gets it."""
        answer = self.try_to_create(request)
        assert answer.status_code == 201, answer.text
        body: Json = answer.json()
        self.confidential.append(body["jobId"])
        return body

    def try_to_create(self, request: str) -> requests.Response:
        self.confidential.append(request)
        return wire.post(
            f"{self.url}/api/jobs", json={"request": request}, timeout=PATIENCE_SECONDS
        )

    def job(self, job_id: str) -> Json:
        answer = wire.get(f"{self.url}/api/jobs/{job_id}", timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        if body.get("result"):
            self.confidential.append(body["result"])
        return body

    def claim(self, job_id: str, bolt11: str) -> requests.Response:
        return wire.post(
            f"{self.url}/api/jobs/{job_id}/refund",
            json={"invoice": bolt11},
            timeout=PATIENCE_SECONDS,
        )

    def wait_for(self, job_id: str, **members: str) -> Json:
        """The job once it shows these members; says how far it came when it does not."""

        def is_there() -> bool:
            job = self.job(job_id)
            return all(job.get(name) == value for name, value in members.items())

        try:
            wait_until(is_there, STEP_SECONDS, f"the job shows {members}")
        except NotInTime as error:
            raise AssertionError(
                f"{error}, but is {self.job(job_id)}\n{self.log[-4000:]}"
            ) from error
        return self.job(job_id)


@contextmanager
def running_product(environ: Mapping[str, str], wallet: Wallet) -> Iterator[Product]:
    """The product on this wallet, with servers and data of its own; all gone at the end.

    Models and price feeds are played by the stand-in: nothing is asked of the internet. Its log has
    told nothing that is confidential.
    """
    with tempfile.TemporaryDirectory(prefix="product-rig-") as name:
        folder = Path(name)
        # as root, PostgreSQL runs as somebody else, who must get through to its data
        folder.chmod(0o711)
        port, stand_in_port = free_port(), free_port()
        product = Product(
            url=f"http://127.0.0.1:{port}",
            log_file=folder / "log",
            confidential=[wallet.invoice_key, wallet.admin_key],
        )
        settings = {
            "ENV_FILE": "",
            "DATA_DIR": str(folder / "data"),
            "PORT": str(port),
            "STAND_IN_PORT": str(stand_in_port),
            "PRICE_FEEDS": f"coingecko=http://127.0.0.1:{stand_in_port}/feeds/coingecko",
            "LNBITS_URL": wallet.url,
            "LNBITS_INVOICE_KEY": wallet.invoice_key,
            "LNBITS_ADMIN_KEY": wallet.admin_key,
            "LIGHTNING_NETWORK": "bitcoin",
        }
        machine = {name: environ[name] for name in ("PATH", "HOME") if name in environ}
        with product.log_file.open("wb") as log:
            process = subprocess.Popen(
                tied([sys.executable, "-m", "local.supervisor"], signal.SIGTERM),
                cwd=ROOT,
                env=machine | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _wait_until_up(product, process)
            yield product
            assert_tells_nothing(product.log, confidential=product.confidential)
        finally:
            end(process, STOP_SECONDS)


def _wait_until_up(product: Product, process: subprocess.Popen[bytes]) -> None:
    wait_until(
        lambda: process.poll() is not None or product.is_up(), START_SECONDS, "the product is up"
    )
    assert process.poll() is None, product.log[-4000:]
