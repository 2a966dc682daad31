"""What is sold without a model: a text of the creator's, or what a server of the creator's says."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateways.proxied import UpstreamCall, UpstreamMethod
from models.resource import ResourceVersion
from models.run import Run
from services.instant.templates import USER_MESSAGE
from services.toolbox import Toolbox

MAX_PROXY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """``response`` is what JSON can hold; ``content_type`` what its author calls it."""

    response: Any = field(repr=False)
    content_type: str | None

    def as_result(self) -> dict[str, Any]:
        """As a run keeps it."""
        result = {"response": self.response}
        return result | ({"contentType": self.content_type} if self.content_type else {})


def static(version: ResourceVersion) -> Delivery:
    """The content, letter by letter: also JSON is delivered as the text that was published."""
    return Delivery(response=version.content, content_type=version.content_type)


def proxy(tools: Toolbox, run: Run, version: ResourceVersion, *, seconds: float) -> Delivery:
    """Ask the creator's server once, within ``seconds`` and a minute. No transaction may be open.

    Anything but a 2xx with a body that can be read raises Unavailable or Refused, whose ``code``
    is for the creator; ``http_404``, ``timeout`` and ``not_public`` are some. Never ask twice in a
    row: after Unavailable the server may have acted.
    """
    assert version.upstream_url is not None  # of every version of a proxy
    call = UpstreamCall(
        method=UpstreamMethod(version.upstream_method or UpstreamMethod.POST),
        url=version.upstream_url,
        values=_values(run.inputs or {}),
        key=_key(run),
        seconds=min(seconds, MAX_PROXY_SECONDS),
    )
    answer = tools.upstreams.ask(call)
    return Delivery(response=answer.value, content_type=answer.content_type)


def _values(inputs: Mapping[str, Any]) -> dict[str, str]:
    values = dict(inputs.get("parameters") or {})
    message = inputs.get("userMessage")
    return values if message is None else values | {USER_MESSAGE: message}


def _key(run: Run) -> str:
    """Tells the run again when it is tried again, and opens nothing."""
    return hashlib.sha256(f"upstream {run.public_id}".encode()).hexdigest()[:32]
