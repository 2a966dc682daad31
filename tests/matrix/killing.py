"""Processes that die, by way of the fork server."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import simplejson

from tests.matrix.cases import Case, Violated
from tests.matrix.fork_server import KILLED, REHEARSED
from tests.matrix.lives import Life
from tests.matrix.stage import Memory

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ForkServer:
    process: "subprocess.Popen[str]"
    memory: Path
    """Where a dying process writes down what its caller knows."""
    log: Path
    """Everything that the processes log until they die."""
    rehearsed: set[str] = field(default_factory=set)
    """Lives, by name."""

    def rehearse(self, life: Life, memory: Memory) -> bool:
        """Play a life once for all its cases; False if that was done before.

        Afterwards the world has changed.
        """
        if life.name in self.rehearsed:
            return False
        self.rehearsed.add(life.name)
        status = self._ordered(life, memory)
        if status != REHEARSED:
            raise Violated(f"the rehearsal ended with {status}")
        return True

    def kill(self, case: Case, memory: Memory) -> None:
        """Play a life until its process dies at the point. Raises Violated if it does not.

        ``memory`` then holds what its caller knew.
        """
        status = self._ordered(case.life, memory, point=asdict(case.point))
        if status != KILLED:
            raise Violated(f"the process ended with {status}, not by dying at the point")
        memory.facts.update(Memory.left_in(self.memory).facts)

    def logged(self) -> str:
        """What was logged since it was asked for last. No process may be playing."""
        logged = self.log.read_text()
        os.truncate(self.log, 0)
        return logged

    def _ordered(self, life: Life, memory: Memory, **more: object) -> int:
        self.memory.unlink(missing_ok=True)
        order = {"life": life.name, "memory": str(self.memory), "facts": memory.facts} | more
        assert self.process.stdin is not None
        self.process.stdin.write(simplejson.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def running_fork_server(folder: Path, environ: Mapping[str, str]) -> Iterator[ForkServer]:
    """Start one with this configuration; it ends when its input does."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.matrix.fork_server", str(folder / "log")],
        cwd=CHECKOUT,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        server = ForkServer(process, folder / "memory.json", folder / "log")
        assert server._line() == "ready"
        yield server
        assert process.stdin is not None
        process.stdin.close()
