"""The watch over logs and answers is itself seen to bark."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from config.settings import STAND_IN_ADMIN_KEY, Settings
from services.toolbox import webhook_token
from tests.support.canary import assert_tells_nothing, secrets_in, told_by_mistake
from tests.support.confidential import keys_in
from tests.support.life import REQUEST


@pytest.mark.parametrize(
    "line",
    [
        "GET /api/jobs/4cd17f5d-b6a0-405a-93cb-5a3758286c66",
        "job=4cd17f5db6a0405a93cb5a3758286c66",
        "job=4CD17F5D-B6A0-405A-93CB-5A3758286C66",
        "paid lnbcrt210n1p4syn3rpp52728heynym2wn3krerpxamatxujf7c7kksyytdmdkag3u8z2v9ys",
        "paid lntb210n1p4syn3rpp52728heynym2wn3krerpxamatxujf7c7kksyytdmdkag3u8z2v9ys",
        "paid lntbs210n1p4syn3rpp52728heynym2wn3krerpxamatxujf7c7kksyytdmdkag3u8z2v9ys",
        "preimage=" + "ab" * 32,
        "preimage=" + "AB" * 32,
        f"X-Api-Key: {STAND_IN_ADMIN_KEY}",
        "connected to postgresql://honestwork:s3cret@127.0.0.1:5432/honestwork",
        "asked for: a birthday poem for my mother",
        json.dumps({"event": "asked for", "request": 'für dich:\n"ein Gedicht"'}),
        f"refused, and so stored nowhere: {REQUEST}",
        "nonce=0x" + "0a" * 32,
        "signature=0x" + "1b" * 65,
        "PAYMENT-SIGNATURE: eyJ4NDAyVmVyc2lvbiI6" + "Miwic2NoZW1lIjoiZXhhY3Qi" * 3,
        "offer=o1." + "Ab_-" * 20,
        "Authorization: Bearer hwc_" + "x-Y_" * 10 + "abc",
        "key sk-or-v1-tests-provider-key-0001 refused",
        "key sk-ant-tests-provider-key-0002 refused",
        "sealed=1.k3yId_-9." + "n" * 16 + "." + "c" * 40,
        "POST /api/hooks/lnbits/" + "0d" * 16,
    ],
)
def test_a_line_that_gives_something_away_is_noticed(line: str) -> None:
    texts = ["a birthday poem for my mother", 'für dich:\n"ein Gedicht"']
    assert secrets_in(line, confidential=texts)


@pytest.mark.parametrize(
    "line",
    [
        "job moved job=17 on=delivered state=complete",
        "payment for no invoice of ours payment_hash=cd75aa5d",
        "Connected to redis://:**@127.0.0.1:31070/0",
        "request_id=9dca1c2e2fc344c1b622200bdfa7191c",
        '{"request_id": "9dca1c2e2fc344c1b622200bdfa7191c"}',
        "{'request_id': '9dca1c2e2fc344c1b622200bdfa7191c'}",
        "payment for no invoice of ours job_digits=4cd17f5db6a0",
        "run settled run=17 transaction=0x1b2c3d4e",
        "x402 1.0.12345678 started",
        "POST /api/hooks/lnbits/<string:token> 204",
    ],
)
def test_what_a_log_may_say_is_let_through(line: str) -> None:
    assert not secrets_in(line)


def test_no_key_of_a_deployment_may_be_logged() -> None:
    environ = {
        "DATABASE_URL": "postgresql://nowhere",
        "REDIS_URL": "redis://nowhere",
        "LNBITS_URL": "https://lnbits.example",
        "LNBITS_INVOICE_KEY": "canary-invoice-key",
        "LNBITS_ADMIN_KEY": "canary-admin-key",
        "ANTHROPIC_API_KEY": "canary-anthropic-key",
        "OPENAI_API_KEY": "canary-openai-key",
        "VAULT_KEYS": f"{'new-' * 10}key,{'old-' * 10}key",
        "OPS_TOKEN": "canary-ops-token-that-nobody-has",
    }
    keys = keys_in(Settings.load(environ))
    token = webhook_token("canary-invoice-key")

    opening = [value for name, value in environ.items() if not name.endswith("URL")]
    for said in (*",".join(opening).split(","), token):
        assert secrets_in(f"told: {said}", confidential=keys), said


JOB = "4cd17f5d-b6a0-405a-93cb-5a3758286c66"


def test_the_log_of_a_process_is_held_against_it_line_by_line() -> None:
    log = "web | ready\nworker | asked for: a birthday poem for my mother\nbeat | ready\n"

    with pytest.raises(AssertionError, match="a birthday poem for my mother: worker"):
        assert_tells_nothing(log, confidential=["a birthday poem for my mother"])
    assert_tells_nothing(log, confidential=["ready"])


@pytest.mark.parametrize(
    "line",
    [
        f"worker-money | Discarding revoked task: dispatch[{JOB}]",
        f"worker-money | Couldn't ack '{JOB}', reason: ConnectionError",
    ],
)
def test_a_message_has_an_id_that_may_be_logged_unless_it_is_a_jobs(line: str) -> None:
    assert_tells_nothing(line)
    with pytest.raises(AssertionError):
        assert_tells_nothing(line, confidential=[JOB])


@pytest.mark.parametrize("line", [f"worker-money | job[{JOB}]", f"job {JOB}"])
def test_a_whole_job_id_is_no_messages(line: str) -> None:
    with pytest.raises(AssertionError):
        assert_tells_nothing(line)


@dataclass
class Said:
    """An answer of ours."""

    body: Any
    path: str = f"/api/jobs/{JOB}"
    status_code: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return json.dumps(self.body)


HASH, INVOICE = "ab" * 32, "lnbcrt210n1p4syn3rpp52728heynym2wn3krerpxamatxujf7c7kksyyt"
API_KEY = "hwc_" + "x-Y_" * 10
OTHERS = "5b0e3a52-0d0e-4f6c-8f0b-6a4c8b6f1d2e"


@pytest.mark.parametrize(
    "answer",
    [
        Said({"jobId": OTHERS}),
        Said({"jobId": OTHERS.upper()}),
        Said({"job": OTHERS.replace("-", "")}),
        Said({"error": f"{OTHERS} has it already"}, status_code=409),
        Said({"preimage": HASH}),
        Said({"debts": [{"note": HASH}]}),
        Said({"error": f"{INVOICE} is not right"}, status_code=400),
        Said({"reason": f"LNbits says {STAND_IN_ADMIN_KEY}"}),
        Said({"last4": "sk-or-v1-tests-provider-key-0001"}),
        Said({"sealed": "1.k3yId_-9." + "n" * 16 + "." + "c" * 40}),
        Said({"apiKey": API_KEY}, path="/api/creator"),
        Said({"error": "no way to postgresql://honestwork:s3cret@db/x"}, status_code=503),
        Said({"signature": "0x" + "1b" * 65}),
    ],
)
def test_an_answer_that_gives_something_away_is_noticed(answer: Said) -> None:
    assert told_by_mistake(answer)


@pytest.mark.parametrize(
    "answer",
    [
        Said({"jobId": JOB, "evalInvoice": {"paymentRequest": INVOICE, "paymentHash": HASH}}),
        Said({"jobId": OTHERS}, path="/api/jobs", headers={"Location": f"/api/jobs/{OTHERS}"}),
        Said({"statusUrl": f"https://x.example/runs/{OTHERS}"}, path="/api/instant/ada/poem"),
        Said({"receipt": {"transaction": f"0x{HASH}"}}, path="/api/instant/ada/poem"),
        Said({"apiKey": API_KEY}, path="/api/creators", status_code=201),
        Said({"jobId": JOB}, path=f"/api/jobs/{JOB.upper()}"),
        Said({"requestId": OTHERS.replace("-", "")}, status_code=404),
        Said({"response": {"idempotencyKey": OTHERS.replace("-", "")}}, path="/api/instant/a/echo"),
    ],
)
def test_what_an_answer_is_for_is_let_through(answer: Said) -> None:
    assert not told_by_mistake(answer)


def test_an_error_that_repeats_what_was_said_in_confidence_is_noticed() -> None:
    said = "a birthday poem for my mother"
    refused = Said({"error": f"I will not write {said}."}, status_code=400)

    assert told_by_mistake(refused, {"request": said})
    assert not told_by_mistake(refused, {"metadata": {"order": "7"}})
    assert not told_by_mistake(Said({"result": said}), {"request": said})
