"""``/api/docs``: the API to read and to try, and what every error code means.

Nothing is loaded from elsewhere.
"""

from typing import Any

from flask import Blueprint, Response, make_response, render_template

from services.errors import ErrorCode

pages = Blueprint(
    "pages",
    __name__,
    url_prefix="/api/docs",
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)

SWAGGER_UI = "vendor/swagger-ui-5.35.0"
# Swagger UI sets style attributes; scripts come from here only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pages.get("")
def api_docs() -> Response:
    """Show the page; works without JavaScript as far as the error codes go."""
    page = render_template("api_docs.html", swagger_ui=SWAGGER_UI, problems=problems())
    response: Response = make_response(page)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def problems() -> list[dict[str, Any]]:
    """Every error code with what it means, as anchors of the page."""
    return [{"code": code.value, "meaning": code.meaning} for code in ErrorCode]
