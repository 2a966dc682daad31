"""LNbits' webhook: a nudge for whoever knows the token, nothing for anybody else."""

from services.toolbox import WEBHOOK_PATH, Toolbox
from tests.app.contract import CheckedClient


def test_given_the_right_token_then_the_nudge_is_taken_whatever_its_body(
    client: CheckedClient, tools: Toolbox
) -> None:
    response = client.post(WEBHOOK_PATH + tools.webhook_token, data=b'"{\\"amount\\":1}"')

    assert response.status_code == 204


def test_given_a_wrong_token_then_there_is_nothing_at_this_address(client: CheckedClient) -> None:
    response = client.post(WEBHOOK_PATH + "0" * 32)

    assert response.status_code == 404
    assert response.json["error"] == "There is nothing at this address."
