"""`.env.example` says exactly what can be set, with the defaults that hold."""

import re
from collections.abc import Callable, Iterable

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


EXAMPLES = (ROOT / ".env.example").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def listed() -> dict[str, str]:
    return examples(EXAMPLES)


def misnamed(text: str) -> set[str]:
    """Settings that are not listed, and what is listed and read by nobody."""
    settings = {name.upper() for name in Settings.model_fields}
    return set(examples(text)) ^ (settings | set(NOT_SETTINGS))


def misstated(text: str) -> set[str]:
    """Settings whose default is another than is listed; without a value: that have a default."""
    told = {name: value for name, value in examples(text).items() if name not in NOT_SETTINGS}
    given = {
        name: value
        for name, value in told.items()
        if value and name not in NO_DEFAULT | {"LIGHTNING_NETWORK"}
    }
    without = {name for name, value in told.items() if not value and name not in NEEDED}
    holding, said = Settings.load(NEEDED), Settings.load(NEEDED | given)
    return {
        *(name for name in given if getattr(said, name.lower()) != getattr(holding, name.lower())),
        *(name for name in without if getattr(holding, name.lower()) is not None),
    }


def uncommented(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def unexplained(compose: str) -> set[str]:
    """What it asks for and no line explains."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", compose)) - set(listed())


def secrets_told(text: str) -> set[str]:
    secret = ("_KEY", "_KEYS", "_PASSWORD", "_TOKEN")
    return {name for name, value in examples(text).items() if value and name.endswith(secret)}


def test_it_lists_every_setting_and_nothing_else() -> None:
    assert misnamed(EXAMPLES) == set()


@pytest.mark.parametrize("name", NOT_SETTINGS)
def test_what_is_no_setting_is_read_by_somebody(name: str) -> None:
    assert name in (ROOT / NOT_SETTINGS[name]).read_text()


def test_the_defaults_in_it_are_those_that_hold_and_what_has_no_value_has_none() -> None:
    assert misstated(EXAMPLES) == set()


def test_the_default_network_is_that_of_a_real_lnbits() -> None:
    real = {"LNBITS_URL": "http://x", "LNBITS_INVOICE_KEY": "k"}

    assert Settings.load(NEEDED | real).lightning_network == listed()["LIGHTNING_NETWORK"]


def test_a_copy_of_it_changes_nothing() -> None:
    """Every line is a comment, so that `cp .env.example .env` is safe."""
    assert uncommented(EXAMPLES) == []


def test_what_docker_compose_asks_for_is_in_it() -> None:
    assert unexplained(COMPOSE) == set()


def test_no_secret_is_written_in_it() -> None:
    assert secrets_told(EXAMPLES) == set()


@pytest.mark.parametrize(
    ("judge", "text", "said", "instead", "found"),
    [
        (misnamed, EXAMPLES, "#MARGIN_PCT=25\n", "", "MARGIN_PCT"),
        (misnamed, EXAMPLES, "#MARGIN_PCT=25\n", "#MARGIN_PCT=25\n#PLANTED=\n", "PLANTED"),
        (misstated, EXAMPLES, "#MARGIN_PCT=25\n", "#MARGIN_PCT=26\n", "MARGIN_PCT"),
        (misstated, EXAMPLES, "#MARGIN_PCT=25\n", "#MARGIN_PCT=\n", "MARGIN_PCT"),
        (uncommented, EXAMPLES, "#MARGIN_PCT=25\n", "MARGIN_PCT=25\n", "MARGIN_PCT=25"),
        (unexplained, COMPOSE, "${VALKEY_PASSWORD", "${PLANTED_PASSWORD", "PLANTED_PASSWORD"),
        (secrets_told, EXAMPLES, "#OPS_TOKEN=\n", "#OPS_TOKEN=letmein\n", "OPS_TOKEN"),
    ],
)
def test_what_is_wrong_in_it_would_be_seen(
    judge: Callable[[str], Iterable[str]], text: str, said: str, instead: str, found: str
) -> None:
    assert said in text
    assert list(judge(text.replace(said, instead))) == [found]


def test_the_reader_finds_a_variable_that_is_missing_or_listed_twice() -> None:
    assert examples("# words\n#A=1\nB=\n") == {"A": "1", "B": ""}
    with pytest.raises(AssertionError, match="twice"):
        examples("#A=1\n#A=2\n")
