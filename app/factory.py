"""The web application: routes, errors, headers. Built from a toolbox; reads no environment."""

import re
from typing import Any
from uuid import uuid4

import simplejson
import structlog
from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from app import context, errors
from app.api import document
from app.api.bench import bench
from app.api.creators import creators
from app.api.demo import demo
from app.api.health import health
from app.api.hooks import hooks
from app.api.instant import instant, is_owner_test
from app.api.jobs import is_job_id, jobs
from app.api.planned import planned
from app.api.resources import resources
from app.api.usage import usage
from app.pages.api_docs import pages
from config.settings import AppEnv
from services.errors import ErrorCode, InvalidRequest
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,128}", re.ASCII)
_EXPOSED = (
    "API-Version, Link, Location, Retry-After, X-Request-Id, RateLimit, RateLimit-Policy,"
    " X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset,"
    " PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE"
)
_ALLOWED = (
    "Content-Type, X-Request-Id, Authorization, Idempotency-Key, PAYMENT-SIGNATURE, X-PAYMENT,"
    " X-Owner-Test"
)
_PREFLIGHT_SECONDS = 86_400


class ExactJson(DefaultJSONProvider):
    """JSON whose numbers are the decimals that we computed, not their nearest floats."""

    def dumps(self, obj: Any, **_: Any) -> str:
        text: str = simplejson.dumps(obj, use_decimal=True, default=str, ensure_ascii=True)
        return text


class HonestWork(Flask):
    """Flask, whose own log line would hold the path and so the whole id of a job."""

    def log_exception(self, exc_info: Any) -> None:
        logger.error("error while handling an error", exc_info=exc_info)


def create_app(tools: Toolbox, *, schema_revision: str) -> Flask:
    """Build the application. ``schema_revision`` is what readiness compares the database with."""
    app = HonestWork("honestwork", static_folder=None)
    app.json = ExactJson(app)
    # One more than is taken: Werkzeug cuts a chunked body there, which must be seen (app.bodies).
    app.config["MAX_CONTENT_LENGTH"] = tools.settings.max_body_bytes + 1
    app.config["SCHEMA_REVISION"] = schema_revision
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # or //api/jobs would be answered by a page of HTML
    if tools.settings.trusted_proxy_hops:
        hops = tools.settings.trusted_proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    context.install(app, tools)
    errors.register(app)
    app.before_request(_identify)
    app.before_request(_refuse_large_bodies)
    app.before_request(_refuse_unbuilt_headers)
    app.after_request(_dress)
    api = document.make(app, tools.settings)
    for blueprint in (health, jobs, demo, usage, resources, creators, instant):
        api.register_blueprint(blueprint)
    app.register_blueprint(hooks)
    app.register_blueprint(planned)
    app.register_blueprint(pages)
    if tools.bench_payer is not None and tools.settings.app_env is not AppEnv.PRODUCTION:
        app.register_blueprint(bench)
    app.extensions["openapi"] = api
    return app


def _identify() -> None:
    """Give the request an id, the caller's own if it is one, and put it into every log line."""
    asked_for = request.headers.get("X-Request-Id", "")
    g.request_id = asked_for if _may_be_logged(asked_for) else uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _may_be_logged(asked_for: str) -> bool:
    """Not when it names the job, however spelled: its id is its key and stands in no log."""
    id_in_path = (request.view_args or {}).get("id", "")
    names_the_job = is_job_id(id_in_path) and _digits(id_in_path) in _digits(asked_for)
    return _REQUEST_ID.fullmatch(asked_for) is not None and not names_the_job


def _digits(text: str) -> str:
    """Of an id, whatever stands between them: whoever reads it can put the hyphens back."""
    return text.lower().replace("-", "").replace("_", "")


def _refuse_large_bodies() -> None:
    """Also where the route would not have read the body."""
    limit = context.tools().settings.max_body_bytes
    if request.url_rule and (request.content_length or 0) > limit:
        raise RequestEntityTooLarge


def _refuse_unbuilt_headers() -> None:
    """A key that was ignored would let a caller believe that a retry is safe."""
    is_built = request.blueprint == instant.name and not is_owner_test()
    if is_built or not request.url_rule or request.method != "POST":
        return
    if "Idempotency-Key" in request.headers:
        raise InvalidRequest("Idempotency-Key is not supported yet.", code=ErrorCode.NOT_SUPPORTED)


def _dress(response: Response) -> Response:
    """Headers of every answer. A job's id opens it: nothing about it may be kept or passed on."""
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers["API-Version"] = document.VERSION
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "private, no-store")
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = _ALLOWED
        response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return response
