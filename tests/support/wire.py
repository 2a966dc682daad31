"""Real HTTP to the product: what it answers there is held against the OpenAPI document, too."""

import json
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests

from local.environment import ROOT
from tests.app.contract import Contract, Seen

TIMEOUT_SECONDS = 60


@cache
def contract() -> Contract:
    """As it is committed. That the application says the same is a test of its own."""
    return Contract(json.loads((ROOT / "docs/openapi.json").read_text()))


def ask(method: str, url: str, **options: Any) -> requests.Response:
    """As ``requests.request``. Raises AssertionError for what the document does not know."""
    options = {"timeout": TIMEOUT_SECONDS, **options}
    return judged(requests.request(method, url, **options), options.get("json"))


def get(url: str, **options: Any) -> requests.Response:
    return ask("GET", url, **options)


def post(url: str, **options: Any) -> requests.Response:
    return ask("POST", url, **options)


def judged(answer: requests.Response, sent: Any = None) -> requests.Response:
    """The same answer. ``sent`` is the JSON that it answers."""
    seen = Seen(
        method=str(answer.request.method),
        path=urlsplit(str(answer.request.url)).path,
        status_code=answer.status_code,
        mimetype=answer.headers.get("Content-Type", "").partition(";")[0],
        headers=answer.headers,
        text=answer.text,
    )
    contract().judge(seen, sent)
    return answer
