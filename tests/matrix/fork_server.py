# ruff: noqa: TID251, T201 - an entry point
"""``python -m tests.matrix.fork_server LOG``: plays lives in processes that die at a point.

Everything is imported once, and a life is rehearsed before its first case: what a process learns
about SQL and libraries is learned by all that are forked then. Each case is a fork that makes its
own connections, with tools that nobody has used. One line of JSON in for every case, one line out:
the exit status of the process that played it.
"""

import logging
import os
import sys
import threading
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
from tests.matrix.cases import make_stage, nothing, play
from tests.matrix.failpoints import Failpoints, OnPoint, Point, WatchedDatabase
from tests.matrix.lives import LIVES
from tests.matrix.stage import Memory

REHEARSED = 0
KILLED = 137
NOT_REACHED = 3
BROKE = 4
THREAD_SECONDS = 30.0


class ForkServer:
    """What is loaded and learned before a fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failpoints = Failpoints(nothing)
        self._database = WatchedDatabase(settings.database_url, self._failpoints)
        self._unused = self._build()

    def serve(self) -> None:
        print("ready", flush=True)
        for line in sys.stdin:
            order = simplejson.loads(line)
            print(self._killed(order) if "point" in order else self._rehearse(order), flush=True)

    def _build(self) -> Toolbox:
        built = toolbox.build(self._settings, Role.MONEY)
        for model in (self._settings.eval_model, self._settings.work_model):
            built.language_model(model)  # loads the SDK, connects to nothing
        built.creator_model(Provider.OPENROUTER, "a key")
        return built

    def _rehearse(self, order: dict[str, Any]) -> int:
        """Play a life in this very process, and keep no thread and no connection of it."""
        try:
            self._play(self._build(), order, nothing)
        except Exception:  # noqa: BLE001 - told by the code
            traceback.print_exc()
            return BROKE
        self._database.close()
        for thread in set(threading.enumerate()) - {threading.current_thread()}:
            thread.join(THREAD_SECONDS)
        return REHEARSED if threading.active_count() == 1 else BROKE

    def _killed(self, order: dict[str, Any]) -> int:
        """How the process ended that should have died at the point."""
        child = os.fork()
        if child == 0:
            self._die_playing(order)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def _die_playing(self, order: dict[str, Any]) -> None:
        """Never returns."""
        target = Point(**order["point"])

        def die(point: Point, _: Session | None) -> None:
            if point == target:
                os._exit(KILLED)

        try:
            self._play(self._unused, order, die)
        except BaseException:  # noqa: BLE001 - told by the exit code
            traceback.print_exc()
            os._exit(BROKE)
        os._exit(NOT_REACHED)

    def _play(self, built: Toolbox, order: dict[str, Any], on_point: OnPoint) -> None:
        assert self._settings.stand_in_url is not None
        self._failpoints.restart(on_point)
        stage = make_stage(
            built,
            self._database,
            self._failpoints,
            StandInClient(self._settings.stand_in_url),
            Memory(Path(order["memory"]), order["facts"]),
        )
        play(next(life for life in LIVES if life.name == order["life"]), stage)


if __name__ == "__main__":
    logs.set_up("json")
    root, log = logging.getLogger(), logging.FileHandler(sys.argv[1])
    log.setFormatter(root.handlers[0].formatter)
    root.handlers[:] = [log]  # stdout is for the exit codes
    ForkServer(Settings.load(os.environ)).serve()
