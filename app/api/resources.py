"""Instant resources: what creators publish, and what everybody may know of it."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from app import context
from app.api import ApiBlueprint
from app.api.bodiless import bodiless
from app.api.documenting import LOCATION, SLUG, errors
from app.api.resource_schemas import (
    CreateResourceRequestSchema,
    EditResourceRequestSchema,
    ModelListSchema,
    PublicResourceListSchema,
    PublicResourceQuerySchema,
    ResourceListSchema,
    ResourceQuerySchema,
    ResourceSchema,
)
from app.auth import creator, creators_only
from models.catalogue import CatalogueModel
from models.money import usd_of
from models.resource import MODEL_TYPES, ResourceType
from services.instant import catalogue, drafts, listing
from services.instant import resources as shelf
from services.instant.listing import Listed, Page
from services.instant.obstacles import Obstacle
from services.toolbox import Toolbox

resources = ApiBlueprint(
    "resources", __name__, url_prefix="/api", description="What is sold a run at a time."
)

OWN = "/api/creator/resources"
PUBLIC_FOR_A_MINUTE = {"Cache-Control": "public, max-age=60"}
NOT_FOR_SALE = frozenset({Obstacle.PAUSED, Obstacle.ARCHIVED})


@resources.route("/creator/resources", methods=["GET"])
@resources.doc(operationId="listOwnResources", tags=["creators"])
@creators_only
@resources.arguments(ResourceQuerySchema, location="query")
@resources.response(HTTPStatus.OK, ResourceListSchema)
@errors(resources, 400, 401, 503)
def list_own(query: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that you have published, the newest first."""
    page = listing.of_owner(
        context.tools(), creator().id, after=_cursor(query), limit=query["limit"]
    )
    return _page(page, _owned)


@resources.route("/creator/resources", methods=["POST"])
@resources.doc(operationId="createResource", tags=["creators"])
@creators_only
@resources.arguments(CreateResourceRequestSchema)
@resources.response(HTTPStatus.CREATED, ResourceSchema, headers=LOCATION)
@errors(resources, 400, 401, 409, 413, 415, 503)
def create_resource(body: dict[str, Any]) -> Any:
    """Publish: it is on sale at once, if nothing stands in its way (`obstacles`)."""
    slug, type_ = body.pop("slug"), ResourceType(body.pop("type"))
    shelf.create(context.tools(), creator().id, slug, type_, body)
    return _read(slug), HTTPStatus.CREATED, {"Location": f"{OWN}/{slug}"}


@resources.route("/creator/resources/<string:slug>", methods=["GET"], parameters=[SLUG])
@resources.doc(operationId="getOwnResource", tags=["creators"])
@creators_only
@resources.response(HTTPStatus.OK, ResourceSchema)
@errors(resources, 401, 404, 503)
def get_own(slug: str) -> dict[str, Any]:
    """Read one of yours, with its prompt or content."""
    return _read(slug)


@resources.route("/creator/resources/<string:slug>", methods=["PATCH"], parameters=[SLUG])
@resources.doc(operationId="editResource", tags=["creators"])
@creators_only
@resources.arguments(EditResourceRequestSchema)
@resources.response(HTTPStatus.OK, ResourceSchema)
@errors(resources, 400, 401, 404, 413, 415, 503)
def edit_resource(body: dict[str, Any], slug: str) -> dict[str, Any]:
    """Publish a new version with these members changed; what was offered before is still kept to.

    Runs that are paid for keep the version that they were offered at.
    """
    shelf.edit(context.tools(), creator().id, slug, body)
    return _read(slug)


def _move(verb: str, act: Callable[[Toolbox, int, str], None], summary: str) -> None:
    """A route that puts a resource on or off sale. All of them are safe to repeat."""

    def moved(slug: str) -> dict[str, Any]:
        act(context.tools(), creator().id, slug)
        return _read(slug)

    moved.__name__ = f"{verb}_resource"
    moved.__doc__ = summary
    route = errors(resources, 400, 401, 404, 413, 415, 503)(
        resources.response(HTTPStatus.OK, ResourceSchema)(creators_only(bodiless(moved)))
    )
    route = resources.doc(operationId=f"{verb}Resource", tags=["creators"])(route)
    address = f"/creator/resources/<string:slug>/{verb}"
    resources.route(address, methods=["POST"], parameters=[SLUG])(route)


_move("pause", shelf.pause, "Take it off sale until it is resumed.")
_move("resume", shelf.resume, "Put it on sale again.")
_move("archive", shelf.archive, "Take it off the shelf; it can be restored.")
_move("restore", shelf.restore, "Put it back on the shelf as it was.")


