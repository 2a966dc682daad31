"""Statistics are the sum of the log, whatever is in it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.run import UNSETTLED_RUNS, CallKind, CallOutcome, RunCall, RunState
from services.instant import earnings
from services.instant.earnings import Earnings, Span, Sums, UsageFilter, UsageRow
from services.toolbox import Toolbox
from tests.support.run_rows import Shop, open_shop

SLUGS = ("poem", "quote")
ALWAYS = Span()
HOUR = timedelta(hours=1)
EVERYTHING = UsageFilter()


def whole_log(
    tools: Toolbox, shop: Shop, wanted: UsageFilter = EVERYTHING, *, a_page: int = 100
) -> list[UsageRow]:
    rows: list[UsageRow] = []
    older_than = None
    while True:
        page = earnings.usage(tools, shop.creator.id, wanted, older_than=older_than, limit=a_page)
        assert len(page.rows) <= a_page
        rows += page.rows
        older_than = page.older_than
        if older_than is None:
            return rows


def counted(rows: list[UsageRow]) -> Sums:
    """The slow way: row by row."""
    states = [row.status for row in rows]
    return Sums(
        calls=states.count(RunState.SUCCEEDED),
        failed_calls=states.count(RunState.FAILED),
        refused_calls=states.count(RunState.REFUSED),
        open_calls=sum(state in UNSETTLED_RUNS for state in states),
        unknown_cost_calls=sum(
            row.status in {RunState.SUCCEEDED, RunState.FAILED} and row.model_cost_usd is None
            for row in rows
        ),
        gross=sum(row.paid for row in rows),  # type: ignore[arg-type]
        fee=sum(row.fee for row in rows),  # type: ignore[arg-type]
        model_cost_usd=sum((row.model_cost_usd or Decimal(0) for row in rows), Decimal(0)),
    )


def of(found: Earnings, slug: str) -> tuple[Sums, Sums]:
    (each,) = (each for each in found.resources if each.slug == slug)
    return each.sales, each.owner_tests


runs = st.tuples(
    st.sampled_from(SLUGS),
    st.sampled_from(sorted(RunState)),
    st.booleans(),
    st.integers(0, 10_000),
    st.none() | st.decimals(0, 1, places=10),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(runs, max_size=12), st.integers(1, 5))
def test_whatever_became_of_the_runs_every_figure_is_the_sum_of_the_log(
    tools: Toolbox, several: list[tuple[str, RunState, bool, int, Decimal | None]], a_page: int
) -> None:
    shop = open_shop(tools, *SLUGS)
    for slug, state, is_test, fee, cost in several:
        shop.add_run(slug, state, is_owner_test=is_test, fee_usd_micros=fee, model_cost_usd=cost)

    found = earnings.earnings(tools, shop.creator.id, ALWAYS)
    rows = whole_log(tools, shop, a_page=a_page)

    assert len(rows) == len(several)
    assert [row.number for row in rows] == sorted((row.number for row in rows), reverse=True)
    for slug in SLUGS:
        ours = [row for row in rows if row.slug == slug]
        sold = [row for row in ours if not row.is_owner_test]
        tests = [row for row in ours if row.is_owner_test]
        assert of(found, slug) == (counted(sold), counted(tests))
    assert found.sales == counted([row for row in rows if not row.is_owner_test])
    assert found.sales.net + found.sales.fee == found.sales.gross
    assert found.owner_tests.gross == 0


def test_a_resource_without_runs_is_listed_with_nothing(tools: Toolbox) -> None:
    shop = open_shop(tools, "poem")

    found = earnings.earnings(tools, shop.creator.id, ALWAYS)

    assert of(found, "poem") == (Sums(), Sums())
    assert found.sales == Sums()


def test_a_creator_sees_no_run_of_another(tools: Toolbox) -> None:
    mine, other = open_shop(tools, "poem"), open_shop(tools, "poem")
    other.add_run("poem")

    assert whole_log(tools, mine) == []
    assert earnings.earnings(tools, mine.creator.id, ALWAYS).sales == Sums()


def test_log_and_figures_agree_about_a_span_of_time(tools: Toolbox) -> None:
    shop = open_shop(tools, "poem")
    for hours in (0, 2, 4):
        shop.add_run("poem", age=hours * HOUR)
    now = datetime.now(UTC)
    span = Span(since=now - 3 * HOUR, until=now - HOUR)

    found = earnings.earnings(tools, shop.creator.id, span)

    assert found.sales == counted(whole_log(tools, shop, UsageFilter(span=span)))
    assert found.sales.calls == 1


def test_the_log_can_be_narrowed(tools: Toolbox) -> None:
    shop = open_shop(tools, *SLUGS)
    shop.add_run("poem")
    shop.add_run("quote", RunState.FAILED)
    shop.add_run("quote", is_owner_test=True)

    def numbers(**wanted: object) -> list[str]:
        rows = whole_log(tools, shop, UsageFilter(**wanted))  # type: ignore[arg-type]
        return [f"{row.slug} {row.status}" for row in rows]

    assert numbers(slug="quote") == ["quote succeeded", "quote failed"]
    assert numbers(status=RunState.FAILED) == ["quote failed"]
    assert numbers(is_owner_test=False) == ["quote failed", "poem succeeded"]
    assert numbers(is_owner_test=True) == ["quote succeeded"]
    assert numbers(slug="none") == []


def test_a_run_that_begins_while_the_log_is_read_moves_no_row_to_another_page(
    tools: Toolbox,
) -> None:
    shop = open_shop(tools, "poem")
    old = [shop.add_run("poem").id for _ in range(3)]
    first = earnings.usage(tools, shop.creator.id, UsageFilter(), limit=2)

    shop.add_run("poem")
    second = earnings.usage(
        tools, shop.creator.id, UsageFilter(), older_than=first.older_than, limit=2
    )

    assert [row.number for row in (*first.rows, *second.rows)] == old[::-1]
    assert second.older_than is None


def test_a_failed_run_says_what_its_last_call_ended_with_and_how_long_it_took(
    tools: Toolbox,
) -> None:
    shop = open_shop(tools, "poem")
    run = shop.add_run("poem", RunState.FAILED)
    calls = [(CallKind.VERIFY, None), (CallKind.PROXY, "http_503"), (CallKind.PROXY, "http_404")]
    with tools.database.transaction("test.calls") as session:
        for kind, code in calls:
            session.add(
                RunCall(
                    run_id=run.id,
                    kind=kind,
                    claim=1,
                    code=code,
                    outcome=CallOutcome.REFUSED,
                    ended_at=run.ended_at,
                )
            )

    (row,) = whole_log(tools, shop)

    assert (row.error_code, row.error_detail) == ("timeout", "http_404")
    assert row.duration == timedelta(seconds=2)
