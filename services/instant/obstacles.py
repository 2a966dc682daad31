"""What keeps resources from selling, in one vocabulary: for their owners, for logs, at the door."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from config.settings import Settings
from models.catalogue import CatalogueModel
from models.creator import Creator
from models.money import Usd
from models.resource import MODEL_TYPES, Resource, ResourceVersion
from services.errors import InvalidRequest
from services.instant import asking, limits
from services.instant.templates import Inputs
from services.toolbox import Toolbox


class Obstacle(StrEnum):
    """Why a resource does not sell, although nobody would notice by its price tag."""

    ARCHIVED = "archived"
    PAUSED = "paused"
    NO_ADDRESS = "no_payout_address"
    MODEL_GONE = "model_gone"
    KEY_MISSING = "key_missing"
    KEY_INVALID = "key_invalid"
    BREAKER_OPEN = "breaker_open"
    """The key or the model failed; it is probed, and sells again when it works."""
    NO_FACILITATOR = "no_facilitator"
    """This deployment takes no payments for resources."""
    NO_ROOM = "no_room"
    """The prompt alone fills the model's context, which was larger when it was published."""
    COST_CAP = "cost_cap"
    """A call may cost more than the creator's caps allow, or leave of today."""
    UNPAID = "too_much_unpaid"
    """What nobody paid for has cost the creator too much within a day (services.instant.limits)."""
    CROWDED = "too_many_unsettled"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What every run changes: read once for any number of a creator's resources."""

    crowded: Collection[int]
    """Ids of resources."""
    is_drained: bool
    affordable: Usd | None
    """What a call may cost; None = anything."""


def moment(
    session: Session, settings: Settings, creator_id: int, resource_ids: Collection[int]
) -> Moment:
    return Moment(
        crowded=limits.crowded(session, settings, resource_ids),
        is_drained=limits.is_drained(session, creator_id),
        affordable=limits.affordable(session, session.get_one(Creator, creator_id)),
    )


def passing(
    tools: Toolbox,
    now: Moment,
    resource: Resource,
    version: ResourceVersion,
    model: CatalogueModel | None,
) -> Iterator[Obstacle]:
    """What stands in the way for the moment, as long as nobody has given any inputs.

    ``model`` None = it is gone, or there is none. Reads nothing.
    """
    if tools.facilitator is None:
        yield Obstacle.NO_FACILITATOR
    if resource.id in now.crowded:
        yield Obstacle.CROWDED
    if resource.type in MODEL_TYPES and now.is_drained:
        yield Obstacle.UNPAID
    if model is not None:
        yield from _of_cost(now, resource, version, model)


def _of_cost(
    now: Moment, resource: Resource, version: ResourceVersion, model: CatalogueModel
) -> Iterator[Obstacle]:
    try:
        asked = asking.question(resource.type, version, Inputs(), model)
    except InvalidRequest:
        yield Obstacle.NO_ROOM
        return
    if now.affordable is not None and asking.worst_cost(asked, model) > now.affordable:
        yield Obstacle.COST_CAP
