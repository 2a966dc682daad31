"""The OpenAPI document: generated from routes and schemas, then given the names that clients rely on."""

from typing import Any, cast

from flask import Flask, Response, current_app
from flask_smorest import Api

from app.api.fields import NOT_BLANK, RequestText, UsdField
from app.api.schemas import JOB_STATES, ErrorResponseSchema, JobStateField
from config.settings import Settings

TITLE = "Api"
VERSION = "1.0.0"
SERVER = "/api"
TAGS = {
    "health": "Is it alive, is it well?",
    "jobs": "Paid work, from request to refund.",
    "demo": "One free try.",
}


class ContractApi(Api):
    """flask-smorest with the API's one error shape."""

    ERROR_SCHEMA = ErrorResponseSchema

    def _register_error_handlers(self) -> None:
        """``app.errors`` has registered them."""


def make(app: Flask, settings: Settings) -> ContractApi:
    app.config.update(
        API_TITLE=TITLE,
        API_VERSION=VERSION,
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={
            "servers": [{"url": SERVER}],
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "info": {"description": "AI work for small payments over Lightning."},
        },
    )
    api = ContractApi(app)
    api.spec.components.schema(
        "JobState", {"type": "string", "enum": JOB_STATES, "description": "Where a job is."}
    )
    _teach_fields(api, settings)
    app.add_url_rule("/api/openapi.json", "openapi", lambda: _serve(api))
    return api


def _teach_fields(api: ContractApi, settings: Settings) -> None:
    """Tell apispec what our own fields look like on the wire."""
    converter = api.ma_plugin.converter

    def describe(_: Any, field: Any, **__: Any) -> dict[str, Any]:
        if isinstance(field, RequestText):
            return {"minLength": 1, "maxLength": field.limit(settings), "pattern": NOT_BLANK}
        if isinstance(field, JobStateField):
            return {"$ref": "#/components/schemas/JobState"}
        return {"type": "number"} if isinstance(field, UsdField) else {}

    converter.add_attribute_function(describe)


def published(api: ContractApi) -> dict[str, Any]:
    """The document as served: paths are relative to the server ``/api``."""
    spec: dict[str, Any] = api.spec.to_dict()
    spec["paths"] = {
        path.removeprefix(SERVER): operations for path, operations in spec["paths"].items()
    }
    for unused in ("DEFAULT_ERROR", "UNPROCESSABLE_CONTENT", "UNPROCESSABLE_ENTITY"):
        spec.get("components", {}).get("responses", {}).pop(unused, None)
    return spec


def _serve(api: ContractApi) -> Response:
    return cast("Response", current_app.json.response(published(api)))
