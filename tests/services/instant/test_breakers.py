"""Breakers: what has failed is not sold, until a probe finds that it works again."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, update

from config.queues import TaskName
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.key_states import KeyState
from local.stand_in.testing import StandInClient
from models.catalogue import CatalogueModel
from models.creator import Breaker, BreakerReason, Creator, Provider, ProviderKey
from models.database import ago
from models.resource import Resource, ResourceType, ResourceVersion
from services.instant import breakers, keys, probes
from services.operate import ticks
from services.toolbox import Toolbox
from tests.support.creators import ANTHROPIC_KEY, OPENROUTER_KEY, a_creator

MODEL, OTHER = "openai/gpt-6-mini", "example/small-8b"
MODEL_LEVEL = [reason for reason in BreakerReason if reason not in breakers.DEFINITE]


@pytest.fixture
def key_id(tools: Toolbox) -> int:
    creator = a_creator(tools)
    return keys.put(tools, creator.id, Provider.OPENROUTER, OPENROUTER_KEY).key.id


def is_closed(tools: Toolbox, key_id: int, model: str = MODEL) -> bool:
    with tools.database.transaction("test.closed") as session:
        return breakers.is_closed(session, key_id, model)


def fail(
    tools: Toolbox, key_id: int, reason: BreakerReason, times: int = 1, model: str = MODEL
) -> list[bool]:
    """Whether each of them opened the breaker."""
    opened = []
    for _ in range(times):
        with tools.database.transaction("test.fail") as session:
            opened.append(breakers.note_failure(session, key_id, model, reason))
    return opened


def succeed(tools: Toolbox, key_id: int) -> None:
    with tools.database.transaction("test.succeed") as session:
        breakers.note_success(session, key_id, MODEL)


def make_due(tools: Toolbox) -> None:
    with tools.database.transaction("test.due") as session:
        session.execute(
            update(Breaker)
            .where(Breaker.due_at.is_not(None))
            .values(due_at=func.now() - timedelta(seconds=1))
        )


def list_model(tools: Toolbox, model: str) -> None:
    with tools.database.transaction("test.list") as session:
        session.add(
            CatalogueModel(
                id=model,
                name=model,
                context_tokens=8192,
                max_output_tokens=None,
                input_usd_per_million=Decimal(1),
                output_usd_per_million=Decimal(1),
                supported_parameters=[],
                synced_at=func.now(),
            )
        )


def publish(tools: Toolbox, model: str) -> None:
    with tools.database.transaction("test.publish") as session:
        creator_id = session.scalars(select(Creator.id)).one()
        resource = Resource(
            creator_id=creator_id, slug="haiku", type=ResourceType.OPENROUTER_INSTANT
        )
        session.add(resource)
        session.flush()
        session.add(
            ResourceVersion(
                resource_id=resource.id,
                number=1,
                name="haiku",
                description="",
                price_usd_micros=10_000,
                model=model,
            )
        )


# --- Opening


@pytest.mark.parametrize("reason", sorted(breakers.OF_THE_KEY))
def test_what_the_keys_own_state_forbids_stops_every_model_at_once(
    tools: Toolbox, key_id: int, reason: BreakerReason
) -> None:
    fail(tools, key_id, reason)

    assert not is_closed(tools, key_id, MODEL)
    assert not is_closed(tools, key_id, OTHER)


@pytest.mark.parametrize("reason", MODEL_LEVEL)
def test_bad_luck_stops_one_model_after_three_in_a_row(
    tools: Toolbox, key_id: int, reason: BreakerReason
) -> None:
    fail(tools, key_id, reason, times=2)
    assert is_closed(tools, key_id)

    fail(tools, key_id, reason)

    assert not is_closed(tools, key_id)
    assert is_closed(tools, key_id, OTHER)


def test_a_model_that_is_gone_stops_at_once(tools: Toolbox, key_id: int) -> None:
    fail(tools, key_id, BreakerReason.MODEL_GONE)

    assert not is_closed(tools, key_id)
    assert is_closed(tools, key_id, OTHER)


def test_a_success_between_failures_starts_the_row_anew(tools: Toolbox, key_id: int) -> None:
    fail(tools, key_id, BreakerReason.UPSTREAM, times=2)
    succeed(tools, key_id)

    fail(tools, key_id, BreakerReason.UPSTREAM, times=2)

    assert is_closed(tools, key_id)


def test_only_the_failure_that_opens_it_says_so(tools: Toolbox, key_id: int) -> None:
    opened = fail(tools, key_id, BreakerReason.TIMEOUT, times=5)

    assert opened == [False, False, True, False, False]


def test_a_late_success_does_not_close_what_is_open(tools: Toolbox, key_id: int) -> None:
    """It may have begun before the credits ran out."""
    fail(tools, key_id, BreakerReason.UPSTREAM, times=3)

    succeed(tools, key_id)

    assert not is_closed(tools, key_id)


def test_a_failure_of_a_key_that_is_deleted_is_nobodys(tools: Toolbox, key_id: int) -> None:
    with tools.database.transaction("test.creator") as session:
        creator_id = session.get_one(ProviderKey, key_id).creator_id
    keys.delete(tools, creator_id, Provider.OPENROUTER)

    assert fail(tools, key_id, BreakerReason.CREDITS) == [False]


def test_a_new_key_starts_with_nothing_open(tools: Toolbox, key_id: int) -> None:
    fail(tools, key_id, BreakerReason.CREDITS)
    with tools.database.transaction("test.creator") as session:
        creator_id = session.get_one(ProviderKey, key_id).creator_id

    new = keys.put(tools, creator_id, Provider.OPENROUTER, OPENROUTER_KEY).key.id

    assert is_closed(tools, new)


# --- Probing


def test_before_its_time_nothing_is_probed(
    tools: Toolbox, key_id: int, stand_in: StandInClient
) -> None:
    fail(tools, key_id, BreakerReason.UPSTREAM, times=3)

    assert probes.probe_due(tools) == 0
    assert stand_in.counts().model_calls == 0


def test_a_successful_probe_of_a_model_lets_sales_go_on_and_costs_16_tokens_at_most(
    tools: Toolbox, key_id: int, stand_in: StandInClient
) -> None:
    fail(tools, key_id, BreakerReason.UPSTREAM, times=3)
    make_due(tools)

    assert probes.probe_due(tools) == 1

    assert is_closed(tools, key_id)
    (call,) = stand_in.effects("model_call_end")
    assert call.details["outputTokens"] <= 16


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=502),
        Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=429, retry_after="60"),
        Fault(target="openrouter.chat", kind=FaultKind.ERROR_INSIDE, status=502),
        Fault(target="openrouter.chat", kind=FaultKind.ERROR_IN_CHOICE),
        Fault(target="openrouter.chat", kind=FaultKind.RESET),
    ],
    ids=lambda fault: f"{fault.kind.value}-{fault.status}",
)
def test_a_probe_that_fails_leaves_it_open_and_comes_again(
    tools: Toolbox, key_id: int, stand_in: StandInClient, fault: Fault
) -> None:
    fail(tools, key_id, BreakerReason.UPSTREAM, times=3)
    make_due(tools)
    stand_in.arm(fault)

    probes.probe_due(tools)
    assert not is_closed(tools, key_id)

    make_due(tools)
    probes.probe_due(tools)
    assert is_closed(tools, key_id)


def test_what_opened_last_is_probed_first_and_does_not_wait_behind_what_has_hung_for_long(
    tools: Toolbox, key_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "PROBED_AT_ONCE", 1)
    fail(tools, key_id, BreakerReason.TIMEOUT, times=3, model=OTHER)
    with tools.database.transaction("test.age") as session:
        session.execute(update(Breaker).values(opened_at=Breaker.opened_at - timedelta(hours=1)))
    fail(tools, key_id, BreakerReason.UPSTREAM, times=3)
    make_due(tools)

    probes.probe_due(tools)

    assert (is_closed(tools, key_id), is_closed(tools, key_id, OTHER)) == (True, False)


def test_a_model_that_left_the_catalogue_is_not_even_asked(
    tools: Toolbox, key_id: int, stand_in: StandInClient
) -> None:
    list_model(tools, MODEL)
    with tools.database.transaction("test.vanish") as session:
        session.execute(update(CatalogueModel).values(vanished_at=func.now()))
    fail(tools, key_id, BreakerReason.MODEL_GONE)
    make_due(tools)

    probes.probe_due(tools)

    assert not is_closed(tools, key_id)
    assert stand_in.counts().model_calls == 0


def test_a_key_that_works_again_closes_by_itself(
    tools: Toolbox, key_id: int, stand_in: StandInClient
) -> None:
    stand_in.tell_of_a_key(OPENROUTER_KEY, KeyState.INVALID)
    fail(tools, key_id, BreakerReason.KEY_INVALID)
    make_due(tools)
    probes.probe_due(tools)
    assert not is_closed(tools, key_id)

    stand_in.tell_of_a_key(OPENROUTER_KEY, KeyState.VALID)
    make_due(tools)
    ticks.run(tools, TaskName.PROBE_BREAKERS)

    assert is_closed(tools, key_id)


def test_credits_show_only_when_something_is_spent(
    tools: Toolbox, key_id: int, stand_in: StandInClient
) -> None:
    """The provider's word on the key is good while the account is empty."""
    list_model(tools, MODEL)
    publish(tools, MODEL)
    fail(tools, key_id, BreakerReason.CREDITS)
    make_due(tools)
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=402))

    probes.probe_due(tools)
    assert not is_closed(tools, key_id)

    make_due(tools)
    probes.probe_due(tools)
    assert is_closed(tools, key_id)


