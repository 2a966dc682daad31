"""A database that was put back to an earlier moment, where it stands."""

from collections.abc import Callable

from services.proof import Proof
from tests.conftest import empty
from tests.support.life import Life
from tests.support.lived import copied, put_back


def forgotten(life: Life, what: Callable[[], object]) -> Life:
    """Let the database forget all that this does; the world outside does not.

    Returns a process that was started after it and has proved nothing yet. ``tests/restored`` has
    the whole of it, with a database of its own; this is for what comes after.
    """
    before = copied(life.tools)
    what()
    empty(life.tools)
    put_back(life.tools, before)
    life.doorbell.rung.clear()
    return another_process(life)


def another_process(life: Life) -> Life:
    """One that has proved nothing of the database so far."""
    return Life(life.tools.with_(proof=Proof()), life.doorbell, life.stand_in)
