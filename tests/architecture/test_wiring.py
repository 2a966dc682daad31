"""What no process would notice until it is needed: every name is served, sent and described."""

import re
import shlex
from collections.abc import Mapping

import pytest

from config.broker import make_celery
from config.queues import EVERY, QUEUE_OF, QueueName, TaskName
from config.settings import Settings
from local.environment import System, honest_work
from services.operate.ticks import DUTIES
from tasks import instant, jobs, money, ticks
from tests.architecture.source import ROOT, called_name, calls, imported, modules, within
from tests.support.doorbell import ANSWERS
from workers.schedule import beat_schedule

Commands = Mapping[str, list[str]]

NOWHERE = {
    "DATABASE_URL": "postgresql://nowhere",
    "REDIS_URL": "redis://nowhere",
    "STAND_IN_URL": "http://nowhere",
}


def of_the_procfile() -> Commands:
    lines = (ROOT / "Procfile").read_text().splitlines()
    found = dict(re.findall(r"^([a-z-]+): (.+)$", "\n".join(lines), re.MULTILINE))
    return {name: shlex.split(command) for name, command in found.items()}


def of_docker_compose() -> Commands:
    """Service by service; a service without a command runs the image's."""
    text = (ROOT / "docker-compose.yml").read_text().partition("\nservices:\n")[2]
    services = dict(re.findall(r"^  ([a-z-]+):\n((?:(?:    .*)?\n)+)", text, re.MULTILINE))
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


@pytest.mark.parametrize("place", PLACES)
def test_every_queue_is_served_by_some_process(place: str) -> None:
    commands = PLACES[place]()

    served = [
        queue for words in commands.values() for queue in (option(words, "-Q") or "").split(",")
    ]

    assert sorted(filter(None, served)) == sorted(queue.value for queue in QueueName)


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


def test_every_task_name_has_a_task_and_every_task_a_name() -> None:
    assert all((instant, jobs, money, ticks))
    celery = make_celery(Settings.load(NOWHERE))
    celery.finalize(auto=True)

    registered = {name for name in celery.tasks if not name.startswith("celery.")}

    assert registered == {name.value for name in TaskName}


def test_the_worker_imports_every_module_that_has_tasks() -> None:
    with_tasks = {
        module.name
        for module in modules("tasks")
        if any(called_name(call) == "shared_task" for call in calls(module))
    }
    (worker,) = (m for m in modules("workers") if m.name == "workers.celery_app")

    assert {name for _, name in imported(worker) if within(name, with_tasks)} == with_tasks


def test_every_task_has_a_queue() -> None:
    assert set(QUEUE_OF) == set(TaskName)


def test_everything_on_the_schedule_is_a_task_on_its_queue_that_soon_expires() -> None:
    schedule = beat_schedule()

    assert {entry["task"] for entry in schedule.values()} == {name.value for name in EVERY}
    for entry in schedule.values():
        assert entry["options"]["queue"] == QUEUE_OF[TaskName(entry["task"])].value
        assert entry["options"]["expires"] >= entry["schedule"].total_seconds()
        assert entry["options"]["expires"] >= 60, "by beat's clock: a worker's may be ahead"


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
