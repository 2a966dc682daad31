# ruff: noqa: TID251 - an entry point
"""``make fuzz``: the tests of schemathesis with many examples, from a seed that is printed."""

import os
import secrets
import sys

import pytest

MANY = 1000
TEST = "tests/contract/test_schemathesis.py"


def main() -> int:
    """MAX_EXAMPLES of every operation; SEED repeats a run that was seen before."""
    examples = os.environ.get("MAX_EXAMPLES") or str(MANY)
    seed = os.environ.get("SEED") or str(secrets.randbits(32))
    os.environ.update(FUZZ_EXAMPLES=examples, FUZZ_SEED=seed)
    again = f"make fuzz SEED={seed} MAX_EXAMPLES={examples}"
    sys.stdout.write(f"{again}  # does all of this again\n")
    sys.stdout.flush()
    failed = pytest.main(["-q", "-n", os.environ.get("WORKERS") or "2", TEST])
    if failed:
        sys.stdout.write(f"To see this again: {again}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
