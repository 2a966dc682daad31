"""Deployments with other settings, workers that answer at once, and rooms that are full."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from flask import Flask

from app import context
from app.waiting import WaitingRoom
from config.queues import TaskName
from services.toolbox import Toolbox
from tasks import base
from tests.app.contract import CheckedClient, client_of
from tests.support.doorbell import ANSWERS

Build = Callable[..., CheckedClient]


class BusyDoorbell:
    """Workers that answer at once, in threads of their own, as the real ones do."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def ring(self, task: TaskName, row_id: int | None = None) -> None:
        thread = threading.Thread(target=ANSWERS[task], args=(row_id,))
        thread.start()
        self._threads.append(thread)

    def finish(self) -> None:
        while self._threads:
            self._threads.pop().join()


@pytest.fixture
def busy_workers() -> Iterator[BusyDoorbell]:
    workers = BusyDoorbell()
    yield workers
    workers.finish()


@pytest.fixture(scope="session")
def built_webs() -> dict[object, Flask]:
    """An application for each set of other settings: building one costs more than a test does."""
    return {}


@pytest.fixture
def client_with(tools: Toolbox, built_webs: dict[object, Flask]) -> Build:
    """Make a client of a deployment with other settings or collaborators."""
    from app.factory import create_app
    from models import schema

    def build(*, collaborators: dict[str, object] | None = None, **settings: Any) -> CheckedClient:
        changed = tools.settings.model_copy(update=settings)
        ours = tools.with_(settings=changed, **(collaborators or {}))
        base.install(ours)
        what_routes_depend_on = (repr(sorted(settings.items())), ours.bench_payer is None)
        web = built_webs.get(what_routes_depend_on)
        if web is None:
            web = built_webs[what_routes_depend_on] = create_app(ours, schema_revision=schema.HEAD)
        context.install(web, ours)
        return client_of(web)

    return build


@contextmanager
def taken(room: WaitingRoom, seats: int) -> Iterator[None]:
    """Let others sit in so many seats of a waiting room."""
    with ExitStack() as others:
        assert all(others.enter_context(room.seat()) for _ in range(seats))
        yield
