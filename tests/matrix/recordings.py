"""How lives go when nothing happens: played once for all workers of a run, which share the work."""

import fcntl
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.cases import Action, Bench, Recording, record
from tests.matrix.evidence import Situation
from tests.matrix.failpoints import Point
from tests.matrix.lives import LIVES, Life


@dataclass(frozen=True, kw_only=True)
class News:
    """What a life adds to those before it."""

    points: list[Point]
    """Those in actions that no earlier life has done in the same situation."""
    firsts: frozenset[Point]
    """Those of a name that no action before has reached, in this life or an earlier one."""


class Recordings:
    """Every life as it goes when nothing happens, by name; played when first asked for."""

    def __init__(self, bench: Bench, shared: Path) -> None:
        self._bench = bench
        self._shared = shared
        """Where the workers of one run leave what they have played, for each other."""
        self._made: dict[str, Recording] = {}
        self._news: dict[str, News] = {}
        self._known: set[Situation] = set()
        self._names: set[tuple[str, str]] = set()

    def of(self, life: Life) -> Recording:
        self._play_as_far_as(life)
        return self._made[life.name]

    def news(self, life: Life) -> News:
        """An action belongs to the first life that has it, so earlier lives are played as well."""
        self._play_as_far_as(life)
        return self._news[life.name]

    def reached(self) -> frozenset[str]:
        """The names of all points of all lives."""
        self._play_as_far_as(LIVES[-1])
        return frozenset(name for _, name in self._names)

    def _play_as_far_as(self, last: Life) -> None:
        wanted = [life for life in LIVES[: LIVES.index(last) + 1] if life.name not in self._made]
        for waits in (False, True):  # what others are playing is waited for when all else is there
            for life in wanted:
                self._play(life, waits=waits)
        for life in wanted:
            self._made[life.name] = pickle.loads(self._file(life).read_bytes())
            self._news[life.name] = self._new_in(self._made[life.name])

    def _play(self, life: Life, *, waits: bool) -> None:
        """Play it, unless it was played. Without ``waits``, leave it to whoever plays it now."""
        file = self._file(life)
        with locked(file.with_suffix(".lock"), waits=waits) as is_ours:
            if is_ours and not file.exists():
                recording = pickle.dumps(record(self._bench, life))
                unfinished = file.with_suffix(".new")
                unfinished.write_bytes(recording)
                unfinished.rename(file)

    def _file(self, life: Life) -> Path:
        return self._shared / f"{LIVES.index(life)}.recording"

    def _new_in(self, recording: Recording) -> News:
        points = list(self._points_of_new_ways(recording.actions))
        return News(points=points, firsts=frozenset(self._new_names(points)))

    def _points_of_new_ways(self, actions: list[Action]) -> Iterator[Point]:
        for action in actions:
            if action.way not in self._known:
                self._known.add(action.way)
                yield from action.points

    def _new_names(self, points: list[Point]) -> Iterator[Point]:
        for point in points:
            if (point.task, point.name) not in self._names:
                self._names.add((point.task, point.name))
                yield point


@contextmanager
def locked(file: Path, *, waits: bool) -> Iterator[bool]:
    """Hold a lock, which ends with its process; False if another holds it and we do not wait."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
