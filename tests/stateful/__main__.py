# ruff: noqa: TID251 - an entry point
"""``make stateful``: many lives of jobs, from a seed that is printed."""

import os
import secrets
import sys

import pytest

MANY = 100
TEST = "tests/stateful/test_lifecycle.py"


def main() -> int:
    """EXAMPLES of every opening; SEED repeats a run that was seen before."""
    examples = os.environ.get("EXAMPLES") or str(MANY)
    seed = os.environ.get("SEED") or str(secrets.randbits(32))
    os.environ.update(STATEFUL_EXAMPLES=examples, STATEFUL_SEED=seed)
    again = f"make stateful SEED={seed} EXAMPLES={examples}"
    sys.stdout.write(f"{again}  # does all of this again\n")
    sys.stdout.flush()
    workers = os.environ.get("WORKERS") or "2"
    failed = pytest.main(["-q", "-n", workers, "-p", "no:schemathesis", TEST])
    if failed:
        sys.stdout.write(f"To see this again: {again}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
