# ruff: noqa: TID251 - an entry point
"""``python -m tests.fleet``: the product as ``make run`` starts it, with two of every process.

``SECOND_PORT`` is where the second web process listens.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace

from local.environment import System, Table, honest_work
from local.processes import LOOPBACK, HttpProbe, Program
from local.supervisor import supervise

SECOND = "-2"


def two_of_everything(system: System, environ: Mapping[str, str]) -> Table:
    """Every process once more, with nothing changed but what two cannot share."""
    table = honest_work(system, environ)
    second_port = int(environ["SECOND_PORT"])
    seconds = [_second(program, system.settings.port, second_port) for program in table.apps]
    return replace(table, apps=(*table.apps, *seconds))


def _second(program: Program, port: int, second_port: int) -> Program:
    """Ports, names of workers and schedule files end differently; all else is the same."""
    ready = program.ready_line
    return replace(
        program,
        name=program.name + SECOND,
        argv=[_for_second(part, port, second_port) for part in program.argv],
        ready_line=ready and re.compile(ready.pattern.replace("@", f"{SECOND}@")),
        probe=program.probe and HttpProbe(LOOPBACK, second_port, "/api/healthz"),
    )


def _for_second(part: str, port: int, second_port: int) -> str:
    if part.endswith("@%h"):
        return part.replace("@", f"{SECOND}@")
    if part.endswith("/celerybeat-schedule"):
        return part + SECOND
    return part.replace(f":{port}", f":{second_port}")


if __name__ == "__main__":
    sys.exit(supervise(os.environ, two_of_everything))
