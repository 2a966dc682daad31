"""Circuit breakers: nothing is sold on a key or a model that has just failed, until a probe passes.

What a key's own state forbids (revoked, no credits) stops every model of the key at once; what may
be the moment's bad luck stops a model after three failures in a row.
"""

from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, Select, case, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.creator import EVERY_MODEL, Breaker, BreakerReason, ProviderKey

logger = structlog.get_logger(__name__)

OF_THE_KEY = frozenset({BreakerReason.KEY_INVALID, BreakerReason.CREDITS})
DEFINITE = OF_THE_KEY | {BreakerReason.MODEL_GONE}
"""Asking again would be answered alike: one failure is enough."""
FAILURES_IN_A_ROW = 3
FIRST_PROBE = timedelta(seconds=30)


def is_closed(session: Session, provider_key_id: int, model: str) -> bool:
    """Whether what needs this key and model may be sold."""
    return session.scalar(_open(provider_key_id, model).limit(1)) is None


def _open(provider_key_id: int, model: str) -> Select[BreakerReason | None]:
    return select(Breaker.reason).where(
        Breaker.provider_key_id == provider_key_id,
        Breaker.model.in_((EVERY_MODEL, model)),
        Breaker.opened_at.is_not(None),
    )


def note_failure(session: Session, provider_key_id: int, model: str, reason: BreakerReason) -> bool:
    """Count a failed call; True when it opened the breaker. A key deleted since is ignored."""
    opened = record_failure(session, provider_key_id, model, reason)
    if opened and reason is BreakerReason.KEY_INVALID:
        _verify_soon(session, provider_key_id)
    if opened:
        logger.warning("breaker opened", provider_key=provider_key_id, reason=reason.value)
    return opened


def record_failure(
    session: Session, provider_key_id: int, model: str, reason: BreakerReason
) -> bool:
    """As ``note_failure``, without a word to whoever verifies keys: it may be the one who asks."""
    writes_key = reason is BreakerReason.KEY_INVALID
    key = session.scalar(
        select(ProviderKey.id)
        .where(ProviderKey.id == provider_key_id)
        .with_for_update(key_share=True, read=not writes_key)  # key before breaker, as verifying
    )
    if key is None:
        return False
    row = insert(Breaker).values(
        provider_key_id=provider_key_id,
        model=EVERY_MODEL if reason in OF_THE_KEY else model,
        failures=1,
        reason=reason,
        **_moment_of_opening(opens=literal(_enough(reason) == 1)),
    )
    opens = Breaker.failures + 1 >= _enough(reason)
    upserted = row.on_conflict_do_update(
        index_elements=[Breaker.provider_key_id, Breaker.model],
        set_={
            "failures": Breaker.failures + 1,
            "reason": reason,
            **_moment_of_opening(opens=opens),
        },
        where=Breaker.opened_at.is_(None),
    ).returning(Breaker.opened_at)
    return session.scalar(upserted) is not None


def _enough(reason: BreakerReason) -> int:
    return 1 if reason in DEFINITE else FAILURES_IN_A_ROW


def _moment_of_opening(*, opens: ColumnElement[bool]) -> dict[str, ColumnElement[object]]:
    return {
        "opened_at": case((opens, func.now()), else_=null()),
        "due_at": case((opens, func.now() + FIRST_PROBE), else_=null()),
    }


def _verify_soon(session: Session, provider_key_id: int) -> None:
    session.execute(
        update(ProviderKey).where(ProviderKey.id == provider_key_id).values(due_at=func.now())
    )


def note_success(session: Session, provider_key_id: int, model: str) -> None:
    """A call went well: what failed before it was not in a row. An open breaker waits for a probe,
    because this call may have begun before it opened.
    """
    session.execute(
        update(Breaker)
        .where(
            Breaker.provider_key_id == provider_key_id,
            Breaker.model == model,
            Breaker.failures > 0,
            Breaker.opened_at.is_(None),
        )
        .values(failures=0, reason=None)
    )


def close(session: Session, *which: ColumnElement[bool]) -> list[int]:
    """Sell again; returns the ids of the breakers that were open."""
    closed = session.scalars(
        update(Breaker)
        .where(Breaker.opened_at.is_not(None), *which)
        .values(failures=0, reason=None, opened_at=None, due_at=None, claim=Breaker.claim + 1)
        .returning(Breaker.id)
    )
    return list(closed)


def probe_soon(session: Session, provider_key_id: int) -> None:
    """Something has changed about this key: try at once what was put off."""
    session.execute(
        update(Breaker)
        .where(Breaker.provider_key_id == provider_key_id, Breaker.due_at > func.now())
        .values(due_at=func.now(), claim=Breaker.claim + 1)
    )
