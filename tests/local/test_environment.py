"""What a local system consists of, by what is set."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.queues import QueueName
from config.settings import STAND_IN_MODEL_KEY, Settings
from local.environment import ADMIN_KEY, ROOT, System, honest_work, read_environment, read_system
from local.processes import StartError
from tests.local.running import ALL_REAL

NO_FILE = {"ENV_FILE": ""}
SERVERS = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://broker"}


def test_with_nothing_set_everything_is_brought_along() -> None:
    system = read_system(NO_FILE)

    assert (system.brings_postgres, system.brings_valkey, system.brings_stand_in) == (
        True,
        True,
        True,
    )


def test_what_is_given_is_not_brought_along() -> None:
    system = read_system(NO_FILE | ALL_REAL | SERVERS)

    assert (system.brings_postgres, system.brings_valkey, system.brings_stand_in) == (
        False,
        False,
        False,
    )


@pytest.mark.parametrize("missing", ["LNBITS_URL", "ANTHROPIC_API_KEY"])
def test_the_stand_in_plays_whatever_is_missing(missing: str) -> None:
    given = {name: value for name, value in ALL_REAL.items() if name != missing}
    if missing == "LNBITS_URL":
        given = {"ANTHROPIC_API_KEY": STAND_IN_MODEL_KEY, "ALLOW_FREE_WORK": "1"}

    assert read_system(NO_FILE | given).brings_stand_in


def test_a_model_of_the_other_provider_needs_the_other_key() -> None:
    assert read_system(NO_FILE | ALL_REAL | {"WORK_MODEL": "some-other-model"}).brings_stand_in


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(StartError) as problem:
        read_system(NO_FILE | {"PORT": "eighty", "EVAL_FEE_SATS": "0"})

    assert problem.value.exit_code == 2
    assert "PORT" in str(problem.value)
    assert "EVAL_FEE_SATS" in str(problem.value)


def test_the_real_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("PORT=1234\nHOST=127.0.0.2\n")

    environ = read_environment({"ENV_FILE": str(file), "PORT": "4321"})

    assert (environ["PORT"], environ["HOST"]) == ("4321", "127.0.0.2")


@pytest.mark.parametrize("text", ["0", "65536", "-1", "x"])
def test_a_stand_in_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StartError, match="STAND_IN_PORT"):
        read_system(NO_FILE | {"STAND_IN_PORT": text}).stand_in_port()


def test_given_the_following_port_is_taken_then_the_stand_in_gets_another(taken_port: int) -> None:
    system = read_system(NO_FILE | {"PORT": str(taken_port - 1)})

    assert system.stand_in_port() != taken_port


def real_system() -> System:
    return read_system(NO_FILE | ALL_REAL | SERVERS)


def test_only_the_money_worker_is_given_the_key_that_can_pay() -> None:
    system = real_system()

    table = honest_work(system, system.environ)

    holders = [app.name for app in (table.migrate, *table.apps) if ADMIN_KEY in app.environ]
    assert holders == ["worker-money"]


def test_each_worker_is_told_its_role() -> None:
    system = real_system()

    roles = {
        app.name: app.environ.get("WORKER_ROLE") for app in honest_work(system, system.environ).apps
    }

    assert roles == {"web": None, "worker-money": "money", "worker-models": "models", "beat": None}
    for name in ("worker-money", "worker-models"):
        line = re.search(rf"^{name}: (.*)$", (ROOT / "Procfile").read_text(), re.MULTILINE)
        assert line
        assert line[1].startswith(f"env WORKER_ROLE={roles[name]} ")


def test_every_queue_is_served_by_a_process_and_no_process_serves_another() -> None:
    system = real_system()

    served = [
        queue
        for app in honest_work(system, system.environ).apps
        if "-Q" in app.argv
        for queue in app.argv[app.argv.index("-Q") + 1].split(",")
    ]

    assert sorted(served) == sorted(QueueName)


def procfile() -> dict[str, list[str]]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    entries = (line.partition(": ") for line in lines if re.match(r"[a-z-]+: ", line))
    return {name: without_environment(command.split()) for name, _, command in entries}


def without_environment(command: list[str]) -> list[str]:
    """What follows ``env NAME=value``."""
    return command[2:] if command[0] == "env" else command


def only_variable_parts_differ(here: list[str], there: list[str]) -> set[str]:
    """The options that only one of two command lines has, addresses and places aside."""
    return {
        part
        for part in set(here) ^ set(there)
        if not re.search(r"[/$]|^-[qWm]$|^\d+\.|:\d+$|^ignore:", part)
    }


def test_the_procfile_and_the_bench_run_the_same_processes() -> None:
    system = real_system()
    written = procfile()

    for app in honest_work(system, system.environ).apps:
        assert only_variable_parts_differ(list(app.argv[1:]), written[app.name]) == set()


def compose() -> dict[str, dict[str, object]]:
    services: dict[str, dict[str, object]] = yaml.safe_load(
        (ROOT / "docker-compose.yml").read_text()
    )["services"]
    return services


def environment_of(service: str) -> dict[str, str]:
    found = compose()[service]["environment"]
    assert isinstance(found, dict)
    return found


def test_compose_gives_the_key_that_can_pay_to_the_money_worker_only() -> None:
    ours = [name for name, service in compose().items() if "build" in service]

    holders = [name for name in ours if environment_of(name)[ADMIN_KEY]]

    assert holders == ["worker-money"]
    assert [name for name in ours if "WORKER_ROLE" in environment_of(name)] == holders
    assert set(ours) == {"migrate", "web", "worker-money", "worker-models", "beat"}


def test_compose_and_the_procfile_run_the_same_workers() -> None:
    written = procfile()

    for name in ("worker-money", "worker-models"):
        assert compose()[name]["command"] == written[name]


def test_compose_asks_postgresql_where_the_server_of_its_initialisation_does_not_listen() -> None:
    health: Any = compose()["postgres"]["healthcheck"]

    asked = health["test"]
    assert asked[:2] == ["CMD", "pg_isready"]
    assert asked[asked.index("--host") + 1] == "127.0.0.1"


def test_every_setting_is_in_the_example_file() -> None:
    names = set(re.findall(r"^#([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    elsewhere = {"STAND_IN_PORT", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "PUBLISH"}
    assert names == {name.upper() for name in Settings.model_fields} | elsewhere


def test_the_example_file_states_the_defaults() -> None:
    lines = re.findall(r"^#([A-Z0-9_]+)=(\S.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    stated = {name: value for name, value in lines if name.lower() in Settings.model_fields}
    # A default of its own without Lightning, and addresses that nobody could guess.
    for name in ("LIGHTNING_NETWORK", "DATABASE_URL", "REDIS_URL"):
        del stated[name]

    assert Settings.load(stated | SERVERS | {"STAND_IN_URL": "http://s"}) == Settings.load(
        SERVERS | {"STAND_IN_URL": "http://s"}
    )


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=3.11,<3.14"
    assert "FITTING = ((3, 11), (3, 14))" in (ROOT / "local/bootstrap.py").read_text()
