"""``python3 local/bootstrap.py [--dev]``: make ``.venv`` as the lock files say.

Standard library only, and a syntax that too old a Python still reads, to be told so in a sentence.
Called before every `make` target that needs the environment: when all is in place it costs a blink.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
TOOLS = ROOT / ".boot"
STAMP = VENV / "installed.json"
RUN_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
UV_LOCK = ROOT / "local" / "uv.lock"
QUIET_PIP = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore")
FITTING = ((3, 11), (3, 14))
"""From this version, up to but without that one."""


class SetupError(Exception):
    """The environment cannot be made; the message is a sentence for the person at the terminal."""


def main(arguments: list[str]) -> int:
    """0 when ``.venv`` is complete. Any number of these may run at once."""
    options = _options(arguments)
    try:
        _use_fitting_python(arguments)
        TOOLS.mkdir(exist_ok=True)
        with (TOOLS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _ensure(dev=options.dev)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The environment cannot be made here: {error}.", file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Install what Honest Work needs into .venv.")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    return parser.parse_args(arguments)


def _use_fitting_python(arguments: list[str]) -> None:
    """Go on in a Python that fits, if this one does not and another is at hand."""
    if FITTING[0] <= sys.version_info[:2] < FITTING[1]:
        return
    for name in ("python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found and _succeeds([found, "-c", "pass"]):
            os.execv(found, [found, __file__, *arguments])  # noqa: S606
    raise SetupError(
        f"Honest Work needs Python 3.11, 3.12 or 3.13 and this is {_python_version()}: "
        "install one of them, or name it with `make PYTHON=…`."
    )


def _ensure(*, dev: bool) -> None:
    stamp = _read_stamp()
    if _is_satisfied(stamp, dev=dev):
        return
    lock = DEV_LOCK if dev or stamp.get(DEV_LOCK) else RUN_LOCK
    began_at = time.monotonic()
    _say(f"Installing {lock} into .venv …")
    STAMP.unlink(missing_ok=True)
    if stamp.get("place", str(VENV)) != str(VENV):  # moved: its scripts name the old place
        shutil.rmtree(VENV)
    is_new = not VENV.exists()
    try:
        _install(ROOT / lock)
    except SetupError as error:
        if is_new:
            shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(_sentence(str(error))) from error
    _write_stamp(dev=lock == DEV_LOCK)
    _say(f"Installed in {time.monotonic() - began_at:.1f} s.")


def _read_stamp() -> dict[str, str]:
    """What was installed completely, or nothing."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def _is_satisfied(stamp: dict[str, str], *, dev: bool) -> bool:
    """Whether what is there will do. The locks of a development environment include the others."""
    wanted = [RUN_LOCK, DEV_LOCK] if dev else [RUN_LOCK]
    return (
        all(stamp.get(name) == _digest(name) for name in wanted)
        and stamp.get("python") == _python_version()
        and stamp.get("place") == str(VENV)
        and os.access(VENV_PYTHON, os.X_OK)
    )


def _write_stamp(*, dev: bool) -> None:
    names = [RUN_LOCK, DEV_LOCK] if dev else [RUN_LOCK]
    facts = {name: _digest(name) for name in names}
    facts.update(python=_python_version(), place=str(VENV))
    draft = STAMP.with_suffix(".new")
    draft.write_text(json.dumps(facts, indent=1))
    draft.rename(STAMP)


def _digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def _python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _install(lock: Path) -> None:
    """With uv, which takes seconds; if that does not work, with pip."""
    problems: list[str] = []
    for way in (_install_with_uv, _install_with_pip):
        try:
            way(lock)
        except SetupError as error:
            problems.append(str(error))
        else:
            return
    raise SetupError("\n".join(problems))


def _sentence(problems: str) -> str:
    """Say plainly what the tools' last words mean, when that is known."""
    if "No space left on device" in problems or "os error 28" in problems:
        return f"The disk of {ROOT} is full: an installation needs about 1 GB."
    found = re.search(r"Because (\S+)==(\S+) has no\s+wheels\s+with", problems)
    if found:
        machine = f"{sys.platform} {platform.machine()}, Python {_python_version()}"
        return (
            f"There is no wheel of {found.group(1)} {found.group(2)} for this machine ({machine}): "
            "try another Python with `make run PYTHON=…`, or the containers of docker-compose.yml."
        )
    return f"Nothing could be installed, neither with uv nor with pip:\n{problems}"


def _install_with_uv(lock: Path) -> None:
    uv = _find_uv()
    if not _is_our_venv():
        shutil.rmtree(VENV, ignore_errors=True)
        _run_uv(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, VENV)
    _run_uv(
        uv,
        *("pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode"),
        *("--python", VENV_PYTHON, lock),
    )


def _find_uv() -> Path:
    """Our own, fetched once by pip and checked by its hash; without any pip, one on the PATH."""
    own = TOOLS / "bin" / "uv"
    if own.exists() and _succeeds([own, "--version"]):
        return own
    if _has_pip():
        shutil.rmtree(own.parent, ignore_errors=True)
        target = ["--upgrade", "--target", str(TOOLS), "--require-hashes", "-r", str(UV_LOCK)]
        _run([sys.executable, "-m", "pip", "install", *QUIET_PIP, *target])
        return own
    found = shutil.which("uv")
    if found:
        return Path(found)
    raise SetupError("There is no uv, and no pip that could fetch it.")


def _run_uv(uv: Path, *arguments: str | Path) -> None:
    """With the system's certificates first: behind a company's proxy only those are good."""
    environ = dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_NO_CONFIG="1", UV_LINK_MODE="copy")
    environ.pop("VIRTUAL_ENV", None)
    try:
        _run([uv, "--system-certs", *arguments], environ)
    except SetupError:
        _run([uv, *arguments], environ)


def _install_with_pip(lock: Path) -> None:
    if _has_pip():
        if not _is_our_venv():
            shutil.rmtree(VENV, ignore_errors=True)
            _run([sys.executable, "-m", "venv", "--without-pip", VENV])
        pip = [sys.executable, "-m", "pip", "--python", str(VENV_PYTHON)]
    elif _succeeds([sys.executable, "-c", "import venv, ensurepip"]):
        shutil.rmtree(VENV, ignore_errors=True)
        _run([sys.executable, "-m", "venv", VENV])
        pip = [str(VENV_PYTHON), "-m", "pip"]
    else:
        raise SetupError(
            "This Python has neither pip nor ensurepip, so nothing can be installed: "
            "install your system's python3-pip or python3-venv."
        )
    _run([*pip, "install", *QUIET_PIP, "--no-deps", "--require-hashes", "-r", lock])


def _is_our_venv() -> bool:
    """Whether there is a ``.venv`` that works and is of this Python version."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _answer([VENV_PYTHON, "-c", program]) == _python_version()


def _has_pip() -> bool:
    return _succeeds([sys.executable, "-m", "pip", "--version"])


def _succeeds(command: list[str | Path]) -> bool:
    return _answer(command) is not None


def _answer(command: list[str | Path]) -> str | None:
    """What it prints; None when it cannot be run or fails."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _run(command: list[str | Path], environ: dict[str, str] | None = None) -> None:
    """Raises SetupError with the last words of a command that failed."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    except OSError as error:
        raise SetupError(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode != 0:
        last_words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        name = " ".join(str(part) for part in command[:5])
        raise SetupError(f"`{name} …` failed:\n{last_words}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
