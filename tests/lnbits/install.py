"""Install a real LNbits into a cached environment of its own: ``python -m tests.lnbits.install``.

Only the standard library, so that any Python can start it.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.environments import CannotInstall, Wanted, announce, python_of

LNBITS = Wanted(
    name="lnbits-1.6.2",
    lock=Path(__file__).with_name("requirements.lock"),
    # what LNbits 1.6.2 declares
    fitting=("3.12", "3.11", "3.10"),
    proof="import lnbits.app, bolt11, uvicorn, uvloop",
    # importing LNbits makes its data folder, wherever it stands
    scratch={"LNBITS_DATA_FOLDER": "proof"},
)


def lnbits_python(environ: Mapping[str, str]) -> Path:
    """Interpreter of the environment that holds LNbits, installed first if need be.

    Raises CannotInstall.
    """
    return python_of(LNBITS, environ)


def main() -> int:
    """Install, and print the interpreter's path."""
    try:
        python = lnbits_python(os.environ)  # noqa: TID251 - an entry point
    except CannotInstall as error:
        announce(str(error))
        return 1
    sys.stdout.write(f"{python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
