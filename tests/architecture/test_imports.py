"""The contracts of import-linter: kept by the house, and each seen to find what breaks it."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, imported, module, modules, within

RULE = re.compile(r"^(.+)\n-{3,}\n", re.MULTILINE)


@dataclass(frozen=True)
class Plant:
    """A file that breaks one contract, by its name in the report."""

    contract: str
    importer: str
    imported: str

    @property
    def statement(self) -> str:
        return f"import {self.imported}\n"

    @property
    def found_as(self) -> str:
        return f"{self.importer} -> {self.imported}"


DOWN = "Imports point down, and the two doors do not know each other"
HTTP = "Only app speaks HTTP to callers"
CELERY = "Celery only in config.broker, services.doorbell, tasks and workers"
PROTOCOLS = "Only services.toolbox names a concrete gateway"
BLIND = "Gateways know nothing of jobs, tables or settings"
STARTER = "local starts processes: it knows settings and gateways, not what the product does"
PLANTS = [
    Plant(DOWN, "config.planted_up", "models.money"),
    Plant(DOWN, "models.planted_up", "gateways.errors"),
    Plant(DOWN, "gateways.planted_up", "services.errors"),
    Plant(DOWN, "services.planted_up", "tasks.base"),
    Plant(DOWN, "services.planted_app", "app.limits"),
    Plant(DOWN, "app.planted_tasks", "tasks.base"),
    Plant(DOWN, "tasks.planted_app", "app.limits"),
    Plant(DOWN, "tasks.planted_up", "workers.heartbeat"),
    Plant("Workers and web are separate processes", "workers.planted_app", "app.limits"),
    Plant(
        "Nothing in production imports what starts a bench", "services.planted_local", "local.log"
    ),
    Plant(STARTER, "local.planted_services", "services.errors"),
    Plant(HTTP, "services.planted_flask", "flask"),
    Plant(HTTP, "models.planted_marshmallow", "marshmallow"),
    Plant(HTTP, "local.planted_werkzeug", "werkzeug"),
    Plant(CELERY, "services.jobs.planted_celery", "celery"),
    Plant(CELERY, "app.planted_redis", "redis"),
    Plant(PROTOCOLS, "services.money.planted_gateway", "gateways.lightning.lnbits"),
    Plant(PROTOCOLS, "app.planted_gateway", "gateways.llms.anthropic"),
    Plant(PROTOCOLS, "services.money.planted_receivers", "gateways.lnurl.receivers"),
    Plant(PROTOCOLS, "services.money.planted_chain", "gateways.x402.chain"),
    Plant(BLIND, "gateways.planted_settings", "config.settings"),
    Plant(BLIND, "gateways.planted_table", "models.job"),
    Plant(BLIND, "gateways.planted_sql", "sqlalchemy"),
    Plant("Gateways do not know each other", "gateways.llms.planted_prices", "gateways.prices"),
    Plant("Routes, pages and tasks never speak SQL", "app.api.planted_sql", "sqlalchemy"),
    Plant(
        "requests lives in gateways.http and the connections under it",
        "gateways.lightning.planted_requests",
        "requests",
    ),
    Plant("anthropic lives in gateways.llms.anthropic", "services.planted_anthropic", "anthropic"),
    Plant("openai lives in gateways.llms.openai_compatible", "services.planted_openai", "openai"),
    Plant("httpx2 lives in gateways.llms.wire", "gateways.planted_httpx2", "httpx2"),
    Plant("genai_prices lives in gateways.prices.model_rates", "app.planted_rates", "genai_prices"),
    Plant(
        "coincurve lives in the two gateways that read signatures, and signs for the stand-in",
        "services.planted_keys",
        "coincurve",
    ),
    Plant("pycryptodome lives in gateways.evm_addresses", "services.planted_hashes", "Crypto"),
    Plant("cryptography lives in gateways.vault", "services.planted_seals", "cryptography"),
    Plant("x402 lives in gateways.x402.facilitator", "services.planted_x402", "x402"),
    Plant("Migrations are run by models.migrate only", "services.planted_migrations", "alembic"),
]


def lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [linter, "--no-logo", "--no-cache"],
        cwd=checkout,
        env={"COLUMNS": "500"},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )


def test_every_contract_is_kept() -> None:
    report = lint(ROOT)

    assert report.returncode == 0, report.stdout + report.stderr
    assert " 0 broken" in report.stdout


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said about a checkout in which every contract is broken, by contract."""
    checkout = tmp_path_factory.mktemp("planted")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "static")
        shutil.copytree(ROOT / package, checkout / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    for plant in PLANTS:
        (checkout / f"{plant.importer.replace('.', '/')}.py").write_text(plant.statement)
    (checkout / "services/planted_hen.py").write_text("import services.planted_egg\n")
    (checkout / "services/planted_egg.py").write_text("import services.planted_hen\n")
    report = lint(checkout)
    assert report.returncode == 1, report.stdout + report.stderr
    broken = report.stdout.partition("Broken contracts")[2]
    parts = RULE.split(broken)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.found_as)
def test_a_planted_import_is_found(complaints: dict[str, str], plant: Plant) -> None:
    assert plant.found_as in complaints[plant.contract]


def test_a_planted_cycle_is_found(complaints: dict[str, str]) -> None:
    assert "planted_" in complaints["No cycles between neighbours"]


def test_every_contract_has_a_plant(complaints: dict[str, str]) -> None:
    listed = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    names = set(re.findall(r'^name = "(.+)"$', listed, re.MULTILINE))

    assert set(complaints) == names
    assert {plant.contract for plant in PLANTS} | {"No cycles between neighbours"} == names


FOREIGN = ("tests", "bench")
"""Packages of the checkout that the linter is not shown."""


def test_nothing_imports_tests_or_benches() -> None:
    found = [
        found.at(statement)
        for found in modules(*PACKAGES)
        for statement, name in imported(found)
        if within(name, FOREIGN)
    ]

    assert found == []


def test_a_planted_import_of_a_test_would_be_seen() -> None:
    planted = module("services/planted.py", "from tests.support.life import Life")

    assert [name for _, name in imported(planted) if within(name, FOREIGN)]
