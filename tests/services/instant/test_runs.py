"""What is done for a payment: verified first, made once, kept sealed; and never charged in vain."""

from contextlib import ExitStack
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.creator import Breaker, Provider
from models.resource import ResourceType
from models.run import Run, RunState
from services import room
from services.instant import breakers, keys, making, runs
from services.room import Room
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.market import BODY, KEY, Buyer, Market, open_market


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def buyer(client: FlaskClient) -> Buyer:
    return Buyer(client)


class WorkerDied(BaseException):
    """Nothing in the product catches it."""


def _dying(*_: object, **__: object) -> None:
    raise WorkerDied


def _later(life: Life) -> None:
    """What was put off is due, and workers do it."""
    life.make_due()
    life.work()


def test_a_payment_is_verified_before_the_model_is_asked(
    market: Market, buyer: Buyer, life: Life
) -> None:
    path = market.publish()
    buyer.buy(path)

    life.work()

    assert market.calls() == [("verify", "answered"), ("model", "answered"), ("settle", "answered")]
    run = market.run()
    assert run.state is RunState.SUCCEEDED
    assert run.paid_usd_micros == run.price_usd_micros == 12_000
    assert run.model_cost_usd is not None
    assert run.worst_cost_usd is not None
    assert 0 < run.model_cost_usd <= run.worst_cost_usd


def test_an_empty_wallet_is_refused_and_its_payment_may_be_shown_again(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    payment = buyer.payment(path)
    stand_in.set_tokens(buyer.payer.address, 0)
    buyer.show(path, payment)
    life.work()

    assert market.run().state is RunState.REFUSED
    assert market.model_calls() == 0

    stand_in.set_tokens(buyer.payer.address, 12_000)
    buyer.show(path, payment)
    life.work()

    assert [run.state for run in market.runs()] == [RunState.REFUSED, RunState.SUCCEEDED]
    assert stand_in.tokens_of(buyer.payer.address) == 0


def test_while_the_facilitator_is_away_a_run_waits(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="x402.verify", kind=FaultKind.STATUS, status=503))
    buyer.buy(path)

    life.work()
    assert market.run().state is RunState.RECEIVED
    _later(life)

    assert market.run().state is RunState.SUCCEEDED
    assert market.calls()[:2] == [("verify", "unavailable"), ("verify", "answered")]


def test_a_facilitator_that_wants_to_be_left_alone_for_long_is_not_waited_for_in_vain(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    """The caller would read "processing" for an hour, and the run hold a place for as long."""
    fault = {"kind": FaultKind.STATUS, "status": 429, "retry_after": "3600"}
    stand_in.arm(Fault(target="x402.verify", **fault))
    buyer.buy(market.publish())

    life.work()

    run = market.run()
    assert run.state is RunState.RECEIVED
    assert run.due_at is not None
    hopeless = timedelta(seconds=market.tools.settings.instant_run_seconds / 2)
    assert run.due_at <= run.run_by - hopeless


def test_a_facilitator_that_stays_away_ends_in_an_uncharged_failure(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    buyer.buy(path)
    market.age_runs(run_by=timedelta(minutes=8))

    life.work()

    run = market.run()
    assert (run.state, run.error_code) == (RunState.FAILED, "facilitator_away")
    assert market.moved() == []


@pytest.mark.parametrize(
    ("fault", "why", "reason"),
    [
        ({"kind": "status", "status": 401}, "key_invalid", "key_invalid"),
        ({"kind": "status", "status": 402}, "credits", "credits"),
        ({"kind": "status", "status": 403}, "moderation", None),
        ({"kind": "status", "status": 404}, "model_gone", "model_gone"),
        ({"kind": "status", "status": 400}, "bad_request", None),
        ({"kind": "status", "status": 408}, "timeout", "timeout"),
        ({"kind": "error_inside", "status": 402}, "credits", "credits"),
        ({"kind": "error_inside", "status": 429}, "rate", "rate"),
        ({"kind": "error_in_choice"}, "upstream", "upstream"),
        ({"kind": "no_choices"}, "upstream", "upstream"),
        ({"kind": "body"}, "upstream", "upstream"),
        ({"kind": "reset"}, "upstream", "upstream"),
        ({"kind": "empty"}, "empty_output", None),
        ({"kind": "refusal"}, "moderation", None),
        ({"kind": "status", "status": 429, "retry_after": "600"}, "rate", "rate"),
    ],
    ids=str,
)
def test_a_call_that_fails_is_not_charged_and_only_its_creator_learns_why(
    market: Market,
    buyer: Buyer,
    life: Life,
    fault: dict[str, object],
    why: str,
    reason: str | None,
) -> None:
    path = market.publish()
    market.stand_in.arm(Fault.model_validate({"target": "openrouter.chat", **fault}))
    payment = buyer.payment(path)
    buyer.show(path, payment)

    life.work()

    run = market.run()
    assert (run.state, run.error_code) == (RunState.FAILED, why)
    assert market.moved() == []
    answer = buyer.show(path, payment)
    assert answer.status_code == 503
    assert answer.get_json()["error"] == "Resource unavailable"
    assert why not in answer.get_data(as_text=True)
    assert _observed(market) == reason


def _observed(market: Market) -> str | None:
    """What the breakers were told."""
    with market.tools.database.transaction("test.breakers") as session:
        return session.scalar(select(Breaker.reason))


def test_a_provider_that_is_busy_for_a_moment_is_asked_again(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=429, times=2))
    buyer.buy(path)

    life.work()
    _later(life)
    _later(life)

    assert market.run().state is RunState.SUCCEEDED
    assert [call for call in market.calls() if call[0] == "model"] == [
        ("model", "unavailable"),
        ("model", "unavailable"),
        ("model", "answered"),
    ]


def test_an_answer_cut_at_the_creators_own_limit_is_delivered_as_truncated(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.MAX_TOKENS))
    payment = buyer.payment(path)
    buyer.show(path, payment)

    life.work()

    answer = buyer.show(path, payment)
    assert answer.status_code == 200
    assert answer.get_json()["truncated"] is True


