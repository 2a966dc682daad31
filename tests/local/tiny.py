# ruff: noqa: TID251, T201 - an entry point
"""The smallest product that the supervisor can run: real gunicorn, real Celery, nothing of ours."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from celery import Celery
from celery.signals import beat_init, worker_ready

STAND_FOR = {
    "models.migrate": "tests.local.tiny_migrate",
    "workers.celery_app": "tests.local.tiny:celery",
    "workers.beat": "tests.local.tiny:celery",
    "app.wsgi:app": "tests.local.tiny:wsgi",
}
"""What takes the place of the product's modules; every other argument stays as it is."""

DONE_FILE = "slow-work-is-done"

celery = Celery("tiny", broker=os.environ.get("REDIS_URL", "memory://"))
celery.conf.update(
    task_default_queue="models",
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    beat_schedule={"tick": {"task": "tick", "schedule": timedelta(seconds=60)}},
)


def wsgi(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answers everything with its own process id."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


@celery.task(name="slow", shared=False)
def slow(seconds: float) -> None:
    """Takes its time, says so, and leaves a file when it is done."""
    print("slow work begins", file=sys.stderr, flush=True)
    threading.Event().wait(seconds)
    print("slow work is done", file=sys.stderr, flush=True)
    Path(os.environ["DATA_DIR"], DONE_FILE).touch()


@celery.task(name="tick", shared=False)
def tick() -> None:
    """Does nothing."""


@worker_ready.connect
def begin_slow_work(sender: object, **_: object) -> None:
    """One worker begins with work, when the test wants some."""
    seconds = os.environ.get("SLOW_SECONDS")
    if seconds and str(getattr(sender, "hostname", "")).startswith("models@"):
        slow.delay(float(seconds))


@beat_init.connect
def say_ready(**_: object) -> None:
    """As the product's beat does."""
    print("beat ready", file=sys.stderr, flush=True)


def main() -> int:
    """Run the product's own table of processes with these modules in it."""
    # Here, because the processes above have no need of it.
    from local.environment import System, Table, honest_work
    from local.processes import Program
    from local.supervisor import supervise

    def tiny(program: Program) -> Program:
        return replace(program, argv=[STAND_FOR.get(part, part) for part in program.argv])

    def table(system: System, environ: Mapping[str, str]) -> Table:
        real = honest_work(system, environ)
        return Table(migrate=tiny(real.migrate), apps=tuple(tiny(program) for program in real.apps))

    return supervise(os.environ, table, judged_by=lambda _system: None)


if __name__ == "__main__":
    sys.exit(main())
