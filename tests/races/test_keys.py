"""Keys and breakers, met by many at once."""

from sqlalchemy import func, select

from models.creator import Breaker, BreakerReason, Provider, ProviderKey
from services.errors import Conflict
from services.instant import breakers, creators, keys
from services.toolbox import Toolbox
from tests.support.creators import OPENROUTER_KEY, a_creator
from tests.support.together import THREADS, all_at_once, together


def test_of_many_keys_saved_at_once_one_is_kept_and_it_opens(tools: Toolbox) -> None:
    ada = a_creator(tools)
    secrets = [f"{OPENROUTER_KEY}-{number:04}" for number in range(THREADS)]

    saved = together(
        *(
            lambda secret=secret: keys.put(tools, ada.id, Provider.OPENROUTER, secret)
            for secret in secrets
        )
    )

    assert not [result for result in saved if isinstance(result, Exception)]
    opened = keys.open_key(tools, ada.id, Provider.OPENROUTER)
    assert opened is not None
    assert opened.secret in secrets
    with tools.database.transaction("test.count") as session:
        assert session.scalar(select(func.count(ProviderKey.id))) == 1


def test_a_handle_asked_for_at_once_is_given_to_one(tools: Toolbox) -> None:
    results = all_at_once(lambda: creators.register(tools, "ada", {}))

    refused = [result for result in results if isinstance(result, Conflict)]
    assert len(refused) == THREADS - 1


def note_failure(tools: Toolbox, key_id: int, reason: BreakerReason) -> bool:
    with tools.database.transaction("test.failure") as session:
        return breakers.note_failure(session, key_id, "a/model", reason)


def test_failures_at_once_are_all_counted_and_one_of_them_opens_the_breaker(
    tools: Toolbox,
) -> None:
    ada = a_creator(tools)
    key_id = keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY).key.id

    opened = all_at_once(lambda: note_failure(tools, key_id, BreakerReason.UPSTREAM))

    assert opened.count(True) == 1
    with tools.database.transaction("test.breaker") as session:
        assert session.scalar(select(Breaker.failures)) == breakers.FAILURES_IN_A_ROW


def test_a_key_deleted_while_its_calls_fail_leaves_nothing_behind(tools: Toolbox) -> None:
    ada = a_creator(tools)
    key_id = keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY).key.id

    results = together(
        *[lambda: note_failure(tools, key_id, BreakerReason.CREDITS)] * 7,
        lambda: bool(keys.delete(tools, ada.id, Provider.OPENROUTER)),
    )

    assert not [result for result in results if isinstance(result, Exception)]
    with tools.database.transaction("test.breakers") as session:
        assert session.scalar(select(func.count(Breaker.id))) == 0
