"""The lists, which are what payments are found by."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient

SETTLED = "status=success&amount[gt]=0&sortby=updated_at&direction=desc"


def hashes(rows: list[dict[str, Any]]) -> list[str]:
    return [row["payment_hash"] for row in rows]


@pytest.fixture
def invoices(income: Any) -> list[str]:
    """The hashes of three open invoices, for 1, 2 and 3 sats."""
    return [income.create(sats, external_id=f"job-{sats}")["payment_hash"] for sats in (1, 2, 3)]


def test_the_feed_is_in_the_order_of_settlement_whatever_the_order_of_creation(
    income: Any, invoices: list[str], world: StandInClient
) -> None:
    for payment_hash in (invoices[1], invoices[0], invoices[2]):
        world.pay(payment_hash)

    rows = income.page(SETTLED)

    assert hashes(rows) == [invoices[2], invoices[0], invoices[1]]
    moments = [row["updated_at"] for row in rows]
    assert moments == sorted(set(moments), reverse=True)


def test_the_feed_has_neither_open_nor_outgoing_nor_other_peoples_payments(
    income: Any, service: Any, payer: Any, invoices: list[str], world: StandInClient
) -> None:
    world.top_up(100)
    world.pay(invoices[0])
    service.pay(payer.create(5)["bolt11"])

    assert hashes(income.page(SETTLED)) == [invoices[0]]


def test_pages_follow_each_other_without_gap_or_overlap(income: Any, world: StandInClient) -> None:
    made = [income.create()["payment_hash"] for _ in range(7)]
    for payment_hash in made:
        world.pay(payment_hash)

    pages = [income.page(f"{SETTLED}&limit=3&offset={offset}") for offset in (0, 3, 6, 9)]

    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert hashes([row for page in pages for row in page]) == made[::-1]
    total = income.get(f"/api/v1/payments/paginated?{SETTLED}&limit=3").json()["total"]
    assert total == 7


@pytest.mark.parametrize(("query", "length"), [("", 10), ("limit=0", 12), ("limit=11", 11)])
def test_without_a_limit_ten_rows_are_shown_and_zero_means_a_thousand(
    income: Any, query: str, length: int
) -> None:
    for _ in range(12):
        income.create()

    assert len(income.page(query)) == length


def test_exactly_the_invoices_asked_for_are_listed(income: Any, invoices: list[str]) -> None:
    wanted = [invoices[0], invoices[2]]

    rows = income.page(f"payment_hash[in]={','.join(wanted)},{'00' * 32}&limit=200")

    assert sorted(hashes(rows)) == sorted(wanted)


def test_a_hundred_hashes_fit_into_one_question(income: Any, invoices: list[str]) -> None:
    many = [f"{number:064x}" for number in range(99)]

    rows = income.page(f"payment_hash[in]={','.join([*many, invoices[1]])}&recheck_pending=true")

    assert hashes(rows) == [invoices[1]]


@pytest.mark.parametrize(
    ("query", "sats"),
    [
        ("external_id=job-2", [2]),
        ("external_id=job-1&external_id=job-3", [1, 3]),
        ("amount[ge]=2000", [2, 3]),
        ("amount[lt]=2000", [1]),
        ("amount[ne]=2000", [1, 3]),
        ("amount[le]=2000&amount[ge]=2000", [2]),
        ("memo[like]=es", [1, 2, 3]),
        ("status=pending", [1, 2, 3]),
        ("status=success", []),
        ("sortby=amount&direction=desc", [3, 2, 1]),
        ("time[ge]=0", [1, 2, 3]),
        ("time[ge]=2999-01-01T00:00:00Z", []),
        ("updated_at[ge]=9999999999", [1, 2, 3]),
        ("created_at[ge]=9999999999", [1, 2, 3]),
        ("foo=bar", [1, 2, 3]),
        ("amount=abc", [1, 2, 3]),
        ("time[ge]=garbage", [1, 2, 3]),
        ("amount[zz]=5", [1, 2, 3]),
    ],
)
def test_filters_hold_and_those_not_understood_are_ignored_in_silence(
    income: Any, invoices: list[str], query: str, sats: list[int]
) -> None:
    rows = income.page(query)

    assert len(invoices) == 3
    assert [row["amount"] // 1000 for row in rows] == sats


def test_an_unknown_order_is_a_400(income: Any) -> None:
    assert income.get("/api/v1/payments/paginated?sortby=colour").status_code == 400


def test_the_plain_list_is_newest_first_and_hides_what_failed(
    income: Any, invoices: list[str], world: StandInClient
) -> None:
    world.expire(invoices[1])
    income.read(invoices[1])

    assert hashes(income.get("/api/v1/payments").json()) == [invoices[2], invoices[0]]
    assert len(income.page("")) == 3


def test_only_asking_again_finds_an_invoice_expired(
    income: Any, invoices: list[str], world: StandInClient
) -> None:
    world.expire(invoices[0])
    of_it = f"payment_hash[in]={invoices[0]}"

    before = income.page(of_it)
    rechecked = income.page(of_it + "&recheck_pending=true")

    assert [row["status"] for row in before] == ["pending"]
    assert [(row["status"], row["labels"]) for row in rechecked] == [("failed", ["expired"])]


@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [
        (FaultKind.DUPLICATED_ROWS, lambda rows: [row for row in rows for _ in range(2)]),
        (FaultKind.REORDERED_ROWS, lambda rows: rows[::-1]),
        (FaultKind.MISSING_ROW, lambda rows: rows[1:]),
    ],
)
def test_the_feed_can_lie_for_as_many_reads_as_it_is_told(
    income: Any,
    invoices: list[str],
    world: StandInClient,
    kind: FaultKind,
    spoilt: Callable[[list[str]], list[str]],
) -> None:
    for payment_hash in invoices:
        world.pay(payment_hash)
    world.arm(Fault(target="lnbits.feed", kind=kind, times=2))

    pages = [hashes(income.page(SETTLED)) for _ in range(3)]

    assert pages == [spoilt(invoices[::-1]), spoilt(invoices[::-1]), invoices[::-1]]


def test_a_certain_payment_can_be_missing_from_the_feed(
    income: Any, invoices: list[str], world: StandInClient
) -> None:
    for payment_hash in invoices:
        world.pay(payment_hash)
    world.arm(Fault(target="lnbits.feed", kind=FaultKind.MISSING_ROW, text=invoices[1]))

    assert hashes(income.page(SETTLED)) == [invoices[2], invoices[0]]


def test_questions_about_certain_invoices_are_a_target_of_their_own(
    income: Any, invoices: list[str], world: StandInClient
) -> None:
    world.arm(Fault(target="lnbits.states", kind=FaultKind.STATUS, status=500))

    assert len(income.page("limit=5")) == 3
    asked = income.get(f"/api/v1/payments/paginated?payment_hash[in]={invoices[0]}")
    assert asked.status_code == 500


def test_a_slow_node_is_waited_for_once_for_each_open_invoice_that_it_is_asked_about(
    income: Any, invoices: list[str], world: StandInClient
) -> None:
    world.pay(invoices[0])
    world.arm(Fault(target="lnbits.states", kind=FaultKind.SLOW_NODE, seconds=0.1))
    began = time.monotonic()

    rows = income.page(f"payment_hash[in]={','.join(invoices)}&recheck_pending=true")

    assert hashes(rows) == invoices
    assert time.monotonic() - began >= 0.2
