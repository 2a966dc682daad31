"""Issuing invoices under bad weather: no half a job is left behind, and no accepted job is lost."""

from structlog.testing import capture_logs

from models.invoice import InvoiceKind
from models.job import Job
from models.lifecycle import JobState
from tests.support.life import REQUEST
from tests.support.rows import all_of
from tests.weather.conftest import Sky
from tests.weather.storms import Storm, in_every_storm

BODY = {"request": REQUEST}


@in_every_storm
def test_given_a_storm_when_a_job_is_created_then_503_and_no_job_is_left_behind(
    sky: Sky, storm: Storm
) -> None:
    sky.storm("lnbits.create", storm)

    with capture_logs() as logs:
        answer = sky.client.post("/api/jobs", json=BODY)

    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (503, "lightning_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert {"event": "invoice not issued", "code": storm.code, "log_level": "warning"} in logs
    assert all_of(sky.tools, Job) == []
    sky.clear()
    assert sky.client.post("/api/jobs", json=BODY).status_code == 201


@in_every_storm
def test_given_a_storm_when_the_work_is_quoted_then_the_verdict_is_kept_and_the_quote_comes_later(
    sky: Sky, storm: Storm
) -> None:
    view = sky.life.evaluating()
    sky.storm("lnbits.create", storm, after_effect=True)

    with capture_logs() as logs:
        sky.life.work()

    told = [line for line in logs if line["event"] == "cannot quote yet"]
    assert [line["code"] for line in told] == [storm.code]
    assert sky.life.state(view) is JobState.EVALUATING
    sky.clear()
    sky.life.make_due()
    sky.life.work()
    after = sky.life.view(view)
    assert after.job.state is JobState.AWAITING_WORK_PAYMENT
    assert sky.life.stand_in.counts().model_calls == 1
    sky.life.pay(after, InvoiceKind.WORK)
    sky.life.poll()
    assert sky.life.state(view) is JobState.EXECUTING
