"""What is described and not built yet: told as such, and not as an address with nothing there."""

from flask import Blueprint

from app.api.jobs import with_job
from services.errors import ErrorCode, InvalidRequest
from services.jobs.intake import JobView

planned = Blueprint("planned", __name__, url_prefix="/api")


@planned.get("/jobs/<string:id>/events")
@with_job
def job_events(view: JobView) -> None:
    """A job's moves as server-sent events."""
    raise InvalidRequest(
        "Events are not supported yet: read the job.", code=ErrorCode.NOT_SUPPORTED
    )
