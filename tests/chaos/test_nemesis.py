"""What the nemesis does really meets something."""

import signal
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from tests.chaos import log
from tests.chaos.fleet import PROCESSES, Fleet
from tests.chaos.links import Mode
from tests.chaos.log import Line, Log
from tests.chaos.nemesis import TRIES, Act, Kind, Nemesis
from tests.chaos.windows import windows_of


class Ruins:
    """A fleet in which only these processes run, and a COMMIT goes over these wires only."""

    def __init__(self, *running: str, busy: tuple[str, ...] = ()) -> None:
        self.wires = self
        self.signals: list[tuple[str, signal.Signals]] = []
        self._running = running
        self._busy = busy
        self._modes: dict[str, Mode] = {}

    def pid(self, process: str) -> int | None:
        return 7 if process in self._running else None

    def signal(self, process: str, number: signal.Signals) -> int | None:
        pid = self.pid(process)
        self.signals += [(process, number)] if pid else []
        return pid

    def change(self, link: str, mode: Mode, seconds: float = 0.0) -> Mode:
        before = self._modes.get(link, Mode.PASS)
        is_met = mode is Mode.CUT_COMMIT and link in self._busy
        self._modes[link] = Mode.PASS if is_met else mode
        return before


def rage(fleet: Ruins, folder: Path, kind: Kind, victim: str, **more: Any) -> list[Line]:
    """Have one act carried out, however often it is tried; what is in the log then."""
    act = Act(number=1, kind=kind, victim=victim, **more)
    with closing(Log(folder / "acts")) as acts:
        nemesis = Nemesis(cast(Fleet, fleet), [act], acts, lambda: 1.0, at_most_every=0.0)
        nemesis.start()
        nemesis._thread.join(60)
        nemesis.stop()
    return log.read(folder / "acts")


def victims(lines: list[Line]) -> list[str]:
    return [line["victim"] for line in lines if line["what"] == "act"]


def test_whoever_does_not_run_is_not_killed_and_the_next_one_is(tmp_path: Path) -> None:
    fleet = Ruins(PROCESSES[2])

    lines = rage(fleet, tmp_path, Kind.KILL, PROCESSES[0])

    assert fleet.signals == [(PROCESSES[2], signal.SIGKILL)]
    assert victims(lines) == list(PROCESSES[:3])
    assert [window.victim for window in windows_of(lines)] == [PROCESSES[2]]


def test_whoever_is_frozen_runs_and_goes_on_again(tmp_path: Path) -> None:
    fleet = Ruins(PROCESSES[0])

    rage(fleet, tmp_path, Kind.FREEZE, PROCESSES[-1], seconds=0.1)

    assert fleet.signals == [(PROCESSES[0], signal.SIGSTOP), (PROCESSES[0], signal.SIGCONT)]


def test_an_act_that_never_meets_anything_ends_and_is_none(tmp_path: Path) -> None:
    lines = rage(Ruins(), tmp_path, Kind.KILL, PROCESSES[0])

    assert len(victims(lines)) == TRIES
    assert windows_of(lines) == []


def test_a_cut_that_met_no_commit_is_tried_on_the_next_wire(tmp_path: Path) -> None:
    fleet = Ruins(busy=("web-2>postgres",))

    lines = rage(fleet, tmp_path, Kind.CUT_COMMIT, "web>postgres", seconds=0.1)

    assert victims(lines) == ["web>postgres", "web-2>postgres"]
    assert [window.victim for window in windows_of(lines)] == ["web-2>postgres"]
