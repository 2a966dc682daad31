"""A server of some creator, for proxy resources: says back what it was asked, under ``/upstream``.

``/upstream/text`` answers in plain text, ``/upstream/binary`` with no text at all, and
``/upstream/elsewhere?to=…`` sends on to another address.
"""

from local.stand_in.faults import Errand, Faults
from local.stand_in.wire import Reply, Request, Route, json_reply

NO_TEXT = b"\x89PNG\r\n\x1a\n\x00\xff"


class Upstream:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def routes(self) -> list[Route]:
        return [
            Route("GET /upstream/{what}", self._answer),
            Route("POST /upstream/{what}", self._answer),
        ]

    def _answer(self, request: Request, what: str) -> Reply:
        errand = Errand(
            target="upstream",
            subject=request.as_text,
            client=request.client,
        )
        return self._faults.run(errand, lambda _: _said(request, what))


def _said(request: Request, what: str) -> Reply:
    match what:
        case "text":
            return Reply(body=_as_text(request).encode(), content_type="text/plain; charset=utf-8")
        case "binary":
            return Reply(body=NO_TEXT, content_type="image/png")
        case "elsewhere":
            return Reply(status=302, headers={"Location": request.parameter("to") or "/"})
        case _:
            return json_reply(
                {
                    "method": request.method,
                    "query": dict(request.query),
                    "body": request.json() if request.body else None,
                    "idempotencyKey": request.headers.get("idempotency-key"),
                }
            )


def _as_text(request: Request) -> str:
    given = request.json() if request.body else dict(request.query)
    return "You said: " + ", ".join(f"{name}={value}" for name, value in given.items())
