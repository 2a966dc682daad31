"""When the nemesis was at work, and how long its acts are felt."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.evidence import Evidence
from tests.chaos.log import Line
from tests.chaos.standstill import standstills


@dataclass(frozen=True, kw_only=True)
class Window:
    number: int
    kind: str
    victim: str
    began: float
    mended: float
    """When the nemesis let go, or what it killed answered again."""


def windows_of(lines: Iterable[Line]) -> list[Window]:
    """One for each act that met something, in order; of one that was tried again the last try."""
    acts: dict[int, Line] = {}
    mended: dict[int, float] = {}
    missed: Counter[int] = Counter()
    for line in lines:
        number = line["number"]
        if line["what"] == "act":
            acts[number] = line
            missed[number] -= 1
        missed[number] += line["what"] == "met_nothing"
        mended[number] = max(mended.get(number, 0.0), line["at"])
    return [
        Window(
            number=number,
            kind=act["kind"],
            victim=act["victim"],
            began=act["at"],
            mended=mended[number],
        )
        for number, act in acts.items()
        if missed[number] < 0
    ]


MODEL_WORKERS = ("worker-models", "worker-models-2")
LOSES_CALLS = frozenset(
    {name + to for name in MODEL_WORKERS for to in ("", ">postgres", ">models")} | {"postgres"}
)
"""Whoever is attacked here may lose a model call: not the doors, nor the doorbell, nor money."""


ONLY_SLOW = frozenset({"link_delay", "link_trickle"})
"""What loses nothing unless it lasts: heartbeats come late, and they come."""


class Windows:
    """When model calls could be lost: until an act was mended or the machine stood no longer still,
    and a lease longer.
    """

    def __init__(self, evidence: Evidence) -> None:
        acts = [
            (window.began, window.mended)
            for window in windows_of(evidence.acts)
            if _loses_calls(window, evidence.lease_seconds)
        ]
        self._spans = [
            (began, ended + evidence.lease_seconds + 2)
            for began, ended in [*acts, *standstills(evidence.callers)]
        ]

    def touch(self, began: float, ended: float) -> bool:
        return any(start <= ended and began <= end for start, end in self._spans)


def _loses_calls(window: Window, lease_seconds: float) -> bool:
    """A claim of five slow answers and a heartbeat for each of four tables take half of a lease."""
    lasted = window.mended - window.began
    is_harmless = window.kind in ONLY_SLOW and lasted <= lease_seconds / 2
    return window.victim in LOSES_CALLS and not is_harmless


HURTS_DOORS = frozenset({"stop_postgres", "terminate_backends"})
POSTGRES_BACK_SECONDS = 5.0
LOCKED_SECONDS = 15.0
"""Until PostgreSQL ends a transaction that nobody goes on with."""
DOOR_BACK_SECONDS = 30.0
"""Until a web process that was killed has been started again on a busy machine."""


class DoorWindows:
    """When a door may turn callers away: its process, or its way to PostgreSQL, was attacked.

    Or the whole machine stood still.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._windows = windows_of(evidence.acts)
        self._standstills = standstills(evidence.callers)

    def may_fail(self, door: str, at: float, seconds: float) -> bool:
        """Whether an answer begun then, and so long, may be an error."""
        spans = [(window.began, _end_for(door, window)) for window in self._windows]
        spans += [(began, ended + POSTGRES_BACK_SECONDS) for began, ended in self._standstills]
        return any(end is not None and began <= at + seconds and at <= end for began, end in spans)

    def may_hold_a_row(self, at: float, seconds: float) -> bool:
        """Whether somebody stood still, or was cut off from PostgreSQL, with a lock perhaps."""
        return any(
            window.began <= at + seconds and at <= window.mended + LOCKED_SECONDS
            for window in self._windows
            if window.kind == "freeze" or window.victim.endswith(">postgres")
        )


def _end_for(door: str, window: Window) -> float | None:
    """When this door works again after an act; None = the act is nothing to it."""
    if window.kind in HURTS_DOORS or window.victim == f"{door}>postgres":
        return window.mended + POSTGRES_BACK_SECONDS
    if window.victim == door:
        return window.mended + DOOR_BACK_SECONDS
    return None
