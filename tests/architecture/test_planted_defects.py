"""The defects that ``make mutants`` plants must fit the source, or they prove nothing any more."""

from itertools import pairwise
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from local.environment import ROOT
from tests.mutants.__main__ import EVERY, NOT_TRIED, DoesNotApply, main, run
from tests.mutants.catalogue import IN_CI, Change, Mutant

CHANGES = [
    pytest.param(change, id=f"{mutant.name}: {change.file}")
    for mutant in EVERY
    for change in mutant.changes
]

PRODUCT = "\n".join(
    path.read_text() for folder in ("app", "services") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("change", CHANGES)
def test_each_has_exactly_one_place(change: Change) -> None:
    assert (ROOT / change.file).read_text().count(change.old) == 1


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: mutant.name)
def test_each_is_looked_for_by_tests_that_exist(mutant: Mutant) -> None:
    places = [word.partition("::")[0] for word in mutant.caught_by if word.startswith("tests/")]

    assert places
    assert all((ROOT / place).exists() for place in places)


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: mutant.name)
def test_each_names_tests_in_a_way_that_pytest_understands(mutant: Mutant) -> None:
    for option, value in pairwise(mutant.caught_by):
        if option == "-k":
            Expression.compile(value)


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: mutant.name)
def test_each_waits_at_a_commit_that_there_is(mutant: Mutant) -> None:
    for option, value in pairwise(mutant.caught_by):
        name, _, moment = value.partition(":")
        if option == "--points" and moment in {"before_commit", "after_commit"}:
            assert f'transaction("{name}")' in PRODUCT


def test_every_name_of_ci_is_that_of_a_mutant() -> None:
    assert set(IN_CI) <= {mutant.name for mutant in EVERY}


def test_a_name_that_begins_no_mutants_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["planted-name"]) == NOT_TRIED
    assert "planted-name" in capsys.readouterr().out


TRIED = """
import pytest

@pytest.fixture
def whole():
    {before}
    yield
    {after}

def test_it(whole):
    {inside}
"""


def _tried(folder: Path, *, before: str = "", inside: str = "", after: str = "") -> str | None:
    """Which test is said to have found a mutant, when these statements stand in its way."""
    (folder / "tests").mkdir()
    text = TRIED.format(before=before or "pass", inside=inside or "pass", after=after or "pass")
    (folder / "tests" / "test_it.py").write_text(text)
    return run(["tests"], folder).caught_by


@pytest.mark.parametrize("where", ["inside", "after"])
def test_what_a_test_finds_or_is_found_when_it_has_ended_is_a_find(
    tmp_path: Path, where: str
) -> None:
    assert _tried(tmp_path, **{where: "assert 1 == 2, 'the books'"}) == "tests/test_it.py::test_it"


@pytest.mark.parametrize("where", ["before", "after"])
def test_what_cannot_be_set_up_or_put_away_is_no_find(tmp_path: Path, where: str) -> None:
    with pytest.raises(DoesNotApply, match="could not be tried"):
        _tried(tmp_path, **{where: "raise OSError('no space left on device')"})


def test_what_finds_nothing_lets_a_mutant_live(tmp_path: Path) -> None:
    assert _tried(tmp_path) is None
