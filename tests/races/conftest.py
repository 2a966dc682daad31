"""Whoever wins a race, afterwards the books are right."""

from collections.abc import Iterator

import pytest

from local.stand_in.testing import StandInClient
from services.toolbox import Toolbox
from tests.support.books import assert_balanced


@pytest.fixture(autouse=True)
def balanced_books(tools: Toolbox, stand_in: StandInClient) -> Iterator[None]:
    yield
    assert_balanced(tools, stand_in)
