"""When the nemesis was at work, and how long its acts are felt."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.log import Line


@dataclass(frozen=True, kw_only=True)
class Window:
    number: int
    kind: str
    victim: str
    began: float
    mended: float
    """When the nemesis let go, or what it killed answered again."""


def windows_of(lines: Iterable[Line]) -> list[Window]:
    """One for each act, in order."""
    acts: dict[int, Line] = {}
    mended: dict[int, float] = {}
    for line in lines:
        if line["what"] == "act":
            acts[line["number"]] = line
        mended[line["number"]] = max(mended.get(line["number"], 0.0), line["at"])
    return [
        Window(
            number=number,
            kind=act["kind"],
            victim=act["victim"],
            began=act["at"],
            mended=mended[number],
        )
        for number, act in acts.items()
    ]


MODEL_WORKERS = ("worker-models", "worker-models-2")
LOSES_CALLS = frozenset(
    {name + to for name in MODEL_WORKERS for to in ("", ">postgres", ">models")} | {"postgres"}
)
"""Whoever is attacked here may lose a model call: not the doors, nor the doorbell, nor money."""


class Windows:
    """When model calls could be lost: until an act was mended, and a lease longer."""

    def __init__(self, lines: Iterable[Line], lease_seconds: float) -> None:
        self._spans = [
            (window.began, window.mended + lease_seconds + 2)
            for window in windows_of(lines)
            if window.victim in LOSES_CALLS
        ]

    def touch(self, began: float, ended: float) -> bool:
        return any(start <= ended and began <= end for start, end in self._spans)


HURTS_DOORS = frozenset({"stop_postgres", "terminate_backends"})
POSTGRES_BACK_SECONDS = 5.0
DOOR_BACK_SECONDS = 30.0
"""Until a web process that was killed has been started again on a busy machine."""


class DoorWindows:
    """When a door may turn callers away: its process, or its way to PostgreSQL, was attacked."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._windows = windows_of(lines)

    def may_fail(self, door: str, at: float, seconds: float) -> bool:
        """Whether an answer begun then, and so long, may be an error."""
        return any(
            window.began <= at + seconds and at <= end
            for window in self._windows
            if (end := _end_for(door, window)) is not None
        )


def _end_for(door: str, window: Window) -> float | None:
    """When this door works again after an act; None = the act is nothing to it."""
    if window.kind in HURTS_DOORS or window.victim == f"{door}>postgres":
        return window.mended + POSTGRES_BACK_SECONDS
    if window.victim == door:
        return window.mended + DOOR_BACK_SECONDS
    return None