def test_the_pause_between_probes_grows(tools: Toolbox, key_id: int) -> None:
    fail(tools, key_id, BreakerReason.MODEL_GONE)
    list_model(tools, MODEL)
    pauses = []
    for age in (timedelta(0), timedelta(hours=1), timedelta(days=3)):
        with tools.database.transaction("test.age") as session:
            session.execute(update(CatalogueModel).values(vanished_at=func.now()))
            session.execute(update(Breaker).values(opened_at=func.now() - age, due_at=func.now()))
        probes.probe_due(tools)
        with tools.database.transaction("test.pause") as session:
            pauses.append(-session.scalars(select(ago(Breaker.due_at))).one())

    assert pauses[0] < timedelta(seconds=45)
    assert timedelta(minutes=5) < pauses[1] < timedelta(minutes=10)
    assert timedelta(minutes=45) < pauses[2] < timedelta(minutes=76)


def test_a_model_that_is_slow_to_answer_is_waited_for_the_longer_it_was_not_sold() -> None:
    waits = [
        probes.patience_after(timedelta(minutes=stood)).total_seconds() for stood in (0, 4, 600)
    ]

    assert waits == [10, 30, 60]


def test_an_anthropic_model_is_probed_by_the_providers_own_name(
    tools: Toolbox, stand_in: StandInClient
) -> None:
    creator = a_creator(tools)
    key = keys.put(tools, creator.id, Provider.ANTHROPIC, ANTHROPIC_KEY).key
    fail(tools, key.id, BreakerReason.UPSTREAM, times=3, model="anthropic/claude-haiku-5.5")
    make_due(tools)

    probes.probe_due(tools)

    (call,) = stand_in.effects("model_call_begin")
    assert call.details["model"] == "claude-haiku-5-5"
    assert is_closed(tools, key.id, "anthropic/claude-haiku-5.5")


def test_a_test_of_the_key_brings_the_probe_forward(tools: Toolbox, key_id: int) -> None:
    fail(tools, key_id, BreakerReason.UPSTREAM, times=3)
    with tools.database.transaction("test.creator") as session:
        creator_id = session.get_one(ProviderKey, key_id).creator_id

    keys.test(tools, creator_id, Provider.OPENROUTER)

    assert probes.probe_due(tools) == 1
    assert is_closed(tools, key_id)
