"""What creators publish: made, edited as new versions, paused, archived; and found when bought."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from models.creator import Creator, PayoutAddress
from models.resource import PauseReason, Resource, ResourceType, ResourceVersion
from models.slug import is_slug
from services.errors import Conflict, ErrorCode, NotFound
from services.instant import drafts, offers
from services.toolbox import Toolbox

OFFERED_FOR = offers.LIFETIME
"""How long a version stays on sale after its successor came: as long as its offers hold."""


@dataclass(frozen=True, kw_only=True)
class OnSale:
    """A resource as a buyer meets it, seen at one moment. Archived and paused ones too."""

    creator: Creator
    resource: Resource
    version: ResourceVersion
    """The newest."""
    addresses: Mapping[str, str]
    """Where the creator is paid: address by network (CAIP-2), lower case. May be empty."""


def find(tools: Toolbox, handle: str, slug: str) -> OnSale | None:
    """Read a resource by its public address, in one statement; None = never published.

    The database is asked for nothing that no resource can be called.
    """
    if not (is_slug(handle) and is_slug(slug)):
        return None
    addresses = (
        select(func.jsonb_object_agg(PayoutAddress.network, PayoutAddress.address))
        .where(PayoutAddress.creator_id == Creator.id)
        .scalar_subquery()
    )
    with tools.database.reading("resources.find") as session:
        row = session.execute(
            select(Creator, Resource, ResourceVersion, addresses)
            .join(Resource, Resource.creator_id == Creator.id)
            .join(ResourceVersion, _IS_NEWEST)
            .where(Creator.handle == handle, Resource.slug == slug)
        ).one_or_none()
    if row is None:
        return None
    creator, resource, newest, networks = row
    return OnSale(
        creator=creator, resource=resource, version=newest, addresses=dict(networks or {})
    )


_IS_NEWEST = (ResourceVersion.resource_id == Resource.id) & (
    ResourceVersion.number == Resource.newest_version
)


def version(tools: Toolbox, resource_id: int, number: int) -> ResourceVersion | None:
    """One version of a resource, as it was when it was offered."""
    with tools.database.reading("resources.version") as session:
        return session.scalar(
            select(ResourceVersion).where(
                ResourceVersion.resource_id == resource_id, ResourceVersion.number == number
            )
        )


def newest_at_price(
    session: Session, resource_id: int, price_micros: int
) -> ResourceVersion | None:
    """What a payment that names no version buys: the newest on sale at that price.

    On sale is the newest version, and for ``OFFERED_FOR`` the one that it replaced: an old price
    is nobody's for ever.
    """
    successor = aliased(ResourceVersion)
    return session.scalar(
        select(ResourceVersion)
        .outerjoin(
            successor,
            (successor.resource_id == ResourceVersion.resource_id)
            & (successor.number == ResourceVersion.number + 1),
        )
        .where(
            ResourceVersion.resource_id == resource_id,
            ResourceVersion.price_usd_micros == price_micros,
            or_(successor.id.is_(None), successor.created_at > func.now() - OFFERED_FOR),
        )
        .order_by(ResourceVersion.number.desc())
        .limit(1)
    )


def create(
    tools: Toolbox, creator_id: int, slug: str, type_: ResourceType, members: Mapping[str, Any]
) -> None:
    """Publish version 1. ``members`` are those given, in snake case.

    Raises InvalidRequest, or Conflict(slug_taken): an archived resource keeps its slug.
    """
    with tools.database.transaction("resources.create") as session:
        edition = drafts.check(session, tools.settings, type_, drafts.complete(type_, members))
        resource_id = session.scalar(
            insert(Resource)
            .values(creator_id=creator_id, slug=slug, type=type_)
            .on_conflict_do_nothing(index_elements=[Resource.creator_id, Resource.slug])
            .returning(Resource.id)
        )
        if resource_id is None:
            raise Conflict("You have a resource with this slug already.", code=ErrorCode.SLUG_TAKEN)
        session.add(ResourceVersion(resource_id=resource_id, number=1, **edition))


def edit(tools: Toolbox, creator_id: int, slug: str, members: Mapping[str, Any]) -> None:
    """Publish a new version: the newest with these members changed. No change makes no version.

    Raises NotFound or InvalidRequest.
    """
    with tools.database.transaction("resources.edit") as session:
        resource = _locked(session, creator_id, slug)
        newest = session.scalars(
            select(ResourceVersion).where(
                ResourceVersion.resource_id == resource.id,
                ResourceVersion.number == resource.newest_version,
            )
        ).one()
        before = drafts.members_of(newest)
        drafts.refuse_foreign(resource.type, members)
        edition = drafts.check(
            session, tools.settings, resource.type, before | drafts.settled(members)
        )
        if edition == before:
            return
        resource.newest_version += 1
        session.add(
            ResourceVersion(resource_id=resource.id, number=resource.newest_version, **edition)
        )


def _locked(session: Session, creator_id: int, slug: str) -> Resource:
    """The resource of this creator, for us alone: two edits make two versions, in order."""
    if not is_slug(slug):
        raise not_found()
    resource = session.scalar(
        select(Resource)
        .where(Resource.creator_id == creator_id, Resource.slug == slug)
        .with_for_update()
    )
    if resource is None:
        raise not_found()
    return resource


def not_found() -> NotFound:
    return NotFound("There is no such resource.", code=ErrorCode.RESOURCE_NOT_FOUND)


def pause(tools: Toolbox, creator_id: int, slug: str) -> None:
    """Take it off sale until it is resumed. Safe to repeat. Raises NotFound."""
    with tools.database.transaction("resources.pause") as session:
        resource = _locked(session, creator_id, slug)
        # also over the pause of a deleted key: a new key must not undo the creator's own word
        if resource.pause_reason is not PauseReason.CREATOR:
            resource.paused_at = func.now()
            resource.pause_reason = PauseReason.CREATOR


def resume(tools: Toolbox, creator_id: int, slug: str) -> None:
    """Put it on sale again; what else keeps it from selling still does. Raises NotFound."""
    with tools.database.transaction("resources.resume") as session:
        resource = _locked(session, creator_id, slug)
        resource.paused_at = None
        resource.pause_reason = None


def archive(tools: Toolbox, creator_id: int, slug: str) -> None:
    """Take it off the shelf: unknown to buyers, its slug kept. Safe to repeat. Raises NotFound."""
    with tools.database.transaction("resources.archive") as session:
        resource = _locked(session, creator_id, slug)
        if resource.archived_at is None:
            resource.archived_at = func.now()


def restore(tools: Toolbox, creator_id: int, slug: str) -> None:
    """Put it back as it was, paused if it was paused. Safe to repeat. Raises NotFound."""
    with tools.database.transaction("resources.restore") as session:
        _locked(session, creator_id, slug).archived_at = None
