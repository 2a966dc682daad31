# ruff: noqa: T201 - prints its table
"""``python -m tests.chaos.release``: every run of a release, one after the other.

Exit 0 when none had a violation. Each has a folder of its own in the folder of results; what all
came to, also those of earlier times, is in ``summary.json`` there.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.environment import ROOT

BUYS_PER_JOBS = 20
"""Fewer than in a small run: hours of it are about jobs."""


@dataclass(frozen=True, kw_only=True)
class Size:
    jobs: int
    faults: int
    seed: int
    refunds_fail_until: float = 1.0
    """Of the callers served. Who claims in vain claims again and again, in ever larger numbers."""

    @property
    def name(self) -> str:
        return f"{self.jobs}-jobs-{self.faults}-faults-seed-{self.seed}"


RUNS = (
    Size(jobs=5_000, faults=100, seed=1),
    Size(jobs=5_000, faults=100, seed=2),
    Size(jobs=5_000, faults=100, seed=3),
    Size(jobs=20_000, faults=400, seed=4, refunds_fail_until=0.1),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos.release", description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument(
        "--only", choices=[size.name for size in RUNS], action="append", help="these, not all"
    )
    given = parser.parse_args()
    results: Path = given.results
    runs = [size for size in RUNS if not given.only or size.name in given.only]
    codes = [_run(size, results / size.name) for size in runs]
    summary = {size.name: _told(results / size.name) for size in RUNS}
    (results / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    for size, code in zip(runs, codes, strict=True):
        print(f"{size.name:36} {'passed' if code == 0 else f'FAILED (exit {code})'}")
    return int(any(codes))


def _run(size: Size, results: Path) -> int:
    print(f"=== {size.name}", flush=True)
    buys = size.jobs // BUYS_PER_JOBS
    numbers = {
        "--jobs": size.jobs,
        "--buys": buys,
        "--faults": size.faults,
        "--seed": size.seed,
        "--refunds-fail-until": size.refunds_fail_until,
    }
    options = [part for name, number in numbers.items() for part in (name, str(number))]
    command = [sys.executable, "-m", "tests.chaos", *options, "--results", str(results)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _told(results: Path) -> dict[str, Any]:
    report = results / "report.json"
    return dict(json.loads(report.read_text())) if report.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
