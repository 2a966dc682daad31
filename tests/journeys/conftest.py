"""Running products, and a caller who leaves with the books balanced."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.journeys.books import Books, books_of
from tests.journeys.caller import Caller
from tests.journeys.product import Product, running_product
from tests.support.books import assert_balanced

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
"""They look at processes in /proc."""


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """As whoever has just cloned it gets it."""
    with running_product() as running:
        yield running


@pytest.fixture(scope="session")
def impatient_product() -> Iterator[Product]:
    """One that takes over the work of the dead after some seconds, not after a minute.

    Long enough that nobody is thought dead on a busy machine.
    """
    with running_product(LEASE_SECONDS="5") as running:
        yield running


@contextmanager
def _honest(product: Product) -> Iterator[Caller]:
    """Whatever a test does to it: afterwards every sat is accounted for."""
    caller = Caller(product)
    with books_of(product) as books:
        yield caller
        assert_balanced(books.tools, caller.wallet)
        assert books.wallet_msats() == caller.service_balance_msats()


@pytest.fixture
def caller(product: Product) -> Iterator[Caller]:
    with _honest(product) as honest:
        yield honest


@pytest.fixture
def books(product: Product) -> Iterator[Books]:
    with books_of(product) as read:
        yield read


@pytest.fixture
def impatient_caller(impatient_product: Product) -> Iterator[Caller]:
    with _honest(impatient_product) as honest:
        yield honest


@pytest.fixture
def impatient_books(impatient_product: Product) -> Iterator[Books]:
    with books_of(impatient_product) as read:
        yield read
