"""Whether models answer the operator's key: told at once, by nobody's bad request, and no longer
than it lasts.
"""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func

from local.stand_in.faults import Fault, FaultKind
from models import schema
from models.attempt import Attempt, AttemptOutcome, Step
from models.invoice import InvoiceKind
from services.jobs import demo, execution, steps
from services.jobs.demo import Client
from services.jobs.intake import JobView
from services.operate import health
from services.operate.model_calls import CALLS_LOOKED_AT
from tests.support import rows
from tests.support.life import Life

ALL_WELL = {"ok": True, "failing": [], "errors": {}}
ALWAYS = 99
ME = Client(key="192.0.2.1", network="192.0.2.1")


def _models(life: Life) -> dict[str, Any]:
    return health.check(life.tools, schema_revision=schema.HEAD).parts["models"]


def _arm(life: Life, *, times: int = 1, **details: object) -> None:
    fault = {"target": "anthropic", "kind": FaultKind.STATUS, "times": times, **details}
    life.stand_in.arm(Fault.model_validate(fault))


def _try_again(life: Life) -> None:
    life.make_due()
    life.work()


def _executing(life: Life, count: int) -> list[JobView]:
    """Jobs whose work is paid, and of none of them begun."""
    views = [life.awaiting_work_payment() for _ in range(count)]
    for view in views:
        life.pay(view, InvoiceKind.WORK)
    life.poll()
    return views


def _begin(life: Life, view: JobView) -> steps.Assignment:
    """Do what a worker does before its call."""
    held = steps.take(life.tools, view.job.id, Step.EXECUTE, prompt_version="worker@1")
    assert held is not None
    return held


def test_while_models_answer_all_is_well(life: Life) -> None:
    assert _models(life) == ALL_WELL

    life.complete()

    assert _models(life) == ALL_WELL


@pytest.mark.parametrize("status", [401, 402, 404])
def test_given_a_key_or_a_model_that_is_of_no_use_then_the_first_call_tells(
    life: Life, status: int
) -> None:
    life.executing()
    _arm(life, status=status)

    life.work()

    code = f"http_{status}"
    assert _models(life) == {"ok": False, "failing": ["execute"], "errors": {code: 1}}


def test_given_an_account_without_funds_then_the_demo_tells_too(life: Life) -> None:
    demo.admit(life.tools, "Hello?", ME)
    _arm(life, status=402)

    life.work()

    assert _models(life) == {"ok": False, "failing": ["demo"], "errors": {"http_402": 1}}


def test_the_trouble_is_over_with_the_next_call_that_goes_well(life: Life) -> None:
    life.executing()
    _arm(life, status=402, times=2)
    life.work()
    _try_again(life)
    assert _models(life)["errors"] == {"http_402": 2}

    _try_again(life)

    assert _models(life) == ALL_WELL


def test_what_went_well_with_another_model_does_not_end_it(life: Life) -> None:
    life.executing()
    _arm(life, status=402)
    life.work()

    life.awaiting_work_payment()

    assert _models(life)["failing"] == ["execute"]


def test_a_call_begun_before_the_trouble_does_not_end_it(life: Life) -> None:
    """It was paid with the last of the credit."""
    first, second = _executing(life, 2)
    held = _begin(life, first)
    _arm(life, status=402)
    execution.execute(life.tools, second.job.id)

    assert steps.ask(life.tools, held, execution._question(life.tools, held.job)) is not None

    assert _models(life)["failing"] == ["execute"]


def test_other_trouble_after_it_does_not_end_it(life: Life) -> None:
    life.executing()
    _arm(life, status=402)
    _arm(life, status=529)
    life.work()
    _try_again(life)

    assert _models(life) == {
        "ok": False,
        "failing": ["execute"],
        "errors": {"http_402": 1, "http_529": 1},
    }


def test_when_nobody_calls_any_more_it_is_told_for_a_quarter_of_an_hour(life: Life) -> None:
    life.executing()
    _arm(life, status=401)
    life.work()
    rows.let_pass(life.tools, Attempt, timedelta(minutes=14))
    assert not _models(life)["ok"]

    rows.let_pass(life.tools, Attempt, timedelta(minutes=1, seconds=1))

    assert _models(life) == ALL_WELL


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_what_one_caller_asked_for_and_no_model_takes_is_no_reason_to_alarm(
    life: Life, status: int
) -> None:
    life.executing()
    _arm(life, status=status, times=ALWAYS)

    life.work()
    for _ in range(4):  # a 403 is tried again
        _try_again(life)

    assert _models(life)["ok"]
    assert set(_models(life)["errors"]) == {f"http_{status}"}


@pytest.mark.parametrize("status", [400, 403, 429, 529])
def test_given_three_jobs_in_a_row_without_an_answer_then_it_is_told(
    life: Life, status: int
) -> None:
    """Credit that is used up is a 400 of Anthropic's, too, and a 429 of OpenAI's."""
    _executing(life, 3)
    _arm(life, status=status, times=ALWAYS)

    life.work()

    code = f"http_{status}"
    assert _models(life) == {"ok": False, "failing": ["execute"], "errors": {code: 3}}


def test_given_a_job_that_got_its_answer_between_them_then_it_is_not_told(life: Life) -> None:
    for in_vain in (2, 0, 1):
        views = _executing(life, in_vain or 1)
        if in_vain:
            _arm(life, status=400, times=in_vain)
        for view in views:
            execution.execute(life.tools, view.job.id)

    assert _models(life) == {"ok": True, "failing": [], "errors": {"http_400": 1}}


def test_a_call_under_way_says_nothing(life: Life) -> None:
    for view in _executing(life, 3):
        _begin(life, view)

    assert _models(life) == ALL_WELL


def test_however_long_the_journal_is_only_its_newest_calls_are_read(life: Life) -> None:
    run_id, _ = demo.admit(life.tools, "Hello?", ME)
    call = {"demo_run_id": run_id, "step": Step.DEMO, "claim": 1, "prompt_version": "demo@1"}
    refused = {"outcome": AttemptOutcome.REFUSED, "code": "http_401", "ended_at": func.now()}

    with life.tools.database.transaction("test.journal") as session:
        session.add_all(Attempt(model="any", **call, **refused) for _ in range(CALLS_LOOKED_AT + 1))

    assert _models(life)["errors"] == {"http_401": CALLS_LOOKED_AT}
