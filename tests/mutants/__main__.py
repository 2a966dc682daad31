# ruff: noqa: T201 - prints its table
"""``python -m tests.mutants [NAME…]``: plant each defect in a copy of the tree, and see it found.

Without names all of them, and a name may be only begun (``x402``); ``--ci`` the few that every run
of CI tries. Exit 1 if one survives, 2 if one cannot be planted, if tests fail without any, or for
a name of none.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import IN_CI, MUTANTS, Mutant
from tests.mutants.creator_keys import CREATOR_KEY_MUTANTS
from tests.mutants.runs import RUN_MUTANTS
from tests.mutants.x402 import X402_MUTANTS

CHECKOUT = Path(__file__).parents[2]
FAILED = re.compile(r"^FAILED (tests/.+?)(?: - |$)", re.MULTILINE)
ERROR = re.compile(r"^ERROR (tests/.+?)(?: - |$)", re.MULTILINE)
LATE = re.compile(r"^_+ ERROR at teardown of .+?^E +(\S+)", re.MULTILINE | re.DOTALL)
"""The first word that is told of what went wrong after a test."""
SOME_FAILED = 1
NOT_TRIED = 2
EVERY = MUTANTS + X402_MUTANTS + CREATOR_KEY_MUTANTS + RUN_MUTANTS
MINUTES = 10
AT_A_TIME = 2


class DoesNotApply(Exception):
    """The source or a name has changed: the mutant must be told anew."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    caught_by: str | None
    """The first test that failed; None = the mutant lives."""
    seconds: float


def copy_of_the_tree(to: Path) -> None:
    """Copy what git knows or would know, as it lies here."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = CHECKOUT / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)


def plant(mutant: Mutant, tree: Path) -> None:
    """Change the copy. Raises DoesNotApply."""
    for change in mutant.changes:
        file = tree / change.file
        text = file.read_text()
        if text.count(change.old) != 1:
            raise DoesNotApply(f"{mutant.name}: {change.file} has {text.count(change.old)} places")
        file.write_text(text.replace(change.old, change.new))


def run(selection: Iterable[str], tree: Path) -> Verdict:
    """Run a selection in a tree. Raises DoesNotApply when it could not be run at all."""
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:schemathesis", *selection],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=MINUTES * 60,
        check=False,
    )
    found = found_in(result.stdout)
    if found is None and " passed" not in result.stdout:
        raise DoesNotApply(f"nothing was tried:\n{result.stdout[-2000:]}")
    if result.returncode not in {0, SOME_FAILED}:
        raise DoesNotApply(f"pytest ended with {result.returncode}:\n{result.stdout[-2000:]}")
    return Verdict(caught_by=found, seconds=time.monotonic() - began)


def found_in(output: str) -> str | None:
    """Which test found something; None = all is well. Raises DoesNotApply for any other trouble.

    A test that fails is a find, and so is what our own checks of books and logs say after one. A
    server that did not start, or a full disk, is none.
    """
    failed, error = FAILED.search(output), ERROR.search(output)
    if failed is not None or error is None:
        return failed.group(1) if failed else None
    late = LATE.search(output)
    if late is None or late.group(1).rstrip(":") not in {"AssertionError", "assert"}:
        raise DoesNotApply(f"{error.group(1)} could not be tried:\n{output[-2000:]}")
    return error.group(1)


def try_out(mutant: Mutant) -> Verdict:
    """Plant one in a copy of the tree of its own, and look."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy_of_the_tree(Path(folder))
        plant(mutant, Path(folder))
        return run(mutant.caught_by, Path(folder))


def check_without(mutants: Iterable[Mutant]) -> None:
    """Raises DoesNotApply if tests fail in a copy as it is: then what they find says nothing."""
    selections = dict.fromkeys(mutant.caught_by for mutant in mutants)
    with (
        tempfile.TemporaryDirectory(prefix="no-mutant-") as folder,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        copy_of_the_tree(Path(folder))
        for verdict in pool.map(lambda selection: run(selection, Path(folder)), selections):
            if verdict.caught_by is not None:
                raise DoesNotApply(f"{verdict.caught_by} fails without any mutant")


def line(mutant: Mutant, verdict: Verdict) -> str:
    by = verdict.caught_by or "NOTHING: IT LIVES"
    return f"{mutant.name:62} {verdict.seconds:4.0f} s  {by}"


def choose(names: Iterable[str]) -> list[Mutant]:
    """Those whose names begin so; without names all. Raises DoesNotApply for a name of none."""
    wanted = tuple(names)
    for name in wanted:
        if not any(mutant.name.startswith(name) for mutant in EVERY):
            raise DoesNotApply(f"no mutant is called {name}")
    return [mutant for mutant in EVERY if not wanted or mutant.name.startswith(wanted)]


def main(names: list[str]) -> int:
    verdicts: list[Verdict] = []
    try:
        chosen = choose(IN_CI if names == ["--ci"] else names)
        check_without(chosen)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for mutant, verdict in zip(chosen, pool.map(try_out, chosen), strict=True):
                verdicts.append(verdict)
                print(line(mutant, verdict), flush=True)
    except DoesNotApply as problem:
        print(problem)
        return NOT_TRIED
    alive = sum(verdict.caught_by is None for verdict in verdicts)
    print(f"{len(chosen)} mutants, {len(chosen) - alive} caught, {alive} alive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
