"""The free demo."""

from http import HTTPStatus
from typing import Any

from app import context, limits
from app.api import ApiBlueprint
from app.api.documenting import errors
from app.api.schemas import DemoQuerySchema, DemoResponseSchema
from app.waiting import WaitingRoom
from models.demo_run import DemoRun, DemoState
from services.errors import ErrorCode, NotNow
from services.jobs import demo as demos
from services.jobs.demo import Allowance
from services.jobs.intake import LIGHTNING_RETRY
from services.toolbox import Toolbox

demo = ApiBlueprint("demo", __name__, url_prefix="/api", description="One free try.")


@demo.route("/demo", methods=["GET"])
@demo.doc(operationId="runDemo", tags=["demo"])
@demo.arguments(DemoQuerySchema, location="query")
@demo.response(HTTPStatus.OK, DemoResponseSchema)
@errors(demo, 400, 429, 503)
def run_demo(query: dict[str, str]) -> Any:
    """Try the work model on a small request, free of charge and limited per address."""
    tools, room = context.tools(), context.waiting_room()
    with room.seat() as is_seated:
        if not is_seated:
            raise _unavailable()
        run_id, allowance = demos.admit(tools, query["request"], limits.client())
        run = _wait_for(tools, room, run_id)
    if run.state is not DemoState.DONE:
        raise _unavailable()
    return {"result": run.result}, HTTPStatus.OK, _headers(allowance)


def _wait_for(tools: Toolbox, room: WaitingRoom, run_id: int) -> DemoRun:
    """Wait for a worker to begin, and then for the end; give the try back if none began."""
    begun = room.until(
        lambda: demos.look(tools, run_id),
        done=lambda run: run.state is not DemoState.WAITING,
        seconds=tools.settings.demo_wait_seconds,
    )
    if begun.state is DemoState.WAITING and demos.abandon(tools, run_id):
        raise _unavailable()
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


def _headers(allowance: Allowance) -> dict[str, str]:
    reset = str(max(1, round(allowance.resets_in.total_seconds())))
    return {
        "RateLimit-Policy": f'"demo";q={allowance.limit};w=3600',
        "RateLimit": f'"demo";r={allowance.remaining};t={reset}',
        "X-RateLimit-Limit": str(allowance.limit),
        "X-RateLimit-Remaining": str(allowance.remaining),
        "X-RateLimit-Reset": reset,
    }
