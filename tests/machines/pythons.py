# ruff: noqa: TID251 - looks at this machine
"""The interpreters of this machine that the product promises to run on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

WANTED = ("3.11", "3.12", "3.13")


def found_pythons() -> dict[str, str]:
    """One interpreter that really runs by version."""
    return {version: pythons(version)[0] for version in WANTED if pythons(version)}


@cache
def pythons(version: str) -> list[str]:
    """All that really run; the PATH's before those of pyenv and uv."""
    return [path for path in _places(version) if _is(path, version)]


def _places(version: str) -> Iterator[str]:
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        place = shutil.which(f"python{version}", path=folder)
        if place:
            yield place
    managers = (
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions",
        Path.home() / ".local/share/uv/python",
    )
    for manager in managers:
        yield from (str(path) for path in sorted(manager.glob(f"*{version}*/bin/python{version}")))


def _is(place: str, version: str) -> bool:
    """Whether it starts: a shim of a version manager may lead nowhere."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [place, "-c", program], check=False, capture_output=True, text=True, timeout=30
        )
    except OSError:
        return False
    return answer.stdout.strip() == version
