# ruff: noqa: TID251 - looks at this machine
"""The interpreters of this machine that the product promises to run on, and who can start them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WANTED = ("3.11", "3.12", "3.13")
INSIDE = (
    'mount --bind "$2" "$3" && mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir -p "$2"'
    ' && mount --move "$3" "$2" && shift 3 && exec "$@"'
)
"""In a mount namespace of its own: what lies below a closed folder is reachable at its place."""


@dataclass(frozen=True)
class Interpreter:
    path: str
    before: Sequence[str] = ()
    """What a command is started by, as root, so that its user finds the interpreter."""


def as_user(uid: int) -> list[str]:
    """What starts a command as somebody who is in no group; nothing for 0, which is ourselves."""
    if not uid:
        return []
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]


def reachable(version: str, uid: int, folder: Path) -> Interpreter:
    """One of this version that a user can start. ``folder`` has to outlive it."""
    for path in pythons(version):
        if _starts([*as_user(uid), path]):
            return Interpreter(path)
    path = pythons(version)[-1]
    closed = next(
        above for above in reversed(Path(path).parents) if not above.stat().st_mode & 0o001
    )
    opened = closed / Path(path).relative_to(closed).parts[0]
    place = folder / "opened"
    place.mkdir()
    places = map(str, (closed, opened, place))
    return Interpreter(path, ("unshare", "--mount", "sh", "-c", INSIDE, "sh", *places))


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
        *_where_those_on_the_path_are_from(),  # their managers', in an empty home too
    )
    for manager in managers:
        yield from (str(path) for path in sorted(manager.glob(f"*{version}*/bin/python{version}")))


@cache
def _where_those_on_the_path_are_from() -> list[Path]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = (shutil.which("python3", path=folder) for folder in folders)
    program = "import sys; print(sys.base_prefix)"
    prefixes = [_says([place, "-c", program]).strip() for place in found if place]
    return [Path(prefix).parent for prefix in dict.fromkeys([sys.base_prefix, *prefixes]) if prefix]


def _is(place: str, version: str) -> bool:
    """A shim of a version manager may lead nowhere, or to another."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _says([place, "-c", program]).strip() == version


def _starts(interpreter: list[str]) -> bool:
    return _says([*interpreter, "-c", "print('started')"]).strip() == "started"


def _says(command: list[str]) -> str:
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=30
        ).stdout
    except OSError:
        return ""
