"""`.env.example` says exactly what can be set, with the defaults that hold."""

import re

import pytest

from config.settings import Settings
from tests.architecture.source import ROOT

EXAMPLE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
NOT_SETTINGS = {
    "STAND_IN_PORT": "local/environment.py",
    "POSTGRES_PASSWORD": "docker-compose.yml",
    "VALKEY_PASSWORD": "docker-compose.yml",
    "PUBLISH": "docker-compose.yml",
}
"""Read by what starts the product, not by the product: the name, and who reads it."""
NO_DEFAULT = {"DATABASE_URL", "REDIS_URL"}
NEEDED = {"DATABASE_URL": "postgresql://x", "REDIS_URL": "redis://x", "STAND_IN_URL": "http://x"}


def examples(text: str) -> dict[str, str]:
    pairs = EXAMPLE.findall(text)
    assert len(pairs) == len(dict(pairs)), "a variable is listed twice"
    return dict(pairs)


def listed() -> dict[str, str]:
    return examples((ROOT / ".env.example").read_text())


def test_it_lists_every_setting_and_nothing_else() -> None:
    settings = {name.upper() for name in Settings.model_fields}

    assert set(listed()) == settings | set(NOT_SETTINGS)


@pytest.mark.parametrize("name", NOT_SETTINGS)
def test_what_is_no_setting_is_read_by_somebody(name: str) -> None:
    assert name in (ROOT / NOT_SETTINGS[name]).read_text()


def test_the_defaults_in_it_are_those_that_hold() -> None:
    given = {
        name: value
        for name, value in listed().items()
        if value and name not in NO_DEFAULT | set(NOT_SETTINGS) | {"LIGHTNING_NETWORK"}
    }

    assert Settings.load(NEEDED | given) == Settings.load(NEEDED)


def test_the_default_network_is_that_of_a_real_lnbits() -> None:
    real = {"LNBITS_URL": "http://x", "LNBITS_INVOICE_KEY": "k"}

    assert Settings.load(NEEDED | real).lightning_network == listed()["LIGHTNING_NETWORK"]


def test_a_setting_without_a_value_in_it_has_no_default() -> None:
    defaults = Settings.load(NEEDED)
    without = [name for name, value in listed().items() if not value and name not in NOT_SETTINGS]

    for name in without:
        assert name in NEEDED or getattr(defaults, name.lower()) is None, name


def test_a_copy_of_it_changes_nothing() -> None:
    """Every line is a comment, so that `cp .env.example .env` is safe."""
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert all(line.startswith("#") or not line for line in lines)


def test_what_docker_compose_asks_for_is_in_it() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))

    assert asked <= set(listed())


def test_no_secret_is_written_in_it() -> None:
    secret = [name for name in listed() if name.endswith(("_KEY", "_PASSWORD", "_TOKEN"))]

    assert {listed()[name] for name in secret} == {""}


def test_the_reader_finds_a_variable_that_is_missing_or_listed_twice() -> None:
    assert examples("# words\n#A=1\nB=\n") == {"A": "1", "B": ""}
    with pytest.raises(AssertionError, match="twice"):
        examples("#A=1\n#A=2\n")
