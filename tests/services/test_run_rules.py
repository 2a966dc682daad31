"""The rules of runs: silent on what really happened, loud on every planted defect."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from local.stand_in.testing import StandInClient
from models.run import Run, RunState
from models.violation import Violation
from services.instant import intake, runs, settlement
from services.operate import invariants
from services.operate.run_rules import RunRule
from services.toolbox import Toolbox
from tests.conftest import empty
from tests.support.market import Buyer, Market, open_market
from tests.support.rows import all_of


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Iterator[Market]:
    """Nothing that is planted stays."""
    yield open_market(tools, stand_in)
    empty(tools)


@pytest.fixture
def sold(market: Market, client: FlaskClient) -> Run:
    """One run that was sold, beside one that its creator tried out and one under way."""
    buyer = Buyer(client)
    buyer.buy(market.publish())
    run = market.run()
    runs.execute(market.tools, run.id)
    settlement.settle(market.tools, run.id)
    tried = intake.try_out(market.tools, market.sale(), {"subject": "rules"})
    runs.execute(market.tools, tried.id)
    buyer.buy(market.path())
    assert [run.state for run in market.runs()] == [
        *(RunState.SUCCEEDED, RunState.SUCCEEDED, RunState.RECEIVED)
    ]
    return market.runs()[0]


def plant(market: Market, statement: str, run: Run) -> None:
    """Write what no code of ours would write; guards are put aside as only a superuser can."""
    with market.tools.database.transaction("test.plant") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement), {"run": run.id})


def broken(market: Market) -> set[tuple[str, int | None]]:
    return {
        (violation.rule, violation.run_id)
        for violation in all_of(market.tools, Violation)
        if violation.mended_at is None
    }


def test_sound_runs_break_no_rule(market: Market, sold: Run) -> None:
    assert sold.transaction is not None
    assert invariants.sweep_everything(market.tools) == 0


_MORE_CALLS = (
    "INSERT INTO run_calls (id, run_id, kind, claim, outcome, ended_at)"
    " SELECT 900000 + n, :run, 'model', 1, {}, now() FROM generate_series(1, {}) AS n"
)
DEFECTS = {
    "a sale without a result": (
        "UPDATE runs SET result = NULL WHERE id = :run",
        RunRule.SOLD_WHOLE,
    ),
    "a price that was not charged": (
        "UPDATE runs SET paid_usd_micros = paid_usd_micros - 1 WHERE id = :run",
        RunRule.SOLD_WHOLE,
    ),
    "a request to settle that is in no journal": (
        "UPDATE runs SET settle_posts = 7 WHERE id = :run",
        RunRule.POSTS_ON_RECORD,
    ),
    "money that nobody asked for": (
        (
            "WITH gone AS (DELETE FROM run_calls WHERE run_id = :run AND kind = 'settle')"
            " UPDATE runs SET settle_posts = 0 WHERE id = :run"
        ),
        RunRule.POSTS_ON_RECORD,
    ),
    "two answers": (_MORE_CALLS.format("'answered'", 1), RunRule.CALLS_WITHIN_BOUNDS),
    "a fourth call that may have been billed": (
        _MORE_CALLS.format("'doubtful'", 3),
        RunRule.CALLS_WITHIN_BOUNDS,
    ),
    "a run that nobody looks after": (
        (
            "UPDATE runs SET state = 'settling', settled_at = NULL, paid_usd_micros = 0,"
            " ended_at = NULL, due_at = now() - interval '121 s' WHERE id = :run"
        ),
        RunRule.LEASE_LOOKED_AFTER,
    ),
    "a run past its deadline": (
        (
            "UPDATE runs SET state = 'running', settled_at = NULL, paid_usd_micros = 0,"
            " ended_at = NULL, due_at = now(), run_by = now() - interval '121 s' WHERE id = :run"
        ),
        RunRule.DEADLINE_KEPT,
    ),
}


@pytest.mark.parametrize(("statement", "rule"), DEFECTS.values(), ids=list(DEFECTS))
def test_what_is_broken_is_found_with_its_run(
    market: Market, sold: Run, statement: str, rule: RunRule
) -> None:
    plant(market, statement, sold)

    assert invariants.sweep_everything(market.tools) == 1
    assert broken(market) == {(rule.value, sold.id)}


def test_every_rule_has_a_planted_defect() -> None:
    assert {rule for _, rule in DEFECTS.values()} == set(RunRule)


def test_the_duty_finds_what_ended_of_late_and_keeps_it_until_it_is_mended(
    market: Market, sold: Run
) -> None:
    plant(market, "UPDATE runs SET settle_posts = settle_posts + 1 WHERE id = :run", sold)

    assert invariants.sweep(market.tools) == 1
    plant(market, "UPDATE runs SET ended_at = now() - interval '1 d' WHERE id = :run", sold)
    assert invariants.sweep(market.tools) == 1
    assert len(broken(market)) == 1

    plant(market, "UPDATE runs SET settle_posts = settle_posts - 1 WHERE id = :run", sold)
    assert invariants.sweep(market.tools) == 0
    assert broken(market) == set()
