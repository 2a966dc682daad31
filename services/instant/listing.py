"""Resources as their owner sees them, with what keeps them from selling, and as everybody does."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, literal, null, select
from sqlalchemy.orm import Session, defer

from models.catalogue import CatalogueModel
from models.creator import EVERY_MODEL, Breaker, BreakerReason, Creator, PayoutAddress, ProviderKey
from models.resource import MODEL_TYPES, PROVIDER_OF, Resource, ResourceVersion
from models.slug import is_slug
from services.instant import obstacles
from services.instant.obstacles import Moment, Obstacle
from services.instant.resources import not_found
from services.toolbox import Toolbox


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A resource with its newest version, seen at one moment."""

    handle: str
    resource: Resource
    version: ResourceVersion
    model: CatalogueModel | None
    """None = gone, or there is none."""
    obstacles: tuple[Obstacle, ...] = field(default=())
    """Empty = it sells."""
    resting_because: BreakerReason | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    items: Sequence[Listed]
    after: int | None
    """Ask for what comes after this; None = that was all."""


def of_owner(tools: Toolbox, creator_id: int, *, after: int | None, limit: int) -> Page:
    """Everything that a creator has published, the newest first."""
    everything = _everything(tools).where(Creator.id == creator_id)
    with tools.database.reading("listing.of_owner") as session:
        page = _page(session, everything, after, limit)
        now = _moment(session, tools, creator_id, page.items)
    return replace(page, items=[_told_to_its_owner(tools, now, item) for item in page.items])


def read(tools: Toolbox, creator_id: int, slug: str) -> Listed:
    """One of a creator's own. Raises NotFound."""
    if not is_slug(slug):
        raise not_found()
    wanted = _everything(tools).where(Creator.id == creator_id, Resource.slug == slug)
    with tools.database.reading("listing.read") as session:
        row = session.execute(wanted).one_or_none()
        if row is None:
            raise not_found()
        item = _listed(row)
        now = _moment(session, tools, creator_id, [item])
    return _told_to_its_owner(tools, now, item)


def on_sale(tools: Toolbox, *, handle: str | None, after: int | None, limit: int) -> Page:
    """What everybody can buy now, of one creator or of all, the newest first.

    What stands in the way only for the moment takes nothing off the list. What is sold is not read.
    """
    selling = (
        _everything(tools)
        .where(and_(*(~is_there for is_there in _OBSTACLES.values())))
        .options(*(defer(column, raiseload=True) for column in _NOT_FOR_EVERYBODY))
    )
    if handle is not None:
        selling = selling.where(Creator.handle == handle)
    with tools.database.reading("listing.on_sale") as session:
        return _page(session, selling, after, limit)


_NOT_FOR_EVERYBODY = (
    ResourceVersion.system_prompt,
    ResourceVersion.content,
    ResourceVersion.upstream_url,
)


def _page(session: Session, wanted: Select[Any], after: int | None, limit: int) -> Page:
    if after is not None:
        wanted = wanted.where(Resource.id < after)
    rows = session.execute(wanted.order_by(Resource.id.desc()).limit(limit + 1)).all()
    items = [_listed(row) for row in rows[:limit]]
    return Page(items=items, after=items[-1].resource.id if len(rows) > limit else None)


def _moment(session: Session, tools: Toolbox, creator_id: int, items: Sequence[Listed]) -> Moment:
    ids = [item.resource.id for item in items]
    return obstacles.moment(session, tools.settings, creator_id, ids)


def _told_to_its_owner(tools: Toolbox, now: Moment, item: Listed) -> Listed:
    """With what stands in the way just now."""
    passing = obstacles.passing(tools, now, item.resource, item.version, item.model)
    return replace(item, obstacles=(*item.obstacles, *passing))


def _listed(row: Any) -> Listed:
    handle, resource, version, model, reason, *there = row
    return Listed(
        handle=handle,
        resource=resource,
        version=version,
        model=model,
        obstacles=tuple(
            obstacle for obstacle, is_there in zip(_OBSTACLES, there, strict=True) if is_there
        ),
        resting_because=reason,
    )


_NEEDS_KEY = Resource.type.in_(sorted(MODEL_TYPES))
_PROVIDER: ColumnElement[Any] = case(
    *((Resource.type == type_, literal(provider.value)) for type_, provider in PROVIDER_OF.items()),
    else_=null(),
)
_OPEN_BREAKERS = and_(
    Breaker.provider_key_id == ProviderKey.id,
    Breaker.opened_at.is_not(None),
    Breaker.model.in_([EVERY_MODEL, ResourceVersion.model]),
)
_OBSTACLES: dict[Obstacle, ColumnElement[bool]] = {
    Obstacle.ARCHIVED: Resource.archived_at.is_not(None),
    Obstacle.PAUSED: Resource.paused_at.is_not(None),
    Obstacle.NO_ADDRESS: ~exists().where(
        PayoutAddress.creator_id == Creator.id,
        PayoutAddress.network.in_(bindparam("networks", expanding=True)),
    ),
    Obstacle.MODEL_GONE: and_(
        _NEEDS_KEY,
        CatalogueModel.id.is_(None),
    ),
    Obstacle.KEY_MISSING: and_(_NEEDS_KEY, ProviderKey.id.is_(None)),
    Obstacle.KEY_INVALID: ProviderKey.is_valid.is_not_distinct_from(other=False),
    Obstacle.BREAKER_OPEN: exists().where(_OPEN_BREAKERS),
}


def _everything(tools: Toolbox) -> Select[Any]:
    """Each resource with its owner, its newest version and what stands in its way."""
    networks = [network.name for network in tools.networks]
    reason = select(Breaker.reason).where(_OPEN_BREAKERS).limit(1).scalar_subquery()
    return (
        select(
            Creator.handle, Resource, ResourceVersion, CatalogueModel, reason, *_OBSTACLES.values()
        )
        .join(Resource, Resource.creator_id == Creator.id)
        .join(
            ResourceVersion,
            (ResourceVersion.resource_id == Resource.id)
            & (ResourceVersion.number == Resource.newest_version),
        )
        .outerjoin(
            ProviderKey,
            (ProviderKey.creator_id == Creator.id) & (ProviderKey.provider == _PROVIDER),
        )
        .outerjoin(
            CatalogueModel,
            (CatalogueModel.id == ResourceVersion.model) & CatalogueModel.vanished_at.is_(None),
        )
        .params(networks=networks)
    )
