"""The defects that ``make mutants`` plants must fit the source, or they prove nothing any more."""

import pytest

from local.environment import ROOT
from tests.mutants.__main__ import EVERY
from tests.mutants.catalogue import Change, Mutant

CHANGES = [
    pytest.param(change, id=f"{mutant.name}: {change.file}")
    for mutant in EVERY
    for change in mutant.changes
]


@pytest.mark.parametrize("change", CHANGES)
def test_each_has_exactly_one_place(change: Change) -> None:
    assert (ROOT / change.file).read_text().count(change.old) == 1


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: mutant.name)
def test_each_is_looked_for_by_tests_that_exist(mutant: Mutant) -> None:
    places = [word.partition("::")[0] for word in mutant.caught_by if word.startswith("tests/")]

    assert places
    assert all((ROOT / place).exists() for place in places)
