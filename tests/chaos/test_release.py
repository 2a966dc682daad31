"""What a release check leaves behind says what it is of."""

import json
import subprocess
from pathlib import Path

from tests.chaos.release import SUMMARY, circumstances, keep, main_figures, mutants_in

WHO = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")


def git(checkout: Path, *order: str) -> str:
    told = subprocess.run(
        ["git", *WHO, *order], cwd=checkout, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def a_checkout(folder: Path) -> Path:
    git(folder, "init", "--quiet")
    (folder / "code").write_text("as committed")
    git(folder, "add", "code")
    git(folder, "commit", "--quiet", "--no-verify", "-m", "code: it is there")
    return folder


def test_a_result_names_its_commit(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)

    assert circumstances(checkout, checkout / "results")["commit"] == git(
        checkout, "rev-parse", "HEAD"
    )
    assert circumstances(checkout, checkout / "results")["cores"] >= 1


def test_a_result_of_code_that_is_not_committed_says_so(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)
    (checkout / "code").write_text("changed")

    assert circumstances(checkout, checkout / "results")["commit"].endswith(", modified")


def test_the_file_of_results_itself_is_no_change(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)
    (checkout / SUMMARY).parent.mkdir()
    keep(checkout / SUMMARY, "mutants", {"caught": 1})

    assert "modified" not in circumstances(checkout, checkout / "results")["commit"]


def test_a_run_that_was_not_made_keeps_its_earlier_result(tmp_path: Path) -> None:
    file = tmp_path / "results.json"

    keep(file, "first", {"commit": "old"})
    keep(file, "second", {"commit": "old"})
    keep(file, "first", {"commit": "new"})

    assert json.loads(file.read_text()) == {
        "first": {"commit": "new"},
        "second": {"commit": "old"},
    }


def test_the_main_figures_of_a_run_are_told_and_of_one_that_broke_off_none() -> None:
    report = {"seconds": 5.0, "violations": {}, "sentences": [], "requests": {"GET /": 1}}

    assert main_figures(report) == {"seconds": 5.0, "violations": {}}
    assert main_figures({}) == {}


def test_mutants_are_counted_as_their_run_says() -> None:
    said = "a mutant   3 s  tests/x.py\n87 mutants, 86 caught, 1 alive\n"

    assert mutants_in(said) == {"of": 87, "caught": 86}
    assert mutants_in("no mutant is called x\n") == {}
