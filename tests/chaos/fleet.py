"""The fleet under fire: where everything is, and what can be done to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from local.environment import ROOT
from local.processes import LOOPBACK
from local.servers.temporary import temporary_folder
from local.stand_in.testing import StandInClient, running_stand_in
from tests.chaos.links import Mode
from tests.chaos.shop import OPS_TOKEN
from tests.fleet.fleet import fleet_commands
from tests.journeys.product import COMMANDS, Product, running_product
from tests.support.ports import free_port

LEASE_SECONDS = 6
INVOICE_SECONDS = 25
"""Our deadline for a payment: soon enough that some are missed while a run lasts."""

REFUND_WAIT_SECONDS = 3
"""Then the caller is told 202 and asks again: both happen often here."""
INSTANT_WAIT_SECONDS = 4
"""The same for runs of instant resources."""
INSTANT_RUN_SECONDS = 30
"""Payments are good for two minutes: what is in doubt is decided soon after the end."""

FEEDS = ("coingecko", "kraken", "coinbase", "bitstamp", "mempool")
_SERVERS = ("postgres", "valkey")
ALL = "all"
TARGETS = {
    "web": _SERVERS,
    "web-2": _SERVERS,
    "worker-money": _SERVERS,
    "worker-money-2": _SERVERS,
    "worker-models": (*_SERVERS, "models"),
    "worker-models-2": (*_SERVERS, "models"),
    "beat": ("valkey",),
    "beat-2": ("valkey",),
    # LNbits is one address for everybody; LNURL receivers, x402's facilitator, its chain and a
    # creator's server are on it. So are the feeds.
    ALL: ("lnbits", "feeds"),
}
"""Which process speaks to whom on a wire of its own, and what all share."""
PROCESSES = tuple(name for name in TARGETS if name != ALL)


class Wires:
    """The proxies between all of them, in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        ports: dict[str, int] = json.loads(self._heard())
        self.ports = {
            name: {to: ports[f"{name}>{to}"] for to in targets} for name, targets in TARGETS.items()
        }
        """Where each process finds what it speaks to."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def change(self, link: str, mode: Mode, seconds: float = 0.0) -> Mode:
        """Has taken effect when it returns how the link behaved until then. One thread only."""
        assert self._process.stdin is not None
        order = json.dumps({"link": link, "mode": mode, "seconds": seconds})
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return Mode(self._heard().strip())

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the wires have broken"
        return line


@dataclass(frozen=True)
class Fleet:
    """All that runs. Ports of both doors, and the true addresses of both servers."""

    product: Product
    world: StandInClient
    wires: Wires
    doors: tuple[int, int]
    receivers: str
    """The host of everybody with a Lightning address."""
    effects: Path
    postgres_url: str
    valkey_url: str

    @property
    def world_on_a_wire(self) -> str:
        """The world, as the product finds it."""
        return f"http://{self.receivers}"

    def pid(self, process: str) -> int | None:
        return self.product.pid(process)

    def signal(self, process: str, number: signal.Signals) -> int | None:
        """Send a signal to a process and all that it started; its number, None = it does not run.

        A server is told by its main process alone, as people do.
        """
        pid = self.pid(process)
        if pid is None:
            return None
        try:
            if process in {"postgres", "valkey"}:
                os.kill(pid, number)
            else:
                os.killpg(pid, number)
        except ProcessLookupError:
            return None
        return pid

    def cpu_seconds(self) -> dict[str, float]:
        """What each process has used up since it was last started, with all it started."""
        pids = {name: self.pid(name) for name in (*PROCESSES, "postgres", "valkey")}
        used = {name: _cpu_seconds(pid) for name, pid in pids.items() if pid is not None}
        return used | {"wires": _cpu_seconds(self.wires.pid), "callers": time.process_time()}


def _cpu_seconds(pid: int) -> float:
    """Of a process and all below it, living or dead; 0 for one that has just ended."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return round(own + sum(_cpu_seconds(int(child)) for child in children), 1)


@contextmanager
def running_fleet(results: Path) -> Iterator[Fleet]:
    """Start the world, the wires and the fleet; whatever happens its logs stay in ``results``."""
    with temporary_folder() as folder:
        data = folder / "world"
        addresses = folder / "addresses.json"
        second_door = free_port()
        with (
            running_stand_in(data) as world,
            _running_wires(addresses, int(world.url.rpartition(":")[2])) as wires,
            running_product(
                "tests.chaos.stack", **_settings(wires.ports, addresses, second_door)
            ) as product,
        ):
            real = json.loads(addresses.read_text())
            try:
                yield Fleet(
                    replace(product, commands=_commands(product, second_door)),
                    world,
                    wires,
                    (int(product.url.rpartition(":")[2]), second_door),
                    f"{LOOPBACK}:{wires.ports[ALL]['lnbits']}",
                    data / "effects.jsonl",
                    real["postgres_url"],
                    real["valkey_url"],
                )
            finally:
                (results / "product.log").write_bytes(product.log_file.read_bytes())


def _commands(product: Product, second_door: int) -> dict[str, str]:
    servers = {name: COMMANDS[name] for name in ("postgres", "valkey")}
    return servers | fleet_commands(product.url, second_door)


def _settings(
    ports: dict[str, dict[str, int]], addresses: Path, second_door: int
) -> dict[str, str]:
    lnbits, feeds = (f"http://{LOOPBACK}:{ports[ALL][to]}" for to in TARGETS[ALL])
    return {
        "CHAOS_LINKS": json.dumps(ports),
        "CHAOS_ADDRESSES": str(addresses),
        "SECOND_PORT": str(second_door),
        "STAND_IN_URL": lnbits,
        "PRICE_FEEDS": ",".join(f"{name}={feeds}/feeds/{name}" for name in FEEDS),
        # A key, so that models have an address of their own; the stand-in takes any.
        "ANTHROPIC_API_KEY": "chaos",
        "ANTHROPIC_BASE_URL": lnbits,
        "ALLOW_FREE_WORK": "1",
        "OPEN_INVOICES_PER_CLIENT": "1000000",
        "OPEN_INVOICES_MAX": "1000000",
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "REFUND_WAIT_SECONDS": str(REFUND_WAIT_SECONDS),
        "EVAL_INVOICE_EXPIRY_SECONDS": str(INVOICE_SECONDS),
        "WORK_INVOICE_EXPIRY_SECONDS": str(INVOICE_SECONDS),
        "OPS_TOKEN": OPS_TOKEN,
        # One address behind both doors, as a payment names it.
        "PUBLIC_URL": "http://chaos.example",
        "OPENROUTER_BASE_URL": f"{lnbits}/openrouter/api/v1",
        "INSTANT_WAIT_SECONDS": str(INSTANT_WAIT_SECONDS),
        "INSTANT_RUN_SECONDS": str(INSTANT_RUN_SECONDS),
        "MAX_UNSETTLED_PER_RESOURCE": "1000",
        "LOG_FORMAT": "json",
    }


@contextmanager
def _running_wires(addresses: Path, world_port: int) -> Iterator[Wires]:
    """Where the two servers listen is looked up in a file: they start later."""
    world = {"port": world_port}
    links: dict[str, Any] = {
        f"{name}>{to}": {"target": to} | ({} if to in {"postgres", "valkey"} else world)
        for name, targets in TARGETS.items()
        for to in targets
    }
    config = json.dumps({"addresses": str(addresses), "links": links})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.links", config],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Wires(process)
        finally:
            process.kill()
