"""Any OpenAI-compatible server can evaluate or work, each step with its own model."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from config.settings import Settings
from local.stand_in.faults import Fault, FaultKind
from models.attempt import Attempt, Step
from models.database import ago
from models.job import Job
from models.lifecycle import JobState
from services import toolbox
from services.toolbox import Role
from tests.support.life import Life

MODEL_PRICES = (
    '{"house-small": {"input": 0.10, "output": 0.40}, "house-large": {"input": 1, "output": 4}}'
)


def _with_models(life: Life, *, evaluating: str, working: str) -> Life:
    settings = life.tools.settings
    other = Settings.load(
        {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "STAND_IN_URL": settings.stand_in_url or "",
            "EVAL_MODEL": evaluating,
            "WORK_MODEL": working,
            "MODEL_PRICES": MODEL_PRICES,
        }
    )
    built = toolbox.build(other, Role.MONEY)
    tools = built.with_(database=life.tools.database, doorbell=life.doorbell)
    return Life(tools, life.doorbell, life.stand_in)


def _models_called(life: Life) -> list[tuple[Step, str]]:
    with life.tools.database.transaction("test.models") as session:
        rows = session.execute(select(Attempt.step, Attempt.model).order_by(Attempt.id))
        return [(step, model) for step, model in rows]


@pytest.mark.parametrize(
    ("evaluating", "working"),
    [
        ("house-small", "house-large"),
        ("claude-haiku-5-5", "house-large"),
        ("house-small", "claude-sonnet-5-5"),
    ],
)
def test_a_job_runs_on_whichever_models_are_named(
    life: Life, evaluating: str, working: str
) -> None:
    named = _with_models(life, evaluating=evaluating, working=working)

    view = named.complete()

    assert view.job.state is JobState.COMPLETE
    assert view.job.work_model == working
    assert _models_called(named) == [(Step.EVALUATE, evaluating), (Step.EXECUTE, working)]


def test_given_a_full_queue_at_the_provider_then_its_retry_after_is_honoured(life: Life) -> None:
    named = _with_models(life, evaluating="house-small", working="house-large")
    named.stand_in.arm(Fault(target="openai", kind=FaultKind.STATUS, status=429, retry_after="120"))

    view = named.evaluating()
    named.work()

    with named.tools.database.transaction("test.due") as session:
        due_in = -session.scalars(select(ago(Job.due_at)).where(Job.id == view.job.id)).one()
    assert timedelta(seconds=110) < due_in <= timedelta(seconds=151)
    named.make_due()
    named.work()
    assert named.state(view) is JobState.AWAITING_WORK_PAYMENT


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (FaultKind.REFUSAL, JobState.FAILED),
        (FaultKind.EMPTY, JobState.FAILED),
        (FaultKind.MAX_TOKENS, JobState.COMPLETE),
    ],
)
def test_how_the_work_model_ends_decides_how_the_job_ends(
    life: Life, kind: FaultKind, state: JobState
) -> None:
    named = _with_models(life, evaluating="house-small", working="house-large")
    view = named.executing()
    named.stand_in.arm(Fault(target="openai", kind=kind, structured=False))

    named.work()

    ended = named.view(view).job
    assert ended.state is state
    if state is JobState.FAILED:
        assert named.debts(view) == [("failed_work", ended.work_amount_sats, "owed")]
    else:
        assert ended.incomplete_reason == "max_output_tokens"


def test_a_provider_that_refuses_to_evaluate_rejects_the_job_with_a_reason(life: Life) -> None:
    named = _with_models(life, evaluating="house-small", working="house-large")
    named.stand_in.arm(Fault(target="openai", kind=FaultKind.REFUSAL))

    view = named.awaiting_work_payment()

    assert view.job.state is JobState.REJECTED
    assert view.job.reason
