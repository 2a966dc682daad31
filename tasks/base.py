"""What every task shares: the toolbox of its process, and what happens to an unexpected error."""

from typing import Any

import structlog
from celery import Task
from structlog.contextvars import bound_contextvars

from services import defects
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)


class _Installed:
    toolbox: Toolbox | None = None


def install(toolbox: Toolbox) -> None:
    """Hand the toolbox to the tasks of this process."""
    _Installed.toolbox = toolbox


def tools() -> Toolbox:
    """The toolbox of this process. Raises RuntimeError in a process that is no worker."""
    if _Installed.toolbox is None:
        raise RuntimeError("no toolbox: tasks run in a worker (workers.celery_app)")
    return _Installed.toolbox


class OnRecord(Task[..., Any]):
    """The base of every task: what a message leads to is logged with the task and its row.

    An error ends it quietly, since the row is due again by itself; Celery would log what the
    driver quotes. Called as a function, it raises.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        row = {"row": args[0]} if args else {}
        with bound_contextvars(task=self.name, **row):
            try:
                return self.run(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - any: nobody above would log it so
                defects.log(logger, error)
                return None
