"""What no process would notice until it is needed: every name is served, sent and described."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from config.broker import make_celery
from config.queues import EVERY, QUEUE_OF, QueueName, TaskName
from config.settings import Settings
from local.environment import System, honest_work
from services.operate.ticks import DUTIES
from tasks import instant, jobs, money, ticks
from tests.architecture.source import (
    ROOT,
    Module,
    called_name,
    calls,
    imported,
    module,
    modules,
)
from tests.support.doorbell import ANSWERS
from workers.schedule import beat_schedule

Commands = Mapping[str, list[str]]

NOWHERE = {
    "DATABASE_URL": "postgresql://nowhere",
    "REDIS_URL": "redis://nowhere",
    "STAND_IN_URL": "http://nowhere",
}


def of_the_procfile() -> Commands:
    return in_a_procfile((ROOT / "Procfile").read_text())


def in_a_procfile(text: str) -> Commands:
    found = dict(re.findall(r"^([a-z-]+): (.+)$", text, re.MULTILINE))
    return {name: shlex.split(command) for name, command in found.items()}


def of_docker_compose() -> Commands:
    return in_a_compose_file((ROOT / "docker-compose.yml").read_text())


def in_a_compose_file(text: str) -> Commands:
    """Service by service; a service without a command runs the image's."""
    listed = text.partition("\nservices:\n")[2]
    services = dict(re.findall(r"^  ([a-z-]+):\n((?:(?:    .*)?\n)+)", listed, re.MULTILINE))
    return {
        name: _items(command.group(1))
        for name, body in services.items()
        if (command := re.search(r"^    command: \[(.+)\]$", body, re.MULTILINE))
    }


def _items(flow_list: str) -> list[str]:
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s,]+)', flow_list)]


def of_make_run() -> Commands:
    system = System(settings=Settings.load(NOWHERE), environ={})
    table = honest_work(system, {})
    return {program.name: list(program.argv) for program in (table.migrate, *table.apps)}


def of_the_dockerfile() -> list[str]:
    text = (ROOT / "Dockerfile").read_text()
    command = re.findall(r'^CMD \["sh", "-c", "(.+)"\]$', text, re.MULTILINE)[-1]
    return shlex.split(command.replace('\\"', '"'))


PLACES = {
    "Procfile": of_the_procfile,
    "docker-compose.yml": of_docker_compose,
    "make run": of_make_run,
}


def option(command: list[str], *names: str) -> str | None:
    """What follows one of these in a command line."""
    return next((command[n + 1] for n, word in enumerate(command) if word in names), None)


def served(commands: Commands) -> list[str]:
    """Every queue as often as a process takes from it."""
    asked = (option(words, "-Q") or "" for words in commands.values())
    return sorted(queue for queues in asked for queue in queues.split(",") if queue)


QUEUES = sorted(queue.value for queue in QueueName)


