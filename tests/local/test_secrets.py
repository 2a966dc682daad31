"""What `make run` makes for instant resources: once, for our eyes only, and never in production."""

import base64
import stat
from pathlib import Path

import pytest

from local.data_dir import DataDir
from local.environment import OPS_TOKEN, VAULT_KEYS, honest_work, read_system
from local.supervisor import OPS_TOKEN_FILE, VAULT_KEYS_FILE, kept_secrets
from tests.local.running import ALL_REAL

REAL = {
    **ALL_REAL,
    "ENV_FILE": "",
    "DATABASE_URL": "postgresql://db/x",
    "REDIS_URL": "redis://broker",
}


def test_they_are_made_once_and_are_the_same_at_the_next_start(folder: Path) -> None:
    with DataDir(folder / "data") as data:
        first = kept_secrets(data, {})
    with DataDir(folder / "data") as data:
        second = kept_secrets(data, {})

    assert first == second
    assert set(first) == {VAULT_KEYS, OPS_TOKEN}
    assert len(base64.urlsafe_b64decode(first[VAULT_KEYS] + "=")) == 32


def test_nobody_else_may_read_them(data: DataDir) -> None:
    kept_secrets(data, {})

    for name in (VAULT_KEYS_FILE, OPS_TOKEN_FILE):
        assert stat.S_IMODE((data.path / name).stat().st_mode) == 0o600


def test_what_is_given_is_not_made(data: DataDir) -> None:
    made = kept_secrets(data, {VAULT_KEYS: "given", OPS_TOKEN: ""})

    assert set(made) == {OPS_TOKEN}
    assert not (data.path / VAULT_KEYS_FILE).exists()


@pytest.mark.parametrize(("app_env", "makes"), [("development", True), ("production", False)])
def test_in_production_none_are_made(app_env: str, *, makes: bool) -> None:
    production = {"APP_ENV": app_env, "BTC_PRICE_USD_FALLBACK": "90000"}

    assert read_system(REAL | production).makes_secrets is makes


def test_each_process_is_given_only_what_it_needs() -> None:
    system = read_system(REAL)
    table = honest_work(system, {VAULT_KEYS: "ring", OPS_TOKEN: "token"})
    programs = (table.migrate, *table.apps)

    holders = {
        name: [program.name for program in programs if name in program.environ]
        for name in (VAULT_KEYS, OPS_TOKEN)
    }

    assert holders == {
        VAULT_KEYS: ["web", "worker-money", "worker-models"],
        OPS_TOKEN: ["web"],
    }
