"""What a machine cannot prove is skipped in a sentence, and fails with it where all must be."""

import subprocess
import sys
from pathlib import Path

from local.environment import ROOT
from tests.support.proofs import NOTHING_SKIPPED

TRIED = """
import pytest
from tests.conftest import pytest_runtest_makereport
from tests.support.proofs import needs, not_proved

@needs(False, "no openssl")
def test_marked():
    assert False

def test_inside():
    not_proved("no disk")

@pytest.mark.skip(reason="for another reason")
def test_otherwise():
    assert False
"""


def _tried(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TRIED)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:schemathesis", "-p", "test_it"],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_cannot_be_proved_is_skipped_with_a_sentence(tmp_path: Path) -> None:
    tried = _tried(tmp_path)

    assert tried.returncode == 0
    assert "3 skipped" in tried.stdout
    assert "not proved here: no openssl" in tried.stdout


def test_where_all_must_be_proved_it_fails_with_the_same_sentence(tmp_path: Path) -> None:
    tried = _tried(tmp_path, **{NOTHING_SKIPPED: "1"})

    assert tried.returncode == 1
    assert "not proved here: no openssl" in tried.stdout
    assert "not proved here: no disk" in tried.stdout
    assert "1 skipped" in tried.stdout
