"""Models to build on: a list kept in PostgreSQL, synced daily, and what a run on one can cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import DateTime, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.errors import OutsideError
from gateways.model_lists import ListedModel
from gateways.prices import TokenRates
from models import locks
from models.catalogue import CatalogueModel
from models.locks import Lock
from models.money import Usd, usd_rounded_up
from models.tick import Tick
from services.money import pricing
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

SYNCED_AGAIN_AFTER = timedelta(days=1)
TRIED_AGAIN_AFTER = timedelta(minutes=10)
LEAST_SHARE_KEPT = 0.5
"""A list that lost more of our models than this share is a mistake and changes nothing."""

_REPLACED = (
    *("name", "context_tokens", "max_output_tokens", "input_usd_per_million"),
    *("output_usd_per_million", "request_usd", "supported_parameters", "synced_at", "vanished_at"),
)


def sync_when_due(tools: Toolbox) -> None:
    """The duty: syncs once a day, tries again soon after a failure, and never raises for one.

    Does nothing without instant resources. When it is due stands in its tick's cursor.
    """
    if tools.vault is None:
        return
    now = _look(tools)
    if not now.is_due:
        return
    is_synced = _sync(tools, now.at)
    rest = SYNCED_AGAIN_AFTER if is_synced else TRIED_AGAIN_AFTER
    with tools.database.transaction("catalogue.rest") as session:
        session.execute(
            update(Tick)
            .where(_TICK, Tick.cursor.is_not_distinct_from(now.cursor))  # or another has synced
            .values(cursor=func.to_char(func.now() + rest, _AS_TEXT))
        )


_TICK = Tick.name == TaskName.SYNC_CATALOGUE.value
_AS_TEXT = 'YYYY-MM-DD"T"HH24:MI:SSOF'


@dataclass(frozen=True)
class _Look:
    at: datetime
    cursor: str | None
    is_due: bool


def _look(tools: Toolbox) -> _Look:
    due_at = cast(Tick.cursor, DateTime(timezone=True))
    # no further ahead than it is ever put: the clock may have been set back since
    is_resting = due_at.between(func.now(), func.now() + SYNCED_AGAIN_AFTER)
    cursor, resting = (
        select(told).where(_TICK).scalar_subquery() for told in (Tick.cursor, is_resting)
    )
    with tools.database.reading("catalogue.due") as session:
        at, seen, rests = session.execute(select(func.now(), cursor, resting)).one()
    return _Look(at, seen, is_due=not rests)


def sync(tools: Toolbox) -> bool:
    """Fetch the list and keep it; False = the old one stays. Safe to repeat.

    Models that are listed no more are marked, not deleted, and stop selling at once.
    """
    return _sync(tools, _look(tools).at)


def _sync(tools: Toolbox, began_at: datetime) -> bool:
    try:
        listed = tools.model_list.fetch()
    except OutsideError as error:
        logger.warning("catalogue not synced", code=error.code)
        return False
    with tools.database.transaction("catalogue.keep") as session:
        return _keep(session, listed, began_at)


def _keep(session: Session, listed: list[ListedModel], began_at: datetime) -> bool:
    # one at a time: two lists fetched at different times must not be mixed
    locks.take(session, Lock.CATALOGUE)
    if _is_kept_since(session, began_at):
        logger.info("catalogue synced by another")
        return True
    known = set(
        session.scalars(select(CatalogueModel.id).where(CatalogueModel.vanished_at.is_(None)))
    )
    still_there = known & {model.id for model in listed}
    if not listed or len(still_there) < len(known) * LEAST_SHARE_KEPT:
        logger.error("catalogue refused", known=len(known), listed=len(listed))
        return False
    _write(session, listed)
    vanished = _mark_vanished(session, (model.id for model in listed))
    logger.info("catalogue synced", models=len(listed), vanished=vanished)
    return True


def _is_kept_since(session: Session, began_at: datetime) -> bool:
    """Whether a list was kept that may be younger than one that was asked for then.

    By the clock of this moment: whoever waited for the lock began before what it waited for.
    """
    younger = CatalogueModel.synced_at.between(began_at, func.clock_timestamp())
    return session.scalar(select(CatalogueModel.id).where(younger).limit(1)) is not None


def _write(session: Session, listed: list[ListedModel]) -> None:
    rows = insert(CatalogueModel).values([_row(model) for model in listed])
    session.execute(
        rows.on_conflict_do_update(
            index_elements=[CatalogueModel.id],
            set_={name: rows.excluded[name] for name in _REPLACED},
        )
    )


def _row(model: ListedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "input_usd_per_million": model.input_usd_per_million,
        "output_usd_per_million": model.output_usd_per_million,
        "request_usd": model.request_usd,
        "supported_parameters": list(model.supported_parameters),
        "synced_at": func.now(),
        "vanished_at": None,
    }


def _mark_vanished(session: Session, listed: Iterable[str]) -> int:
    gone = session.scalars(
        update(CatalogueModel)
        .where(CatalogueModel.id.not_in(list(listed)), CatalogueModel.vanished_at.is_(None))
        .values(vanished_at=func.now())
        .returning(CatalogueModel.id)
    )
    return len(gone.all())


def find(session: Session, model_id: str) -> CatalogueModel | None:
    """A model, vanished ones included: look at ``vanished_at`` before anything is sold on it."""
    return session.get(CatalogueModel, model_id)


def on_offer(tools: Toolbox) -> list[CatalogueModel]:
    """Every model that resources can be built on now, by id."""
    with tools.database.reading("catalogue.list") as session:
        return list(
            session.scalars(
                select(CatalogueModel)
                .where(CatalogueModel.vanished_at.is_(None))
                .order_by(CatalogueModel.id)
            )
        )


def output_cap(model: CatalogueModel, wanted: int, *texts: str) -> int:
    """The ``max_tokens`` of a call with these prompts: what the creator wants, as far as the
    provider and the context allow, counting a token for every byte. Below 1 there is no room.
    """
    room = model.context_tokens - pricing.input_bound(*texts)
    return min(wanted, model.max_output_tokens or wanted, room)


def worst_cost(model: CatalogueModel, cap: int, *texts: str) -> Usd:
    """The most that a call with these prompts and this ``max_tokens`` can cost its creator."""
    return cost(model, input_tokens=pricing.input_bound(*texts), output_tokens=cap)


def cost(model: CatalogueModel, *, input_tokens: int, output_tokens: int) -> Usd:
    """What these tokens cost by the catalogue."""
    rates = TokenRates(input=model.input_usd_per_million, output=model.output_usd_per_million)
    tokens = pricing.token_cost(rates, input_tokens=input_tokens, output_tokens=output_tokens)
    return usd_rounded_up(tokens + model.request_usd)
