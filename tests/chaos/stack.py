# ruff: noqa: TID251 - an entry point
"""``python -m tests.chaos.stack``: two of everything, each process on wires of its own.

``CHAOS_LINKS`` says on which port each process finds PostgreSQL, Valkey and the models
(JSON by process and target); where the two servers really are is written to ``CHAOS_ADDRESSES``.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from local.environment import System, Table
from local.processes import LOOPBACK, Program
from local.supervisor import supervise
from tests.fleet.__main__ import two_of_everything

SERVERS = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey"}
OUTSIDE = {"ANTHROPIC_BASE_URL": "models", "OPENROUTER_BASE_URL": "models"}


def on_wires(system: System, environ: Mapping[str, str]) -> Table:
    """The fleet, where every address is that of a wire. Migrations run without."""
    _tell(Path(environ["CHAOS_ADDRESSES"]), environ)
    links: dict[str, dict[str, int]] = json.loads(environ["CHAOS_LINKS"])
    table = two_of_everything(system, environ)
    return replace(
        table, apps=tuple(_wired(program, links[program.name]) for program in table.apps)
    )


def _tell(addresses: Path, environ: Mapping[str, str]) -> None:
    real = {name: environ[variable] for variable, name in SERVERS.items()}
    ports = {name: urlsplit(url).port for name, url in real.items()}
    draft = addresses.with_suffix(".new")
    draft.write_text(json.dumps(ports | {f"{name}_url": url for name, url in real.items()}))
    draft.rename(addresses)


def _wired(program: Program, ports: Mapping[str, int]) -> Program:
    urls = {
        variable: _at(program.environ[variable], ports[name])
        for variable, name in (SERVERS | OUTSIDE).items()
        if name in ports
    }
    return replace(program, environ={**program.environ, **urls})


def _at(url: str, port: int) -> str:
    """The same address at another port of this machine."""
    before, _, _ = urlsplit(url).netloc.rpartition("@")
    host = f"{LOOPBACK}:{port}"
    return urlsplit(url)._replace(netloc=f"{before}@{host}" if before else host).geturl()


if __name__ == "__main__":
    sys.exit(supervise(os.environ, on_wires))
