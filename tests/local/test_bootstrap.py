"""`.venv` is made once, again when a lock changed, by one of many. The installer is played."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.environment import ROOT

PLAYED_UV = f"""#!/bin/sh
[ -s broken ] && cat broken >&2
case " $*" in
  " --version") exit 0 ;;
  *" venv "*) [ ! -e broken ] && {sys.executable} -m venv --without-pip .venv ;;
  *" pip sync "*) [ ! -e broken ] && echo "$*" >> installs ;;
esac
"""
HIDE_PIP = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name in ("pip", "ensurepip"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that has fetched its installer, and nothing else."""
    (tmp_path / "local").mkdir()
    shutil.copy(ROOT / "local/bootstrap.py", tmp_path / "local")
    for name in ("requirements.lock", "requirements-dev.lock", "local/uv.lock"):
        (tmp_path / name).write_text("a==1\n")
    uv = tmp_path / ".boot/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(PLAYED_UV)
    uv.chmod(0o755)
    return tmp_path


def start(checkout: Path, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "local/bootstrap.py", *arguments],
        cwd=checkout,
        env={"PATH": os.defpath, **environ},
        stderr=subprocess.PIPE,
        text=True,
    )


def bootstrap(checkout: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    process = start(checkout, *arguments, **environ)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def installs(checkout: Path) -> list[str]:
    """The lock file of each installation so far."""
    log = checkout / "installs"
    return (
        [Path(line.split()[-1]).name for line in log.read_text().splitlines()]
        if log.exists()
        else []
    )


def test_when_called_again_then_nothing_is_installed_and_nothing_said(checkout: Path) -> None:
    assert bootstrap(checkout)[0] == 0

    assert bootstrap(checkout) == (0, "")

    assert installs(checkout) == ["requirements.lock"]


def test_when_a_lock_has_changed_then_it_is_installed_again(checkout: Path) -> None:
    bootstrap(checkout)
    (checkout / "requirements.lock").write_text("a==2\n")

    assert bootstrap(checkout)[0] == 0

    assert installs(checkout) == ["requirements.lock"] * 2


def test_an_environment_for_development_will_do_for_a_run_and_stays_one(checkout: Path) -> None:
    bootstrap(checkout, "--dev")
    bootstrap(checkout)
    (checkout / "requirements.lock").write_text("a==2\n")
    bootstrap(checkout)

    assert installs(checkout) == ["requirements-dev.lock"] * 2


def test_when_many_are_called_at_once_then_one_installs(checkout: Path) -> None:
    several = [start(checkout) for _ in range(4)]

    for process in several:
        process.communicate(timeout=120)

    assert [process.returncode for process in several] == [0] * 4
    assert installs(checkout) == ["requirements.lock"]


def test_when_the_checkout_was_moved_then_the_environment_is_made_anew(checkout: Path) -> None:
    bootstrap(checkout)
    moved = checkout.with_name("moved")
    checkout.rename(moved)

    bootstrap(moved)

    assert installs(moved) == ["requirements.lock"] * 2
    assert str(moved) in (moved / ".venv/pyvenv.cfg").read_text()
    moved.rename(checkout)


@pytest.mark.parametrize(
    ("last_words", "sentence"),
    [
        ("error: No space left on device (os error 28)", "is full: an installation needs"),
        (
            "Because thing==1.2 has no wheels with a matching platform tag and you require it",
            "There is no wheel of thing 1.2 for this machine",
        ),
    ],
)
def test_what_an_installer_means_is_said_in_one_sentence_and_nothing_is_left(
    checkout: Path, last_words: str, sentence: str
) -> None:
    (checkout / "broken").write_text(last_words)
    (checkout / "sitecustomize.py").write_text(HIDE_PIP)

    code, said = bootstrap(checkout, PYTHONPATH=str(checkout))

    assert code == 1
    assert sentence in said
    assert said.count("\n") == 2  # the first says what is being done
    assert not (checkout / ".venv").exists()


def test_given_no_way_to_install_then_the_missing_packages_are_named_and_nothing_counts_as_done(
    checkout: Path,
) -> None:
    (checkout / "broken").touch()
    (checkout / "sitecustomize.py").write_text(HIDE_PIP)

    code, said = bootstrap(checkout, PYTHONPATH=str(checkout))

    assert code == 1
    assert "python3-pip" in said
    assert "Traceback" not in said
    (checkout / "broken").unlink()
    assert bootstrap(checkout)[0] == 0
