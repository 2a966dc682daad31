"""What every task shares: the toolbox of its process, installed once when the worker starts."""

from services.toolbox import Toolbox


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
