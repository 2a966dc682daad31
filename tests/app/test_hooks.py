"""LNbits' webhook: a nudge for whoever knows the token, nothing for anybody else."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from config.queues import EVERY, TaskName
from models.tick import Tick
from services.operate import ticks
from services.toolbox import WEBHOOK_PATH, Toolbox
from tests.app.contract import CheckedClient
from tests.support.doorbell import RecordingDoorbell


@pytest.fixture
def _rested_poll(tools: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one ended a minute ago, and the next is far off on the slowest machine."""
    monkeypatch.setitem(EVERY, TaskName.POLL_PAYMENTS, timedelta(hours=1))
    ticks.run(tools, TaskName.POLL_PAYMENTS)
    with tools.database.transaction("test.rested") as session:
        session.execute(update(Tick).values(ran_at=func.now() - timedelta(minutes=1)))


@pytest.mark.usefixtures("_rested_poll")
def test_given_a_poll_that_rests_when_lnbits_nudges_then_it_is_rung_for_at_once(
    client: CheckedClient, tools: Toolbox, doorbell: RecordingDoorbell
) -> None:
    response = client.post(WEBHOOK_PATH + tools.webhook_token)

    assert response.status_code == 204
    assert list(doorbell.rung) == [(TaskName.POLL_PAYMENTS, None)]


@pytest.mark.usefixtures("_rested_poll")
def test_given_a_poll_that_rests_then_a_wrong_token_leaves_it_in_peace(
    client: CheckedClient, doorbell: RecordingDoorbell
) -> None:
    client.post(WEBHOOK_PATH + "0" * 32)

    assert not doorbell.rung


def test_given_the_right_token_then_the_nudge_is_taken_whatever_its_body(
    client: CheckedClient, tools: Toolbox
) -> None:
    response = client.post(WEBHOOK_PATH + tools.webhook_token, data=b'"{\\"amount\\":1}"')

    assert response.status_code == 204


def test_given_a_wrong_token_then_there_is_nothing_at_this_address(client: CheckedClient) -> None:
    response = client.post(WEBHOOK_PATH + "0" * 32)

    assert response.status_code == 404
    assert response.json["error"] == "There is nothing at this address."