@pytest.mark.parametrize("place", PLACES)
def test_every_queue_is_served_by_one_kind_of_process(place: str) -> None:
    assert served(PLACES[place]()) == QUEUES


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("ticks,money", "ticks"),
        ("ticks,money", "ticks,money,planted"),
        ("models,hooks", "models,hooks,money"),
        ("-Q models,hooks", ""),
        ("worker-models: ", "#worker-models: "),
    ],
)
def test_a_procfile_that_does_not_serve_the_queues_would_be_seen(said: str, instead: str) -> None:
    text = (ROOT / "Procfile").read_text()

    assert text.count(said) == 1
    assert served(in_a_procfile(text.replace(said, instead))) != QUEUES


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("ticks,money", "ticks"),
        ("models,hooks", "models,hooks,money"),
        ('-Q, "models,hooks", ', ""),
    ],
)
def test_a_compose_file_that_does_not_serve_them_would_be_seen(said: str, instead: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert text.count(said) == 1
    assert served(in_a_compose_file(text.replace(said, instead))) != QUEUES


@pytest.mark.parametrize("name", ["worker-money", "worker-models", "beat"])
@pytest.mark.parametrize("asked", ["-A", "-Q", "--pool", "--concurrency", "-n"])
def test_a_process_is_started_alike_everywhere(name: str, asked: str) -> None:
    said = {place: option(read()[name], asked) for place, read in PLACES.items()}

    assert len(set(said.values())) == 1, said


@pytest.mark.parametrize(
    "asked",
    ["--worker-class", "--workers", "--threads", "--graceful-timeout", "--limit-request-line"],
)
def test_web_is_started_alike_everywhere(asked: str) -> None:
    said = {
        "Procfile": option(of_the_procfile()["web"], asked),
        "Dockerfile": option(of_the_dockerfile(), asked),
        "make run": option(of_make_run()["web"], asked),
    }

    assert len(set(said.values())) == 1, said
    assert said["Procfile"] is not None


def test_the_http_server_takes_addresses_as_long_as_it_is_told() -> None:
    from app.serving import LONGEST_ADDRESS

    assert option(of_the_procfile()["web"], "--limit-request-line") == str(LONGEST_ADDRESS)


def test_more_requests_can_be_served_than_may_wait() -> None:
    from app.waiting import ASKING, IN_LINE, SEATS, THREADS

    assert option(of_the_procfile()["web"], "--threads") == str(THREADS)
    assert SEATS + ASKING + IN_LINE <= THREADS * 3 // 4


def test_every_place_starts_the_same_processes() -> None:
    ours = {"web", "worker-money", "worker-models", "beat"}

    assert set(of_the_procfile()) == ours | {"release"}
    assert set(of_make_run()) == ours | {"migrate"}
    assert set(of_docker_compose()) >= {"worker-money", "worker-models", "beat", "migrate"}


def test_only_the_money_worker_is_given_the_key_that_pays() -> None:
    system = System(settings=Settings.load(NOWHERE), environ={})
    table = honest_work(system, {"LNBITS_ADMIN_KEY": "key"})

    having = [p.name for p in (table.migrate, *table.apps) if "LNBITS_ADMIN_KEY" in p.environ]

    assert having == ["worker-money"]


def registered(celery: Celery) -> set[str]:
    celery.finalize(auto=True)
    return {name for name in celery.tasks if not name.startswith("celery.")}


TASKS = {name.value for name in TaskName}


def test_every_task_name_has_a_task_and_every_task_a_name() -> None:
    assert all((instant, jobs, money, ticks))

    assert registered(make_celery(Settings.load(NOWHERE))) == TASKS


def test_a_task_without_a_name_and_a_name_without_a_task_would_be_seen() -> None:
    celery = make_celery(Settings.load(NOWHERE))
    celery.task(name="planted.task", shared=False)(registered)
    there = registered(celery)
    celery.tasks.pop("dispatch")

    assert there - TASKS == {"planted.task"}
    assert TASKS - registered(celery) == {"dispatch"}


def never_imported(worker: Module, tasks: Iterable[Module]) -> set[str]:
    """Modules that have tasks, and that the worker does not know."""
    with_tasks = {
        module.name
        for module in tasks
        if any(called_name(call) == "shared_task" for call in calls(module))
    }
    return with_tasks - {name for _, name in imported(worker)}


def the_worker() -> Module:
    return next(module for module in modules("workers") if module.name == "workers.celery_app")


def test_the_worker_imports_every_module_that_has_tasks() -> None:
    assert never_imported(the_worker(), modules("tasks")) == set()


def test_a_module_of_tasks_that_the_worker_does_not_import_would_be_seen() -> None:
    planted = module("tasks/planted.py", "@shared_task(name='x')\ndef x(): ...")

    assert never_imported(the_worker(), [planted]) == {"tasks.planted"}


def test_every_task_has_a_queue() -> None:
    assert set(QUEUE_OF) == set(TaskName)


Schedule = dict[str, dict[str, Any]]


def astray(schedule: Schedule) -> list[str]:
    """What is missing on a schedule, is no duty, goes to another queue, or is of no use soon."""
    sent = {entry["task"] for entry in schedule.values()}
    duties = {name.value for name in EVERY}
    wrong = [entry["task"] for entry in schedule.values() if not _arrives_in_time(entry)]
    return sorted({*(sent ^ duties), *wrong})


def _arrives_in_time(entry: dict[str, Any]) -> bool:
    """On its queue, and not worthless before the next: by beat's clock, a worker's may be ahead."""
    options = entry["options"]
    return (
        entry["task"] in TASKS
        and options["queue"] == QUEUE_OF[TaskName(entry["task"])].value
        and options["expires"] >= max(60, entry["schedule"].total_seconds())
    )


def test_everything_on_the_schedule_is_a_task_on_its_queue_that_soon_expires() -> None:
    assert astray(beat_schedule()) == []


def _drop(schedule: Schedule) -> None:
    del schedule["price.refresh"]


def _misspell(schedule: Schedule) -> None:
    schedule["price.refresh"]["task"] = "price.refersh"


def _send_what_is_rung(schedule: Schedule) -> None:
    schedule["planted"] = schedule["price.refresh"] | {"task": TaskName.SEND_PAYOUT.value}


def _send_elsewhere(schedule: Schedule) -> None:
    schedule["price.refresh"]["options"]["queue"] = QueueName.MODELS.value


def _expire_before_a_minute(schedule: Schedule) -> None:
    schedule["price.refresh"]["options"]["expires"] = 59


def _expire_before_the_next(schedule: Schedule) -> None:
    schedule["price.refresh"]["schedule"] = timedelta(days=1)


@pytest.mark.parametrize(
    "plant",
    [
        _drop,
        _misspell,
        _send_what_is_rung,
        _send_elsewhere,
        _expire_before_a_minute,
        _expire_before_the_next,
    ],
)
def test_a_schedule_that_is_wrong_would_be_seen(plant: Callable[[Schedule], None]) -> None:
    schedule = beat_schedule()
    plant(schedule)

    assert astray(schedule) != []


def test_every_duty_is_on_the_schedule_and_every_scheduled_name_a_duty() -> None:
    assert set(DUTIES) == set(EVERY)


def test_every_task_is_either_a_duty_or_rung_for_a_row() -> None:
    assert set(ANSWERS) | set(EVERY) == set(TaskName)
    assert set(ANSWERS) & set(EVERY) == set()


def test_the_reader_of_commands_sees_what_is_missing() -> None:
    assert option(["celery", "-Q", "ticks"], "-Q") == "ticks"
    assert option(["celery"], "-Q") is None
    assert _items('celery, -n, "money@%h", -Q, "ticks,money"') == [
        *("celery", "-n", "money@%h", "-Q", "ticks,money")
    ]
    assert option(of_docker_compose()["worker-money"], "-Q") == "ticks,money"
