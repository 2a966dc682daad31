# ruff: noqa: TID251, T201 - an entry point
"""``python -m tests.matrix.fork_server``: plays lives in processes that die at a point.

Everything is imported once; each case is a fork that makes its own connections. One line of JSON in
for every case, one line out: the exit status of the process that played it.
"""

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import simplejson
from sqlalchemy.orm import Session

from config import logs
from config.settings import Settings
from local.stand_in.testing import StandInClient
from models.creator import Provider
from services import toolbox
from services.toolbox import Role, Toolbox
from tests.matrix.cases import make_stage, play
from tests.matrix.failpoints import Failpoints, Point, WatchedDatabase
from tests.matrix.lives import LIVES
from tests.matrix.stage import Memory

KILLED = 137
NOT_REACHED = 3
BROKE = 4


def serve(settings: Settings) -> None:
    built = toolbox.build(settings, Role.MONEY)
    for model in (settings.eval_model, settings.work_model):
        built.language_model(model)  # loads the SDK, connects to nothing
    built.creator_model(Provider.OPENROUTER, "a key")
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _die_playing(built, simplejson.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _die_playing(built: Toolbox, case: dict[str, Any]) -> None:
    """Never returns."""
    try:
        _play(built, case)
    except BaseException:  # noqa: BLE001 - told by the exit code
        traceback.print_exc()
        os._exit(BROKE)
    os._exit(NOT_REACHED)


def _play(built: Toolbox, case: dict[str, Any]) -> None:
    target = Point(**case["point"])

    def die(point: Point, _: Session | None) -> None:
        if point == target:
            os._exit(KILLED)

    failpoints = Failpoints(die)
    settings = built.settings
    assert settings.stand_in_url is not None
    stage = make_stage(
        built,
        WatchedDatabase(settings.database_url, failpoints),
        failpoints,
        StandInClient(settings.stand_in_url),
        Memory(Path(case["memory"]), case["facts"]),
    )
    play(next(life for life in LIVES if life.name == case["life"]), stage)


if __name__ == "__main__":
    logs.set_up("json")
    logging.getLogger().handlers[:] = [logging.NullHandler()]  # stdout is for the exit codes
    serve(Settings.load(os.environ))
