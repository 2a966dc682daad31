"""Points where a process may die, by construction: around every transaction and every call outside.

``watch`` wraps all of a toolbox, whatever it holds: a new transaction, gateway or method is a point
without anybody having to remember.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from models.database import Database
from services.toolbox import Toolbox

NOT_OUTSIDE = frozenset(
    {"settings", "database", "leases", "proof", "model_rates", "webhook_token", "vault"}
    | {"networks"}
)
"""What a toolbox holds that calls nobody. All else is watched, and the database in its own way."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One moment in a life: in which action, at which boundary, reached for which time in it."""

    action: int
    task: str
    """What the action does, by name; the number alone tells it from others."""
    name: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.task}[{self.action}] {self.name}#{self.occurrence}"


class OutOfOrder(AssertionError):
    """Something outside was called, or another transaction begun, while one was open."""


OnPoint = Callable[[Point, Session | None], None]
"""Gets the open session at ``before_commit``; whatever it raises is raised at the point."""


def _nothing() -> None:
    pass


class Failpoints:
    """Numbers the points of one process's life. Outside an action there are none."""

    def __init__(self, on_point: OnPoint) -> None:
        self._on_point = on_point
        self._after_action: Callable[[], None] = _nothing
        self._lock = threading.Lock()
        self._actions = 0
        self._task: str | None = None
        self._reached: Counter[str] = Counter()
        self._open = threading.local()

    def restart(self, on_point: OnPoint, after_action: Callable[[], None] | None = None) -> None:
        """Be as a process that has just started."""
        self._on_point, self._after_action = on_point, after_action or _nothing
        self._actions, self._task = 0, None

    @contextmanager
    def action(self, task: str) -> Iterator[int]:
        """Everything inside belongs to one action; yields its number. Actions do not nest."""
        with self._lock:
            assert self._task is None, "an action within an action"
            self._task, number = task, self._actions
            self._actions += 1
            self._reached.clear()
        try:
            yield number
        finally:
            with self._lock:
                self._task = None
            self._after_action()

    def reach(self, name: str, session: Session | None = None) -> None:
        """Be at a point; called from any thread."""
        with self._lock:
            if self._task is None:
                return
            self._reached[name] += 1
            point = Point(
                action=self._actions - 1,
                task=self._task,
                name=name,
                occurrence=self._reached[name],
            )
        self._on_point(point, session)

    def leave(self, name: str) -> None:
        """Be about to go outside, or into a transaction. Raises OutOfOrder inside one."""
        if getattr(self._open, "name", None) is not None:
            raise OutOfOrder(f"{name} inside the transaction {self._open.name}")
        self.reach(name)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Know that this thread has a transaction open."""
        self._open.name = name
        try:
            yield
        finally:
            self._open.name = None


class WatchedDatabase(Database):
    """A Database with three points in every transaction."""

    def __init__(self, url: str, failpoints: Failpoints, *, connections: int = 10) -> None:
        super().__init__(url, connections=connections)
        self._failpoints = failpoints

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        self._failpoints.leave(f"{name}:begin")
        with self._failpoints.inside(name), super().transaction(name) as session:
            yield session
            self._failpoints.reach(f"{name}:before_commit", session)
        self._failpoints.reach(f"{name}:after_commit")

    @contextmanager
    def reading(self, name: str) -> Iterator[Session]:
        self._failpoints.leave(f"{name}:begin")
        with self._failpoints.inside(name), super().reading(name) as session:
            yield session


class Watched:
    """Any collaborator, with a point before and after every call of it."""

    def __init__(self, name: str, inner: Any, failpoints: Failpoints) -> None:
        self._name = name
        self._inner = inner
        self._failpoints = failpoints

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._inner, attribute)
        if not callable(value):
            return value
        return partial(self._call, f"{self._name}.{attribute}", value)

    def _call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._failpoints.leave(f"{name}:before")
        result = method(*args, **kwargs)
        self._failpoints.reach(f"{name}:after")
        return result


def watched(name: str, value: Any, failpoints: Failpoints) -> Any:
    """A collaborator, a tuple of some, or what makes one when called, with points around calls."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(watched(f"{name}.{item.name}", item, failpoints) for item in value)
    if callable(value):  # making one is no call outside; what is made is watched
        return lambda *args: watched(name, value(*args), failpoints)
    return Watched(name, value, failpoints)


def watch(tools: Toolbox, database: WatchedDatabase, failpoints: Failpoints) -> Toolbox:
    """The same tools with points around all that they do."""
    outside = {
        field.name: watched(field.name, getattr(tools, field.name), failpoints)
        for field in fields(Toolbox)
        if field.name not in NOT_OUTSIDE
    }
    return tools.with_(**outside, database=database)
