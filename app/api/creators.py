"""Creators: registering them, their account, and the keys that their resources run on."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from app import context
from app.api import ApiBlueprint
from app.api.bodiless import bodiless
from app.api.creator_schemas import (
    CreateCreatorRequestSchema,
    CreatorSchema,
    DeletedKeySchema,
    EditCreatorRequestSchema,
    NewApiKeySchema,
    NewCreatorSchema,
    ProviderKeySchema,
    SavedKeySchema,
    SaveKeyRequestSchema,
)
from app.api.documenting import errors
from app.auth import creator, creators_only, operator_only
from models.creator import Provider, ProviderKey
from services.errors import ErrorCode, NotFound, NotNow
from services.instant import creators as people
from services.instant import keys
from services.instant.creators import Account

creators = ApiBlueprint(
    "creators", __name__, url_prefix="/api", description="Who publishes instant resources."
)

PROVIDER = {
    "in": "path",
    "name": "provider",
    "required": True,
    "schema": {"type": "string", "enum": [provider.value for provider in Provider]},
    "description": "openrouter for openrouter_instant, anthropic for prompt_template.",
}
_KEY = "/creator/keys/<string:provider>"


@creators.route("/creators", methods=["POST"])
@creators.doc(operationId="createCreator", tags=["creators"])
@operator_only
@creators.arguments(CreateCreatorRequestSchema)
@creators.response(HTTPStatus.CREATED, NewCreatorSchema)
@errors(creators, 400, 401, 409, 413, 415, 503)
def create_creator(body: dict[str, Any]) -> dict[str, Any]:
    """Register a creator, with the operator's token. The API key is shown this once."""
    addresses = body.get("payout_addresses", {})
    new = people.register(context.tools(), body["handle"], addresses)
    account = people.account(context.tools(), new.creator.id)
    return {
        "handle": new.creator.handle,
        "api_key": new.api_key,
        "created_at": new.creator.created_at,
        "payout_addresses": account.addresses,
    }


@creators.route("/creator", methods=["GET"])
@creators.doc(operationId="getCreator", tags=["creators"])
@creators_only
@creators.response(HTTPStatus.OK, CreatorSchema)
@errors(creators, 401, 503)
def get_creator() -> dict[str, Any]:
    """Your account: where you are paid, your cost caps, and what is known of your keys."""
    return _shown(people.account(context.tools(), creator().id))


@creators.route("/creator", methods=["PATCH"])
@creators.doc(operationId="editCreator", tags=["creators"])
@creators_only
@creators.arguments(EditCreatorRequestSchema)
@creators.response(HTTPStatus.OK, CreatorSchema)
@errors(creators, 400, 401, 413, 415, 503)
def edit_creator(body: dict[str, Any]) -> dict[str, Any]:
    """Change what is given and leave the rest. Runs that are paid for keep their address."""
    addresses = body.pop("payout_addresses", {})
    return _shown(people.change(context.tools(), creator().id, addresses=addresses, caps=body))


@creators.route("/creator/api-key", methods=["POST"])
@creators.doc(operationId="renewApiKey", tags=["creators"])
@creators_only
@bodiless
@creators.response(HTTPStatus.OK, NewApiKeySchema)
@errors(creators, 400, 401, 413, 415, 503)
def renew_api_key() -> dict[str, str]:
    """Get another API key; the one that you ask with opens nothing from then on."""
    return {"api_key": people.renew_api_key(context.tools(), creator().handle)}


@creators.route(_KEY, methods=["PUT"], parameters=[PROVIDER])
@creators.doc(operationId="saveKey", tags=["creators"])
@creators_only
@creators.arguments(SaveKeyRequestSchema)
@creators.response(HTTPStatus.OK, SavedKeySchema)
@errors(creators, 400, 401, 404, 413, 415, 503)
def save_key(body: dict[str, Any], provider: str) -> dict[str, Any]:
    """Save your key of a model provider, in place of any other. The provider is asked first."""
    of = _provider(provider)
    with _asking():
        saved = keys.put(context.tools(), creator().id, of, body["key"])
    return {**_told(saved.key), "resumed": saved.resumed}


@creators.route(_KEY, methods=["DELETE"], parameters=[PROVIDER])
@creators.doc(operationId="deleteKey", tags=["creators"])
@creators_only
@bodiless
@creators.response(HTTPStatus.OK, DeletedKeySchema)
@errors(creators, 400, 401, 404, 413, 415, 503)
def delete_key(provider: str) -> dict[str, Any]:
    """Forget your key, and pause what runs on it until there is one again."""
    paused = keys.delete(context.tools(), creator().id, _provider(provider))
    return {"provider": provider, "paused": paused}


@creators.route(f"{_KEY}/test", methods=["POST"], parameters=[PROVIDER])
@creators.doc(operationId="testKey", tags=["creators"])
@creators_only
@bodiless
@creators.response(HTTPStatus.OK, ProviderKeySchema)
@errors(creators, 400, 401, 404, 413, 415, 503)
def test_key(provider: str) -> dict[str, Any]:
    """Ask the provider about your key now; what had stopped sales is tried again at once."""
    of = _provider(provider)
    with _asking():
        return _told(keys.test(context.tools(), creator().id, of))


@contextmanager
def _asking() -> Iterator[None]:
    """A hung provider holds a few of our threads and no more. Raises NotNow."""
    with context.waiting_room().seat() as is_seated, context.key_checks().turn() as is_ours:
        if not (is_seated and is_ours):
            raise NotNow(
                "Providers are being asked about other keys; try again shortly.",
                code=ErrorCode.MODEL_UNAVAILABLE,
                retry_after=keys.PROVIDER_RETRY,
            )
        yield


def _provider(name: str) -> Provider:
    if name not in list(Provider):
        raise NotFound("There is no such provider.", code=ErrorCode.NOT_FOUND)
    return Provider(name)


def _shown(account: Account) -> dict[str, Any]:
    of = account.creator
    return {
        "handle": of.handle,
        "api_key_last4": of.api_key_last4,
        "created_at": of.created_at,
        "payout_addresses": account.addresses,
        "cost_cap_per_call_usd": of.cost_cap_per_call_usd,
        "cost_cap_per_day_usd": of.cost_cap_per_day_usd,
        "keys": [_told(key) for key in account.keys],
    }


def _told(key: ProviderKey) -> dict[str, Any]:
    """Member by member: what is not named here does not leave the house."""
    return {
        "provider": key.provider.value,
        "last4": key.last4,
        "is_valid": key.is_valid,
        "last_verified_at": key.last_verified_at,
        "last_error_code": key.last_error_code,
        "created_at": key.created_at,
        "replaced_at": key.replaced_at,
    }
