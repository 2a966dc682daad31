"""Probes of open breakers: what stopped sales is tried again, and sales go on when it works."""

import time
from datetime import timedelta

import structlog
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from gateways.errors import OutsideError
from gateways.llms import Question
from gateways.provider_keys import KeyVerdict
from models import due
from models.catalogue import CatalogueModel
from models.creator import EVERY_MODEL, Breaker, BreakerReason, Provider, ProviderKey
from models.database import ago
from models.resource import Resource, ResourceVersion, types_on
from services import retry
from services.instant import asking, breakers, keys
from services.instant.keys import OpenedKey
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

PROBED_AT_ONCE = 20
SWEEP_SECONDS = 20.0
FIRST_PATIENCE = timedelta(seconds=10)
"""One after another: a model that hangs must not keep the others of everybody closed."""
LONGEST_PATIENCE = timedelta(seconds=60)
"""But some need so long for their first word, and would never be sold again."""
PROBE_TOKENS = 16
"""All that a probe may cost the creator, besides a dozen tokens of question."""
AT_MOST_EVERY = timedelta(seconds=30)
AT_LEAST_EVERY = timedelta(hours=1)


def probe_due(tools: Toolbox) -> int:
    """The duty: probe the open breakers whose time has come; returns how many."""
    if tools.vault is None:
        return 0
    began = time.monotonic()
    with tools.database.reading("breakers.due") as session:
        ids = list(session.scalars(_due()))
    probed = 0
    for breaker_id in ids:
        if time.monotonic() - began > SWEEP_SECONDS:
            break
        probed += _probe(tools, breaker_id)
    return probed


def _due() -> Select[int]:
    """Those that opened last come first: what has hung for long is waited for at length, and the
    others must not wait behind it.
    """
    return (
        select(Breaker.id)
        .where(Breaker.opened_at.is_not(None), Breaker.due_at <= func.now())
        .order_by(Breaker.opened_at.desc())
        .limit(PROBED_AT_ONCE)
    )


def _probe(tools: Toolbox, breaker_id: int) -> bool:
    """Claim, try, record. False = somebody else was first."""
    with tools.database.transaction("breakers.claim") as session:
        claimed = due.claim(
            session,
            Breaker,
            breaker_id,
            lease=tools.leases.lease,
            where=Breaker.opened_at.is_not(None),
        )
        stood = _stood(session, breaker_id)
    if claimed is None:
        return False
    breaker, claim = claimed.row, claimed.number
    with tools.leases.hold(Breaker, breaker_id, claim):
        wish = _trouble(tools, breaker, patience_after(stood))
    with tools.database.transaction("breakers.probed") as session:
        if wish is None:
            of_this = (Breaker.id == breaker_id, Breaker.claim == claim)
            closed = breakers.close(session, *of_this)
        else:
            closed = []
            _put_off(session, breaker_id, claim, wish)
    if closed:
        logger.info("breaker closed", provider_key=breaker.provider_key_id)
    return True


def patience_after(stood: timedelta) -> timedelta:
    """How long to wait for a model that has not been sold for so long."""
    return min(max(stood / 8, FIRST_PATIENCE), LONGEST_PATIENCE)


def _stood(session: Session, breaker_id: int) -> timedelta:
    opened = session.scalar(select(ago(Breaker.opened_at)).where(Breaker.id == breaker_id))
    return opened or timedelta(0)


def _put_off(session: Session, breaker_id: int, claim: int, wish: timedelta) -> None:
    stood = _stood(session, breaker_id)
    delay = retry.patience(stood, at_least=AT_MOST_EVERY, at_most=AT_LEAST_EVERY)
    due.put_off(session, Breaker, breaker_id, claim, delay=max(delay, wish))


def _trouble(tools: Toolbox, breaker: Breaker, patience: timedelta) -> timedelta | None:
    """None = it works. Else the provider's own wish for a pause, zero when it has none."""
    found = keys.open_row(tools, breaker.provider_key_id)
    if found is None:
        return timedelta(0)
    key, opened = found
    try:
        works = _works(tools, breaker, key, opened, patience)
    except OutsideError as error:
        return error.retry_after or timedelta(0)
    return None if works else timedelta(0)


def _works(
    tools: Toolbox, breaker: Breaker, key: ProviderKey, opened: OpenedKey, patience: timedelta
) -> bool:
    """Raises OutsideError when it does not. Credits show only when something is spent."""
    if breaker.model != EVERY_MODEL:
        return _answers(tools, key.provider, opened, breaker.model, patience)
    if keys.verdict(tools, key.provider, opened.secret) is not KeyVerdict.VALID:
        return False
    if breaker.reason is not BreakerReason.CREDITS:
        return True
    model = _a_model_of(tools, key)
    return model is None or _answers(tools, key.provider, opened, model, patience)


def _answers(
    tools: Toolbox, provider: Provider, opened: OpenedKey, model: str, patience: timedelta
) -> bool:
    """Any answer will do, one that is cut or empty too."""
    if _has_vanished(tools, model):
        return False
    question = Question(
        model=asking.name_at(provider, model),
        system="",
        user="Say yes.",
        max_output_tokens=PROBE_TOKENS,
        seconds=patience.total_seconds(),
    )
    tools.creator_model(provider, opened.secret).ask(question)
    return True


def _has_vanished(tools: Toolbox, model: str) -> bool:
    with tools.database.reading("breakers.model") as session:
        vanished = select(CatalogueModel.vanished_at).where(CatalogueModel.id == model)
        return session.scalar(vanished) is not None


def _a_model_of(tools: Toolbox, key: ProviderKey) -> str | None:
    """A model that something on this key is sold with, the cheapest; None = nothing is."""
    with tools.database.reading("breakers.any_model") as session:
        return session.scalar(
            select(ResourceVersion.model)
            .join(Resource, Resource.id == ResourceVersion.resource_id)
            .join(CatalogueModel, CatalogueModel.id == ResourceVersion.model)
            .where(
                Resource.creator_id == key.creator_id,
                Resource.type.in_(types_on(key.provider)),
                Resource.archived_at.is_(None),
                ResourceVersion.number == Resource.newest_version,
                CatalogueModel.vanished_at.is_(None),
            )
            .order_by(func.coalesce(CatalogueModel.output_usd_per_million, 0))
            .limit(1)
        )