def test_the_model_is_asked_as_the_creator_said(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish(presence_penalty=None, max_tokens=77)
    buyer.buy(path, BODY | {"user_message": "In French, please."})

    life.work()

    (call,) = stand_in.effects("model_call_begin")
    sent = call.details["sent"]
    assert sent["temperature"] == 1
    assert sent["top_p"] == 1
    assert sent["max_completion_tokens"] == 77
    assert "presence_penalty" not in sent
    assert sent["x-title"] == market.tools.settings.attribution_title
    assert sent["http-referer"] == market.tools.settings.attribution_url


def test_a_prompt_template_runs_on_the_creators_anthropic_key(
    market: Market, buyer: Buyer, life: Life
) -> None:
    path = market.publish(of=ResourceType.PROMPT_TEMPLATE)
    buyer.buy(path)

    life.work()

    assert market.run().state is RunState.SUCCEEDED


def test_a_static_resource_is_sold_letter_by_letter(
    market: Market, buyer: Buyer, life: Life
) -> None:
    path = market.publish(of=ResourceType.STATIC)
    payment = buyer.payment(path)
    buyer.show(path, payment, {})

    life.work()

    answer = buyer.show(path, payment, {}).get_json()
    assert answer["response"] == "What is sold, letter by letter."
    assert answer["contentType"] == "text/markdown"
    assert market.calls() == [("verify", "answered"), ("settle", "answered")]


def test_a_worker_that_dies_in_the_call_costs_a_call_and_no_payment(
    market: Market, buyer: Buyer, life: Life, tools: Toolbox
) -> None:
    path = market.publish()
    buyer.buy(path)
    with pytest.raises(WorkerDied):
        runs.execute(tools.with_(creator_model=_dying), market.run().id)
    life.doorbell.rung.clear()

    _later(life)

    assert market.run().state is RunState.SUCCEEDED
    assert market.calls() == [
        ("verify", "answered"),
        ("model", None),
        ("model", "answered"),
        ("settle", "answered"),
    ]
    assert len(market.moved()) == 1


def test_a_run_that_kills_its_workers_fails_uncharged(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    path = market.publish()
    buyer.buy(path)
    for _ in range(3):
        market.make_due()
        with pytest.raises(WorkerDied):
            runs.execute(tools.with_(creator_model=_dying), market.run().id)
    market.make_due()

    runs.execute(tools, market.run().id)

    run = market.run()
    assert (run.state, run.error_code) == (RunState.FAILED, "crashed")
    assert run.model_cost_usd is None
    assert market.moved() == []


def test_a_run_that_was_only_turned_away_until_its_time_was_up_has_cost_its_creator_nothing(
    market: Market, buyer: Buyer, life: Life, stand_in: StandInClient
) -> None:
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=429))
    buyer.buy(market.publish())
    life.work()
    rows.change(market.tools, Run, run_by=func.now())

    _later(life)

    run = market.run()
    assert (run.state, run.error_code) == (RunState.FAILED, "deadline")
    assert run.model_cost_usd == making.NOTHING


