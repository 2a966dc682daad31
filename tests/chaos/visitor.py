"""Whoever comes to the doors: asks, is put off, asks again, and writes down what went wrong."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.http import Answer, ask
from tests.chaos.judge import Judge
from tests.chaos.log import Log

PATIENCE_SECONDS = 30.0
GET_PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 3.0
LOOK_SELDOM_SECONDS = 10.0
LONGER_BY = 1.7
"""Whoever looks again and again waits longer each time, up to so long."""

Json = dict[str, Any]


class GaveUp(Exception):
    """The run is over for this visitor."""


@dataclass
class Street:
    """What all visitors share: two doors, the world, and a log."""

    doors: tuple[int, int]
    world: int
    log: Log
    deadline: float = float("inf")
    """By time.time(): when whoever waits for what may rightly take long gives up."""
    last_deadline: float = float("inf")
    """When everybody does: whoever is not excused has waited in vain by then."""
    asked: Counter[str] = field(default_factory=Counter)
    """Requests at our doors, by route."""
    judge: Judge = field(default_factory=Judge)

    def next_pause(self, pause: float) -> float:
        """Longer each time in a crowd; once all is calm the few who are left look soon."""
        is_calm = self.deadline < float("inf")
        return min(LONGER_BY * pause, LOOK_SECONDS if is_calm else LOOK_SELDOM_SECONDS)


@dataclass(kw_only=True)
class Visitor:
    """One of them. ``leave`` is called once, when others may come."""

    street: Street
    door: int
    leave: Callable[[], None]
    its_id: str = ""
    """What a route is not told apart by."""
    state: str = ""
    """How far it had come when it was last told."""
    _has_left: bool = False

    def leave_the_counter(self) -> None:
        """Let the next visitor come; safe to repeat."""
        if not self._has_left:
            self._has_left = True
            self.leave()

    async def live(self) -> None:
        """The whole visit. Raises GaveUp."""
        raise NotImplementedError

    async def ask_door(self, method: str, path: str, body: object = None, **more: Any) -> Answer:
        """At our door; when nobody is there, at the other one from now on."""
        answer = await self.ask_at(self.door, method, path, body, **more)
        if answer.status == 0:
            answer = await self.ask_at(1 - self.door, method, path, body, **more)
        return answer

    async def ask_at(
        self, door: int, method: str, path: str, body: object = None, **more: Any
    ) -> Answer:
        """Every answer that is no success, or slow, is on record."""
        answer = await ask(self.street.doors[door], method, path, body, **more)
        route = f"{method} {path.replace(self.its_id, '{id}') if self.its_id else path}"
        self.street.asked[route] += 1
        if not answer.ok or answer.seconds > 2:
            self.street.log.write_at(
                answer.began,
                "answered",
                door=door,
                route=route,
                status=answer.status,
                code=answer.body.get("code"),
                trouble=answer.trouble,
                seconds=round(answer.seconds, 3),
                retry_after=answer.headers.get("retry-after"),
                job=self.its_id,
            )
        breach = self.street.judge.breach(method, path, route, answer, body)
        if breach:
            self.street.log.write_at(answer.began, "breach", route=route, said=breach[:400])
        return answer

    async def ask_world(self, method: str, path: str, body: object = None, **more: Any) -> Answer:
        """The world is never killed, but it may turn a visitor away as it does with anybody."""
        while True:
            answer = await ask(
                self.street.world, method, path, body, patience=PATIENCE_SECONDS, **more
            )
            if answer.ok:
                return answer
            await self.rest(0.5)

    @property
    def is_excused(self) -> bool:
        """Whether what it waits for may rightly take longer than a run lasts."""
        return False

    async def rest(self, seconds: float) -> None:
        """Raises GaveUp when it is too late to go on."""
        street = self.street
        if time.time() > (street.deadline if self.is_excused else street.last_deadline):
            raise GaveUp
        await asyncio.sleep(seconds)


def wish(answer: Answer) -> float:
    """Seconds until it is asked again: what it asked for, or half a second."""
    return float(answer.headers.get("retry-after", 0.5))
