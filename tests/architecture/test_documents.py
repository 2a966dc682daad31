"""What docs/ takes from the code is fresh, and what is drawn is what holds."""

import json
import re
from pathlib import Path

import pytest
import yaml

from app import openapi
from models import diagram
from models.lifecycle import ARROWS, JobState
from tests.architecture.source import ROOT


def test_the_lifecycle_page_is_drawn_from_the_code() -> None:
    written = (ROOT / "docs/job-lifecycle.md").read_text()

    assert written == diagram.page(), "run `make docs`"


def test_the_openapi_document_is_made_from_the_code() -> None:
    written = json.loads((ROOT / "docs/openapi.json").read_text())

    assert written == openapi.with_defaults(), "run `make openapi`"


def test_the_page_shows_every_state_and_every_arrow() -> None:
    page = diagram.page()

    for state in JobState:
        assert f"| `{state.value}` |" in page
    for arrow in ARROWS:
        source = "[*]" if arrow.source is None else arrow.source.value
        assert f"    {source} --> {arrow.target.value}: {arrow.because}\n" in page


def test_no_label_breaks_the_diagram() -> None:
    """A colon, a semicolon or a bracket would end the label for Mermaid."""
    for arrow in ARROWS:
        assert re.fullmatch(r"[\w ,.'-]+", arrow.because), arrow


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_test_that_a_page_names_as_its_proof_exists(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


def test_every_command_that_a_page_names_as_its_proof_is_one_of_ci() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    ci = (ROOT / ".ci/run").read_text()
    commands = re.findall(r"^\d+\. `(tests/[\w/]+)`", page, re.MULTILINE)

    assert commands
    for command in commands:
        assert re.search(rf"^(suite|beside) \w+ {command}\b", ci, re.MULTILINE), command


def test_every_compose_command_of_a_page_names_a_service_and_what_it_can_run() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    commands = re.findall(
        r"`docker compose (?:exec|run)(?: -[\w-]+)* ([\w-]+)(?: python -m ([\w.]+))?", page
    )

    assert {module for _, module in commands} >= {"workers.reconcile", "workers.owner_moves"}
    for service, module in commands:
        assert service in services
        assert not module or (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


def test_each_part_that_can_die_has_a_proof() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    table = page.partition("## When a part dies")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    proofs = re.findall(r"^(\d+)\. `tests/", table, re.MULTILINE)

    assert len(rows) >= 13
    for row in rows:
        cited = re.findall(r"\d+", row.rstrip(" |").rpartition("|")[2])
        assert cited, row
        assert set(cited) <= set(proofs), row


def test_the_makefile_knows_how_to_make_them() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert "-m models.diagram > docs/job-lifecycle.md" in makefile
    assert "-m app.openapi > docs/openapi.json" in makefile
