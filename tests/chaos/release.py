# ruff: noqa: T201 - prints its table
"""``python -m tests.chaos.release``: every run of a release, one after the other, and the mutants.

Exit 0 when none had a violation and no mutant lives. Each run has a folder of its own in the folder
of results; what all came to, also those of earlier times, is in ``summary.json`` there. The main
figures, with the commit that they are of, go to ``docs/release-check.json``, which is to be
committed: a run that was not made this time keeps what it came to before.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from local.environment import ROOT

BUYS_PER_JOBS = 20
"""Fewer than in a small run: hours of it are about jobs."""
SUMMARY = Path("docs/release-check.json")
MAIN_FIGURES = (
    *("seconds", "jobs", "payouts", "paid in the world", "runs", "transfers", "acts"),
    *("recovery in seconds", "goals of recovery in seconds", "violations"),
)
"""Of the report of a run."""

Json = dict[str, Any]


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

    @property
    def options(self) -> Json:
        return {
            "jobs": self.jobs,
            "buys": self.jobs // BUYS_PER_JOBS,
            "faults": self.faults,
            "seed": self.seed,
            "refunds-fail-until": self.refunds_fail_until,
        }


RUNS = (
    Size(jobs=5_000, faults=100, seed=1),
    Size(jobs=5_000, faults=100, seed=2),
    Size(jobs=5_000, faults=100, seed=3),
    Size(jobs=20_000, faults=400, seed=4, refunds_fail_until=0.1),
)
MUTANTS = "mutants"
CAUGHT = re.compile(r"^(?P<of>\d+) mutants, (?P<caught>\d+) caught", re.MULTILINE)

Run = Callable[[Path], tuple[int, Json]]
"""Given a folder for all that it leaves: the exit code, and the main figures."""


def main() -> int:
    runs: dict[str, Run] = {size.name: _chaos(size) for size in RUNS} | {MUTANTS: _mutants}
    parser = argparse.ArgumentParser(prog="tests.chaos.release", description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--only", choices=list(runs), action="append", help="these, not all")
    given = parser.parse_args()
    results: Path = given.results
    codes: dict[str, int] = {}
    for name in given.only or runs:
        print(f"=== {name}", flush=True)
        about = circumstances(ROOT, results)
        (results / name).mkdir(parents=True, exist_ok=True)
        codes[name], figures = runs[name](results / name)
        keep(ROOT / SUMMARY, name, {**about, "passed": codes[name] == 0, **figures})
    summary = {size.name: _told(results / size.name) for size in RUNS}
    (results / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    for name, code in codes.items():
        print(f"{name:36} {'passed' if code == 0 else f'FAILED (exit {code})'}")
    return int(any(codes.values()))


# --- the runs


def _chaos(size: Size) -> Run:
    def run(results: Path) -> tuple[int, Json]:
        (results / "report.json").unlink(missing_ok=True)  # or an earlier one would tell of this
        options = [part for name, n in size.options.items() for part in (f"--{name}", str(n))]
        command = [sys.executable, "-m", "tests.chaos", *options, "--results", str(results)]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        return code, {"options": size.options, **main_figures(_told(results))}

    return run


def _told(results: Path) -> Json:
    report = results / "report.json"
    return dict(json.loads(report.read_text())) if report.exists() else {}


def main_figures(report: Json) -> Json:
    """Of a run that broke off there are none."""
    return {name: report[name] for name in MAIN_FIGURES if name in report}


def _mutants(results: Path) -> tuple[int, Json]:
    began, said = monotonic(), ""
    command = [sys.executable, "-m", "tests.mutants"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            said += line
    (results / "mutants.log").write_text(said)
    return process.returncode, {"seconds": round(monotonic() - began, 1), **mutants_in(said)}


def mutants_in(said: str) -> Json:
    """How many were caught of how many; nothing when it broke off."""
    found = CAUGHT.search(said)
    return {name: int(number) for name, number in found.groupdict().items()} if found else {}


# --- what is committed


def circumstances(checkout: Path, results: Path) -> Json:
    """What a result is of: the commit, the day, the machine. ``results`` are no change of it."""
    elsewhere = ["--", ".", f":!{SUMMARY}"]
    if results.resolve().is_relative_to(checkout.resolve()):
        elsewhere.append(f":!{results.resolve().relative_to(checkout.resolve())}")
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=all", *elsewhere)
    return {
        "commit": _git(checkout, "rev-parse", "HEAD") + (", modified" if changed else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
    }


def _git(checkout: Path, *order: str) -> str:
    told = subprocess.run(["git", *order], cwd=checkout, capture_output=True, text=True, check=True)
    return told.stdout.strip()


def keep(file: Path, name: str, entry: Json) -> None:
    """Write down what a run came to, in place of what it came to before."""
    kept: Json = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**kept, name: entry}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
