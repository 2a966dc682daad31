"""Nested JSON from a stranger is refused before it is followed, and never ends the process.

Some libraries raise Python's limit for everybody when they are imported, and then C code that
follows the nesting runs out of stack.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.architecture.source import PRODUCTION, ROOT, Module, calls, module, modules

LIMIT = 1000
"""Python's own."""
LOADED_LATE = ("anthropic", "openai", "x402.http", "genai_prices", "alembic", "cryptography")
NOT_TO_BE_IMPORTED = {"app.wsgi", "workers.celery_app", "workers.beat"}
"""They read the environment and build the process."""
READS_STRANGERS = ("gateways", "services", "tasks", "app", "workers")


def parsed_by_hand(found: Module) -> list[str]:
    """Where ``json.loads`` itself is called, as this code spells it."""
    names = {call: ast.unparse(call.func) for call in calls(found)}
    return [found.at(call) for call, name in names.items() if name in {"json.loads", "json.load"}]


def test_json_is_read_where_its_nesting_is_looked_at() -> None:
    places = [place for found in modules(*READS_STRANGERS) for place in parsed_by_hand(found)]

    assert [place.partition(":")[0] for place in places] == ["gateways/json_text.py"]


def test_json_that_is_parsed_by_hand_would_be_seen() -> None:
    assert parsed_by_hand(module("app/x.py", "import json\njson.loads('1')\n")) == ["app/x.py:2"]


def limit_after_importing(names: Iterable[str], place: Path) -> str:
    """What a process of its own says when it has imported all of these."""
    program = (
        "import importlib, sys\n"
        f"for name in {[*names]!r}: importlib.import_module(name)\n"
        "print(sys.getrecursionlimit())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    return answer.stdout.strip() or answer.stderr


def test_no_library_of_the_product_raises_the_recursion_limit() -> None:
    ours = [found.name for found in modules(*PRODUCTION) if "migrations" not in found.name]
    names = [name for name in ours if name not in NOT_TO_BE_IMPORTED]
    assert len(names) > 100

    assert limit_after_importing([*names, *LOADED_LATE], ROOT) == str(LIMIT)


def test_a_library_that_raises_it_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import sys\nsys.setrecursionlimit(1001)\n")

    assert limit_after_importing(["json", "planted"], tmp_path) == "1001"


def test_what_cannot_be_imported_would_be_seen(tmp_path: Path) -> None:
    assert "ModuleNotFoundError" in limit_after_importing(["planted"], tmp_path)
