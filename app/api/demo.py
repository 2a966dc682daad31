"""The free demo."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from flask import Response, after_this_request
from flask.sansio.blueprints import BlueprintSetupState

from app import context, limits
from app.api import ApiBlueprint
from app.api.documenting import LIMIT_HEADERS, errors
from app.api.schemas import DemoQuerySchema, DemoResponseSchema
from app.errors import in_seconds
from app.waiting import WaitingRoom
from models.demo_run import DemoRun, DemoState
from services.errors import ErrorCode, NotNow, TooManyRequests
from services.jobs import demo as demos
from services.jobs.admission import LIGHTNING_RETRY
from services.jobs.demo import Allowance
from services.toolbox import Toolbox

demo = ApiBlueprint("demo", __name__, url_prefix="/api", description="One free try.")


@demo.route("/demo", methods=["GET"])
@demo.doc(operationId="runDemo", tags=["demo"])
@demo.arguments(DemoQuerySchema, location="query")
@demo.response(HTTPStatus.OK, DemoResponseSchema, headers=LIMIT_HEADERS)
@errors(demo, 400, 429, 503)
def run_demo(query: dict[str, str]) -> Any:
    """Try the work model on a small request, free of charge and limited per address."""
    tools, room = context.tools(), context.waiting_room()
    with room.seat() as is_seated:
        if not is_seated:
            raise _unavailable()
        run_id, allowance = _admit(tools, query["request"])
        run = _wait_for(tools, room, run_id)
    if run.state is DemoState.ABANDONED:
        _announce(replace(allowance, remaining=allowance.remaining + 1))
    if run.state is not DemoState.DONE:
        raise _unavailable()
    return {"result": run.result}


@demo.record
def _without_head(state: BlueprintSetupState) -> None:
    """A HEAD is answered as a GET whose body is left out, and this one would cost a try: 405."""
    for rule in state.app.url_map.iter_rules(f"{state.name}.{run_demo.__name__}"):
        assert rule.methods is not None
        rule.methods.discard("HEAD")


def _admit(tools: Toolbox, request: str) -> tuple[int, Allowance]:
    """Take a try, and tell the caller how many are left, also when there was none."""
    try:
        run_id, allowance = demos.admit(tools, request, limits.client())
    except TooManyRequests as refusal:
        limit = tools.settings.demo_limit_per_hour
        free_again = refusal.retry_after or demos.WINDOW
        _announce(Allowance(limit=limit, remaining=0, resets_in=free_again))
        raise
    _announce(allowance)
    return run_id, allowance


def _wait_for(tools: Toolbox, room: WaitingRoom, run_id: int) -> DemoRun:
    """Wait for a worker to begin, and then for the end; give the try back if none began."""
    begun = room.until(
        lambda: demos.look(tools, run_id),
        done=lambda run: run.state is not DemoState.WAITING,
        seconds=tools.settings.demo_wait_seconds,
    )
    if begun.state is DemoState.WAITING and demos.abandon(tools, run_id):
        return demos.look(tools, run_id)
    return room.until(
        lambda: demos.look(tools, run_id),
        done=lambda run: run.state is not DemoState.RUNNING,
        seconds=tools.settings.demo_wait_seconds,
    )


def _unavailable() -> NotNow:
    return NotNow(
        "The demo is not available at the moment; try again shortly.",
        code=ErrorCode.MODEL_UNAVAILABLE,
        retry_after=LIGHTNING_RETRY,
    )


def _announce(allowance: Allowance) -> None:
    """Put the state of the limit into the headers of the answer, whatever that will be."""
    reset = in_seconds(allowance.resets_in)
    headers = {
        "RateLimit-Policy": f'"demo";q={allowance.limit};w={in_seconds(demos.WINDOW)}',
        "RateLimit": f'"demo";r={allowance.remaining};t={reset}',
        "X-RateLimit-Limit": str(allowance.limit),
        "X-RateLimit-Remaining": str(allowance.remaining),
        "X-RateLimit-Reset": reset,
    }

    @after_this_request
    def dress(response: Response) -> Response:
        response.headers.update(headers)
        return response