def test_a_run_without_a_model_has_cost_its_creator_nothing_however_it_ended(
    market: Market, buyer: Buyer, life: Life
) -> None:
    path = market.publish(of=ResourceType.STATIC)
    buyer.show(path, buyer.payment(path), {})
    rows.change(market.tools, Run, state=RunState.RUNNING, run_by=func.now())

    _later(life)

    run = market.run()
    assert (run.state, run.error_code) == (RunState.FAILED, "deadline")
    assert run.model_cost_usd == making.NOTHING


def test_a_worker_that_was_taken_over_changes_nothing(
    market: Market, buyer: Buyer, tools: Toolbox, life: Life
) -> None:
    path = market.publish()
    buyer.buy(path)
    run_id = market.run().id

    def answers_late(*given: object) -> object:
        """Another worker does the whole run while this one waits for its answer."""
        market.make_due()
        runs.execute(tools, run_id)
        return tools.creator_model(*given)  # type: ignore[arg-type]

    runs.execute(tools.with_(creator_model=answers_late), run_id)
    life.work()

    outcomes = [outcome for kind, outcome in market.calls() if kind == "model"]
    assert outcomes == ["superseded", "answered"]
    assert market.run().state is RunState.SUCCEEDED
    assert len(market.moved()) == 1


def test_what_a_worker_that_was_taken_over_saw_of_a_key_stops_no_sales(
    market: Market, buyer: Buyer, tools: Toolbox, stand_in: StandInClient
) -> None:
    """It may have seen it long ago: who took over has used the key since."""
    buyer.buy(market.publish())
    run_id = market.run().id

    def refused_late(*given: object) -> object:
        market.make_due()
        runs.execute(tools, run_id)
        stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=402))
        return tools.creator_model(*given)  # type: ignore[arg-type]

    runs.execute(tools.with_(creator_model=refused_late), run_id)

    assert [outcome for kind, outcome in market.calls() if kind == "model"] == [
        "superseded",
        "answered",
    ]
    with tools.database.reading("test.breakers") as session:
        assert session.scalars(select(Breaker)).all() == []


def test_a_run_that_comes_too_late_to_be_settled_is_not_begun(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    path = market.publish()
    buyer.buy(path)
    with pytest.raises(WorkerDied):
        runs.execute(tools.with_(creator_model=_dying), market.run().id)
    market.age_runs(run_by=timedelta(hours=1))
    market.make_due()

    runs.execute(tools, market.run().id)

    assert market.run().error_code == "deadline"
    assert market.model_calls() == 0


def test_a_key_that_is_gone_when_its_turn_comes_fails_the_run(
    market: Market, buyer: Buyer, life: Life, tools: Toolbox
) -> None:
    path = market.publish()
    buyer.buy(path)
    keys.delete(tools, market.creator.id, Provider.OPENROUTER)

    life.work()

    assert market.run().error_code == "key_missing"
    assert market.moved() == []


def test_failures_in_a_row_stop_sales_before_payment(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=408, times=3))
    for _ in range(breakers.FAILURES_IN_A_ROW):
        Buyer(client).buy(path)
        life.work()

    answer = client.get(path)

    assert answer.status_code == 503
    assert answer.get_json()["error"] == "Resource unavailable"
    assert "Retry-After" in answer.headers


def test_a_creator_whose_calls_hang_leaves_threads_for_the_others(
    market: Market, client: FlaskClient, stand_in: StandInClient, life: Life
) -> None:
    Buyer(client).buy(market.publish())
    other = open_market(market.tools, stand_in, "bob")
    Buyer(client).buy(other.publish())

    with ExitStack() as hanging:
        for _ in range(room.RUNS_OF_ONE_CREATOR):
            assert hanging.enter_context(runs.AT_ONCE.place(market.creator.id))
        life.work()
        states = {run.creator_id: run.state for run in market.runs()}
    _later(life)

    assert states == {market.creator.id: RunState.RECEIVED, other.creator.id: RunState.SUCCEEDED}
    assert {run.state for run in market.runs()} == {RunState.SUCCEEDED}


def test_all_creators_together_leave_threads_for_jobs() -> None:
    few = Room(3, each=2)

    with few.place(1) as first, few.place(1) as second, few.place(1) as third:
        with few.place(2) as fourth, few.place(3) as fifth:
            assert (first, second, third, fourth, fifth) == (True, True, False, True, False)
        with few.place(3) as sixth:
            assert sixth


def test_nothing_is_rung_for_a_run_that_has_ended(
    market: Market, buyer: Buyer, life: Life, doorbell: RecordingDoorbell
) -> None:
    path = market.publish()
    buyer.buy(path)
    life.work()

    life.make_due()

    assert not doorbell.rung
    assert KEY not in repr(market.run().__dict__)
