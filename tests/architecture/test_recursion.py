"""Nested JSON from a stranger ends in a RecursionError, not in the end of the process.

Some libraries raise Python's limit for everybody when they are imported, and then C code that
follows the nesting runs out of stack.
"""

import subprocess
import sys

from tests.architecture.source import ROOT, modules

LIMIT = 1000
"""Python's own."""
LOADED_LATE = ("anthropic", "openai", "x402.http", "genai_prices", "alembic", "cryptography")
NOT_TO_BE_IMPORTED = {"app.wsgi", "workers.celery_app", "workers.beat"}
"""They read the environment and build the process."""


def test_no_library_of_the_product_raises_the_recursion_limit() -> None:
    packages = ("config", "models", "gateways", "services", "tasks", "app", "workers")
    ours = [found.name for found in modules(*packages) if "migrations" not in found.name]
    names = [name for name in ours if name not in NOT_TO_BE_IMPORTED]
    assert len(names) > 100
    program = (
        "import importlib, sys\n"
        f"for name in {[*names, *LOADED_LATE]!r}: importlib.import_module(name)\n"
        "print(sys.getrecursionlimit())"
    )

    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )

    assert answer.stdout.strip() == str(LIMIT), answer.stderr
