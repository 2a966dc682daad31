# ruff: noqa: T201 - prints its table
"""``python -m tests.chaos --jobs 1500 --faults 40 --seed 1``: the fleet under fire, and a verdict.

Exit 0 without a violation, 1 with one; then logs and evidence stay in the folder of results. The
seed decides what callers do, what the weather draws and what the nemesis does and in which order;
when it happens depends on how fast real processes are.
"""

import argparse
import asyncio
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

from config import garbage
from local.stand_in.weather import Forecast
from tests.chaos import report, skies
from tests.chaos.checker import Violation, check
from tests.chaos.crowd import Crowd
from tests.chaos.evidence import (
    Evidence,
    complaints_about,
    effects_of,
    have_all_swept,
    logs_of,
    tables_of,
)
from tests.chaos.fleet import INVOICE_SECONDS, LEASE_SECONDS, Fleet, running_fleet
from tests.chaos.log import Log
from tests.chaos.nemesis import Kind, Nemesis, plan
from tests.chaos.patience import SOON
from tests.chaos.plans import beginnings
from tests.chaos.shop import open_shop
from tests.chaos.standstill import Witness
from tests.chaos.verdict import last_look
from tests.chaos.visitor import Street

AFTER_THE_LAST_FAULT_SECONDS = 120
"""Who has paid is served by then. A refund that failed on Lightning takes longer to prove."""
LEAST_PATIENCE_SECONDS = SOON + 10
"""Of whoever is not excused: a little more than what the judge allows."""
TAKEN_IN_SECONDS = 5.0
SAY_EVERY_SECONDS = 10.0
JOBS_TO_A_BUY = 5
OPENING_SATS = 100_000
"""The operator's money in the wallet: refunds are paid and routed from it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    jobs: int
    buys: int
    faults: int
    seed: int
    at_a_time: int
    is_calm: bool
    has_receivers: bool
    refunds_fail_until: float
    patience: int
    kinds: tuple[Kind, ...]
    results: Path


def main() -> int:
    options = _options()
    garbage.settle()
    options.results.mkdir(parents=True, exist_ok=True)
    for name in ("acts.jsonl", "callers.jsonl"):
        (options.results / name).unlink(missing_ok=True)
    began = time.monotonic()
    with running_fleet(options.results) as fleet:
        print(f"ready after {time.monotonic() - began:.1f} s", flush=True)
        violations = _judge(fleet, options, *_run(fleet, options))
    return 1 if violations else 0


def _judge(
    fleet: Fleet, options: Options, evidence: Evidence, crowd: Crowd, seconds: float
) -> list[Violation]:
    """Tell what the run came to; what is needed to understand a violation is kept."""
    violations = check(evidence)
    found = {
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "jobs a second": round(options.jobs / seconds, 1),
        **report.figures(evidence, violations),
        "requests": crowd.street.asked,
        "weather": fleet.world.weather_hits(),
        "cpu seconds": fleet.cpu_seconds(),
    }
    sentences = [asdict(violation) for violation in violations]
    _keep(options.results / "report.json", {**found, "sentences": sentences})
    print(report.table(found, violations), flush=True)
    shutil.copy(fleet.effects, options.results / "effects.jsonl")
    if violations:
        _keep(options.results / "tables.json", evidence.tables)
        print(f"FAILED with seed {options.seed}; all that is known is in {options.results}")
    return violations


def _run(fleet: Fleet, options: Options) -> tuple[Evidence, Crowd, float]:
    """Let the crowd come and the nemesis rage; everything that is known afterwards."""
    began = time.monotonic()
    callers, acts = Log(options.results / "callers.jsonl"), Log(options.results / "acts.jsonl")
    fleet.product.confidential.extend(beginnings(options.seed))
    world = int(fleet.world.url.rpartition(":")[2])
    shop = open_shop(fleet.product.url, fleet.world_on_a_wire) if options.buys else None
    crowd = Crowd(
        street=Street(doors=fleet.doors, world=world, log=callers),
        seed=options.seed,
        jobs=options.jobs,
        buys=options.buys,
        shop=shop,
        receivers=fleet.receivers if options.has_receivers else None,
        at_a_time=options.at_a_time,
        invoice_seconds=INVOICE_SECONDS,
    )
    planned = plan(options.seed, options.faults, options.kinds) if options.faults else []
    nemesis = Nemesis(fleet, planned, acts, lambda: crowd.served / crowd.callers)
    fleet.world.top_up(OPENING_SATS)
    if not options.is_calm:
        fleet.world.change_weather(skies.forecast(options.seed))
    nemesis.start()
    with (
        Witness(callers),
        Saying(lambda: f"{crowd.begun} begun, {crowd.served} served, {crowd.done} done"),
    ):
        calm_at = asyncio.run(_until_all_is_over(fleet, crowd, nemesis, options))
    nemesis.stop()
    seconds = time.monotonic() - began
    have_all_swept(fleet.postgres_url)
    evidence = replace(
        last_look(lambda: _evidence(fleet, options, calm_at)),
        complaints=complaints_about(fleet.postgres_url),
        earnings=shop.earnings() if shop else None,
    )
    return evidence, crowd, seconds


def _evidence(fleet: Fleet, options: Options, calm_at: float) -> Evidence:
    """All that is known now, but for what takes long to ask."""
    return Evidence(
        tables=tables_of(fleet.postgres_url),
        read_at=time.time(),
        effects=effects_of(fleet.effects),
        acts=logs_of(options.results / "acts.jsonl"),
        planned=options.faults,
        kinds=len(set(options.kinds)),
        callers=logs_of(options.results / "callers.jsonl"),
        calm_at=calm_at,
        lease_seconds=LEASE_SECONDS,
    )


async def _until_all_is_over(
    fleet: Fleet, crowd: Crowd, nemesis: Nemesis, options: Options
) -> float:
    """When the last fault was over. Whoever still waits so long after that has waited in vain.

    Nobody waits longer than ``patience`` for what may take its time, and the others not much.
    """
    coming = asyncio.create_task(crowd.come())
    clears_up_at = options.refunds_fail_until * crowd.callers
    while not (crowd.served == crowd.callers and nemesis.is_done):
        if coming.done():
            coming.result()  # raises what went wrong; else only the nemesis is not done yet
        if crowd.served >= clears_up_at and not options.is_calm:
            better = skies.forecast(options.seed, refunds_fail=False)
            await asyncio.to_thread(fleet.world.change_weather, better)
            clears_up_at = inf
        await asyncio.sleep(0.1)
    await asyncio.to_thread(fleet.world.change_weather, Forecast())
    calm_at = time.time()
    crowd.street.deadline = calm_at + options.patience
    crowd.street.last_deadline = calm_at + max(options.patience, LEAST_PATIENCE_SECONDS)
    await coming
    await asyncio.sleep(TAKEN_IN_SECONDS)  # whoever gave up may just have paid
    return calm_at


class Saying:
    """Say how things stand, every few seconds, while the body runs."""

    def __init__(self, what: Callable[[], str]) -> None:
        self._what = what
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._say, daemon=True)

    def _say(self) -> None:
        began = time.monotonic()
        while not self._over.wait(SAY_EVERY_SECONDS):
            print(f"{time.monotonic() - began:5.0f} s: {self._what()}", flush=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _keep(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, default=str) + "\n")


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument(
        "--buys",
        type=int,
        help="callers of instant resources beside them; by default one caller in six",
    )
    parser.add_argument("--faults", type=int, default=40, help="acts of the nemesis")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-a-time", type=int, default=250, help="busy callers")
    parser.add_argument(
        "--patience",
        type=int,
        default=AFTER_THE_LAST_FAULT_SECONDS,
        help="seconds after the last fault until whoever waits for what may rightly take long gives"
        f" up; others wait {LEAST_PATIENCE_SECONDS:.0f} s at least",
    )
    parser.add_argument("--calm", action="store_true", help="no weather")
    parser.add_argument(
        "--refunds-fail-until",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of the callers served; what fails later takes two minutes longer to prove",
    )
    parser.add_argument("--no-receivers", action="store_true", help="nobody gives a refundTo")
    parser.add_argument("--kinds", default=",".join(Kind), help="of acts, with commas")
    parser.add_argument("--results", type=Path, default=Path(".data/chaos"))
    given = parser.parse_args()
    return Options(
        jobs=given.jobs,
        buys=given.jobs // JOBS_TO_A_BUY if given.buys is None else given.buys,
        faults=given.faults,
        seed=given.seed,
        at_a_time=given.at_a_time,
        is_calm=given.calm,
        has_receivers=not given.no_receivers,
        refunds_fail_until=given.refunds_fail_until,
        patience=given.patience,
        kinds=tuple(Kind(name) for name in given.kinds.split(",")),
        results=given.results,
    )


if __name__ == "__main__":
    sys.exit(main())
