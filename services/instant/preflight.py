"""Whether a resource can sell now: asked before a price is shown, and before money is taken."""

from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from gateways.llms import Question
from models.catalogue import CatalogueModel
from models.creator import ProviderKey
from models.money import Usd
from models.resource import MODEL_TYPES, PROVIDER_OF, ResourceVersion
from services.errors import ErrorCode, InvalidRequest, NotNow
from services.instant import asking, breakers, catalogue, limits
from services.instant.obstacles import Obstacle
from services.instant.resources import OnSale
from services.instant.templates import Inputs
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

COME_BACK = timedelta(seconds=30)
UNAVAILABLE = "Resource unavailable"
"""All that callers are ever told about a creator's trouble."""


class CannotSell(NotNow):
    """It may work later. ``obstacle`` is for the owner; the message says nothing of it."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(UNAVAILABLE, code=ErrorCode.RESOURCE_UNAVAILABLE, retry_after=COME_BACK)
        self.obstacle = obstacle


def check(
    tools: Toolbox, sale: OnSale, version: ResourceVersion, inputs: Inputs | None
) -> Usd | None:
    """Raise CannotSell if this version cannot be sold now; returns its worst model cost.

    ``inputs`` None = nobody has given any yet: then the prompt is taken as it stands. None comes
    back for types without a model.
    """
    if tools.facilitator is None:
        raise _cannot(sale, Obstacle.NO_FACILITATOR)
    with tools.database.transaction("runs.preflight") as session:
        obstacle = _of_sale(session, tools, sale)
        if obstacle is not None:
            raise _cannot(sale, obstacle)
        return check_key(session, sale, version, inputs or Inputs())


def _of_sale(session: Session, tools: Toolbox, sale: OnSale) -> Obstacle | None:
    if sale.resource.paused_at is not None:
        return Obstacle.PAUSED
    if not set(sale.addresses) & {network.name for network in tools.networks}:
        return Obstacle.NO_ADDRESS
    if limits.is_crowded(session, tools.settings, sale.resource.id):
        return Obstacle.CROWDED
    return None


def check_key(
    session: Session,
    sale: OnSale,
    version: ResourceVersion,
    inputs: Inputs,
    *,
    is_test: bool = False,
) -> Usd | None:
    """The part that is about the creator's key and model. An owner's test is not kept from trying.

    Raises CannotSell, or InvalidRequest when the inputs leave no room for an answer.
    """
    if sale.resource.type not in MODEL_TYPES:
        return None
    obstacle = None if is_test else _of_key(session, sale, version)
    model = catalogue.find(session, version.model or "")
    if obstacle is not None or model is None or model.vanished_at is not None:
        raise _cannot(sale, obstacle or Obstacle.MODEL_GONE)
    asked = _question(sale, version, inputs, model)
    worst = asking.worst_cost(asked, model)
    if not limits.is_within_caps(session, sale.creator, worst):
        raise _cannot(sale, Obstacle.COST_CAP)
    return worst


def _question(
    sale: OnSale, version: ResourceVersion, inputs: Inputs, model: CatalogueModel
) -> Question:
    try:
        return asking.question(sale.resource.type, version, inputs, model)
    except InvalidRequest:
        if inputs == Inputs():  # then it is no caller's fault
            raise _cannot(sale, Obstacle.NO_ROOM) from None
        raise


def _of_key(session: Session, sale: OnSale, version: ResourceVersion) -> Obstacle | None:
    key = session.scalar(
        select(ProviderKey).where(
            ProviderKey.creator_id == sale.creator.id,
            ProviderKey.provider == PROVIDER_OF[sale.resource.type],
        )
    )
    if key is None:
        return Obstacle.KEY_MISSING
    if key.is_valid is False:
        return Obstacle.KEY_INVALID
    if limits.is_drained(session, sale.creator.id):
        return Obstacle.UNPAID
    is_closed = breakers.is_closed(session, key.id, version.model or "")
    return None if is_closed else Obstacle.BREAKER_OPEN


def _cannot(sale: OnSale, obstacle: Obstacle) -> CannotSell:
    logger.info("resource cannot sell", resource=sale.resource.id, why=obstacle.value)
    return CannotSell(obstacle)
