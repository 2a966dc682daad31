"""Creators' keys: sealed in the row, verified by themselves, and what depends on them."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from config.queues import TaskName
from gateways.provider_keys import KeyVerdict
from gateways.vault import SealBroken
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.key_states import KeyState
from local.stand_in.testing import StandInClient
from models.creator import Breaker, BreakerReason, Provider, ProviderKey
from models.database import ago
from models.resource import PauseReason, Resource, ResourceType, ResourceVersion
from services.errors import InvalidRequest, NotFound
from services.instant import keys
from services.operate import ticks
from services.toolbox import Toolbox
from tests.support.creators import ANTHROPIC_KEY, OPENROUTER_KEY, Someone, a_creator

ANOTHER_KEY = "sk-or-v1-tests-provider-key-0009"


@pytest.fixture
def ada(tools: Toolbox) -> Someone:
    return a_creator(tools)


def stored(tools: Toolbox) -> list[ProviderKey]:
    with tools.database.transaction("test.keys") as session:
        return list(session.scalars(select(ProviderKey).order_by(ProviderKey.id)))


def publish(tools: Toolbox, who: Someone, slug: str, of: ResourceType) -> None:
    with tools.database.transaction("test.publish") as session:
        resource = Resource(creator_id=who.id, slug=slug, type=of)
        session.add(resource)
        session.flush()
        version = ResourceVersion(
            resource_id=resource.id,
            number=1,
            name=slug,
            description="",
            price_usd_micros=10_000,
            model="openai/gpt-6-mini",
        )
        session.add(version)


def pauses(tools: Toolbox) -> dict[str, PauseReason | None]:
    with tools.database.transaction("test.pauses") as session:
        return {row.slug: row.pause_reason for row in session.scalars(select(Resource))}


def make_due(tools: Toolbox) -> None:
    with tools.database.transaction("test.due") as session:
        session.execute(update(ProviderKey).values(due_at=func.now() - timedelta(seconds=1)))


def due_in(tools: Toolbox) -> timedelta:
    with tools.database.transaction("test.due_in") as session:
        return -session.scalars(select(ago(ProviderKey.due_at))).one()


# --- Sealed


def test_what_the_database_holds_tells_nothing_of_the_key(tools: Toolbox, ada: Someone) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)

    with tools.database.transaction("test.dump") as session:
        dump = str(session.execute(text("SELECT provider_keys::text FROM provider_keys")).all())
    assert OPENROUTER_KEY[:-4] not in dump
    assert OPENROUTER_KEY[-4:] in dump


def test_a_key_opens_for_its_creator_and_provider_only(tools: Toolbox, ada: Someone) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    bob = a_creator(tools, "bob")

    opened = keys.open_key(tools, ada.id, Provider.OPENROUTER)

    assert opened is not None
    assert opened.secret == OPENROUTER_KEY
    assert OPENROUTER_KEY not in repr(opened)
    assert keys.open_key(tools, ada.id, Provider.ANTHROPIC) is None
    assert keys.open_key(tools, bob.id, Provider.OPENROUTER) is None


def test_an_envelope_copied_into_anothers_row_opens_nothing(tools: Toolbox, ada: Someone) -> None:
    bob = a_creator(tools, "bob")
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    keys.put(tools, bob.id, Provider.OPENROUTER, ANOTHER_KEY)
    of_ada = stored(tools)[0].sealed

    with tools.database.transaction("test.steal") as session:
        stolen = update(ProviderKey).where(ProviderKey.creator_id == bob.id)
        session.execute(stolen.values(sealed=of_ada))

    assert keys.open_key(tools, bob.id, Provider.OPENROUTER) is None
    assert tools.vault is not None
    with pytest.raises(SealBroken):
        tools.vault.open(of_ada, bound_to=keys.bond(bob.id, Provider.OPENROUTER, 1))


def test_a_key_saved_anew_is_another_row_of_the_same_age(tools: Toolbox, ada: Someone) -> None:
    first = keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY).key

    second = keys.put(tools, ada.id, Provider.OPENROUTER, ANOTHER_KEY).key

    assert [row.id for row in stored(tools)] == [second.id]
    assert second.id != first.id
    assert second.created_at == first.created_at
    assert (first.replaced_at, second.replaced_at is None) == (None, False)


# --- What depends on it


def test_deleting_a_key_pauses_what_runs_on_it_and_says_so(tools: Toolbox, ada: Someone) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    publish(tools, ada, "haiku", ResourceType.OPENROUTER_INSTANT)
    publish(tools, ada, "essay", ResourceType.OPENROUTER_INSTANT)
    publish(tools, ada, "letter", ResourceType.PROMPT_TEMPLATE)
    publish(tools, ada, "page", ResourceType.STATIC)

    paused = keys.delete(tools, ada.id, Provider.OPENROUTER)

    assert paused == ["essay", "haiku"]
    assert pauses(tools) == {
        "haiku": PauseReason.KEY_DELETED,
        "essay": PauseReason.KEY_DELETED,
        "letter": None,
        "page": None,
    }


def test_saving_a_key_again_resumes_what_its_deletion_paused_and_nothing_else(
    tools: Toolbox, ada: Someone
) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    publish(tools, ada, "haiku", ResourceType.OPENROUTER_INSTANT)
    publish(tools, ada, "resting", ResourceType.OPENROUTER_INSTANT)
    with tools.database.transaction("test.pause") as session:
        of = update(Resource).where(Resource.slug == "resting")
        session.execute(of.values(paused_at=func.now(), pause_reason=PauseReason.CREATOR))
    keys.delete(tools, ada.id, Provider.OPENROUTER)

    saved = keys.put(tools, ada.id, Provider.OPENROUTER, ANOTHER_KEY)

    assert saved.resumed == ("haiku",)
    assert pauses(tools) == {"haiku": None, "resting": PauseReason.CREATOR}


def test_a_key_that_is_not_there_cannot_be_deleted_or_tested(tools: Toolbox, ada: Someone) -> None:
    with pytest.raises(NotFound):
        keys.delete(tools, ada.id, Provider.OPENROUTER)
    with pytest.raises(NotFound):
        keys.test(tools, ada.id, Provider.OPENROUTER)


# --- Verified by themselves


def test_a_revoked_key_is_found_out_and_stops_sales(
    tools: Toolbox, ada: Someone, stand_in: StandInClient
) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    stand_in.tell_of_a_key(OPENROUTER_KEY, KeyState.INVALID)
    make_due(tools)

    assert keys.verify_due(tools) == 1

    (key,) = stored(tools)
    assert (key.is_valid, key.last_error_code) == (False, "key_invalid")
    with tools.database.transaction("test.breaker") as session:
        breaker = session.scalars(select(Breaker)).one()
    assert (breaker.model, breaker.reason) == ("*", BreakerReason.KEY_INVALID)
    assert timedelta(minutes=40) < due_in(tools) < timedelta(minutes=80)


def test_a_good_key_is_asked_about_again_in_a_day(tools: Toolbox, ada: Someone) -> None:
    keys.put(tools, ada.id, Provider.ANTHROPIC, ANTHROPIC_KEY)
    make_due(tools)

    assert keys.verify_due(tools) == 1
    assert keys.verify_due(tools) == 0

    (key,) = stored(tools)
    assert key.is_valid is True
    assert timedelta(hours=17) < due_in(tools) < timedelta(hours=31)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target="openrouter.key", kind=FaultKind.STATUS, status=500),
        Fault(target="openrouter.key", kind=FaultKind.STATUS, status=429, retry_after="5"),
        Fault(target="openrouter.key", kind=FaultKind.RESET),
        Fault(target="openrouter.key", kind=FaultKind.TRUNCATED),
        Fault(target="openrouter.key", kind=FaultKind.BODY, text="{}"),
    ],
    ids=lambda fault: fault.kind.value,
)
def test_trouble_at_the_provider_says_nothing_about_the_key(
    tools: Toolbox, ada: Someone, stand_in: StandInClient, fault: Fault
) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    make_due(tools)
    stand_in.arm(fault.model_copy(update={"times": 3}))

    keys.verify_due(tools)

    (key,) = stored(tools)
    assert (key.is_valid, key.last_error_code) == (True, None)
    assert timedelta(seconds=30) < due_in(tools) < timedelta(minutes=2)


def test_a_recovered_key_is_good_again_and_sales_go_on(
    tools: Toolbox, ada: Someone, stand_in: StandInClient
) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    stand_in.tell_of_a_key(OPENROUTER_KEY, KeyState.INVALID)
    keys.test(tools, ada.id, Provider.OPENROUTER)
    stand_in.tell_of_a_key(OPENROUTER_KEY, KeyState.VALID)

    key = keys.test(tools, ada.id, Provider.OPENROUTER)

    assert (key.is_valid, key.last_error_code) == (True, None)
    with tools.database.transaction("test.breaker") as session:
        assert session.scalars(select(Breaker.opened_at)).all() == [None]


def test_the_duty_verifies_what_is_due(tools: Toolbox, ada: Someone) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    before = stored(tools)[0].last_verified_at
    make_due(tools)

    ticks.run(tools, TaskName.VERIFY_KEYS)

    after = stored(tools)[0].last_verified_at
    assert before is not None
    assert after is not None
    assert after > before


def test_a_key_replaced_while_it_is_verified_is_not_judged_by_the_old_one(
    tools: Toolbox, ada: Someone, stand_in: StandInClient
) -> None:
    """The provider answers about the first key after the second has been saved."""
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)

    class Slow:
        def check_openrouter(self, secret: str) -> object:
            keys.put(tools, ada.id, Provider.OPENROUTER, ANOTHER_KEY)
            return KeyVerdict.INVALID

    make_due(tools)
    keys.verify_due(tools.with_(provider_keys=Slow()))

    (key,) = stored(tools)
    assert (key.last4, key.is_valid) == (ANOTHER_KEY[-4:], True)


def test_without_a_vault_the_duty_does_nothing(tools: Toolbox, ada: Someone) -> None:
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    make_due(tools)

    assert keys.verify_due(tools.with_(vault=None)) == 0


def test_a_refused_key_is_not_repeated_in_the_error(tools: Toolbox, ada: Someone) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keys.put(tools, ada.id, Provider.OPENROUTER, "sk-or-v1-invalid-0001")

    assert "sk-or" not in str(refused.value)