@resources.route("/resources", methods=["GET"])
@resources.doc(operationId="listResources", tags=["resources"])
@resources.arguments(PublicResourceQuerySchema, location="query")
@resources.response(HTTPStatus.OK, PublicResourceListSchema)
@errors(resources, 400, 503)
def list_public(query: Mapping[str, Any]) -> Any:
    """What can be bought now, the newest first."""
    page = listing.on_sale(
        context.tools(), handle=query.get("creator"), after=_cursor(query), limit=query["limit"]
    )
    return _page(page, _public), HTTPStatus.OK, PUBLIC_FOR_A_MINUTE


@resources.route("/models", methods=["GET"])
@resources.doc(operationId="listModels", tags=["resources"])
@resources.response(HTTPStatus.OK, ModelListSchema)
@errors(resources, 503)
def list_models() -> Any:
    """The models that resources can be built on, with what their tokens cost."""
    models = catalogue.on_offer(context.tools())
    synced_at = max((model.synced_at for model in models), default=None)
    body: dict[str, Any] = {"models": [_model(model) for model in models]}
    if synced_at is not None:
        body["synced_at"] = synced_at
    return body, HTTPStatus.OK, PUBLIC_FOR_A_MINUTE


def _cursor(query: Mapping[str, Any]) -> int | None:
    return int(query["cursor"]) if "cursor" in query else None


def _page(page: Page, shown: Callable[[Listed], dict[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {"resources": [shown(item) for item in page.items]}
    return body if page.after is None else body | {"next_cursor": str(page.after)}


def _read(slug: str) -> dict[str, Any]:
    return _owned(listing.read(context.tools(), creator().id, slug))


def _public(item: Listed) -> dict[str, Any]:
    """Named one by one: what is not named here is told to nobody but the owner."""
    version, slug = item.version, item.resource.slug
    return _without_none(
        {
            "creator": item.handle,
            "slug": slug,
            "type": item.resource.type.value,
            "name": version.name,
            "description": version.description,
            "price_usd": usd_of(version.price_usd_micros),
            "version": version.number,
            "model": version.model,
            "parameters": version.parameters,
            "allows_user_message": version.allows_user_message,
            "content_type": version.content_type,
            "links": {"run": f"/api/instant/{item.handle}/{slug}"},
        }
    )


def _owned(item: Listed) -> dict[str, Any]:
    resource, version = item.resource, item.version
    links = {"self": f"{OWN}/{resource.slug}", "run": f"/api/instant/{item.handle}/{resource.slug}"}
    return _without_none(
        {
            **_public(item),
            "links": links,
            "active": not NOT_FOR_SALE & set(item.obstacles),
            "selling": not item.obstacles,
            "obstacles": [obstacle.value for obstacle in item.obstacles],
            "pause_reason": resource.pause_reason,
            "resting_because": item.resting_because,
            "created_at": resource.created_at,
            "updated_at": version.created_at,
            "paused_at": resource.paused_at,
            "archived_at": resource.archived_at,
            "system_prompt": version.system_prompt,
            **(_sampling(item) if resource.type in MODEL_TYPES else {}),
            "content": version.content,
            "upstream_url": version.upstream_url,
            "upstream_method": version.upstream_method,
        }
    )


def _sampling(item: Listed) -> dict[str, Any]:
    """As calls are made: the defaults where the creator has said nothing."""
    version = item.version
    return {
        "temperature": drafts.or_else(version.temperature, drafts.DEFAULT_TEMPERATURE),
        "top_p": drafts.or_else(version.top_p, drafts.DEFAULT_TOP_P),
        "max_tokens": drafts.or_else(version.max_tokens, drafts.DEFAULT_MAX_TOKENS),
        "frequency_penalty": version.frequency_penalty,
        "presence_penalty": version.presence_penalty,
    }


def _model(model: CatalogueModel) -> dict[str, Any]:
    return _without_none(
        {
            "id": model.id,
            "name": model.name,
            "types": [type_.value for type_ in sorted(MODEL_TYPES) if drafts.suits(type_, model)],
            "context_tokens": model.context_tokens,
            "max_output_tokens": model.max_output_tokens,
            "input_usd_per_million_tokens": model.input_usd_per_million,
            "output_usd_per_million_tokens": model.output_usd_per_million,
            "request_usd": model.request_usd or None,
            "supported_parameters": model.supported_parameters,
        }
    )


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
