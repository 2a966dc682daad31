"""A setting does what its name says, seen from outside: read, and used where it should be."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest

from gateways import bolt11
from models.btc_price import BtcPrice
from models.invoice import InvoiceKind
from models.money import Usd
from services.jobs import demo
from services.jobs.demo import Client
from tests.app.conftest import Build
from tests.support import rows
from tests.support.configured import configured
from tests.support.life import Life
from tests.support.recording_model import RecordingModel

JSON = "application/json"
ME = Client(key="192.0.2.1", network="192.0.2.1")


def _amount(life: Life) -> object:
    """Of the evaluation invoice, as we show it and as a wallet pays it."""
    invoice = life.create().invoices[InvoiceKind.EVAL]
    return invoice.amount_sats, bolt11.read(invoice.payment_request).amount


def _lifetimes(life: Life) -> object:
    """Seconds that each invoice can be paid for, and that its BOLT11 lives longer than that."""
    invoices = life.awaiting_work_payment().invoices
    return {
        kind.value: (
            (invoice.expires_at - invoice.created_at).seconds,
            _life_of(invoice.payment_request),
        )
        for kind, invoice in invoices.items()
    }


def _life_of(payment_request: str) -> int:
    written = bolt11.read(payment_request)
    return (written.expires_at - written.created_at).seconds


def _patience(life: Life) -> object:
    """Seconds from a payment to the end of all trying, for each of both steps."""
    jobs = [make().job for make in (life.evaluating, life.executing)]
    return [(job.give_up_at - job.moved_at).seconds for job in jobs if job.give_up_at]


def _sources(life: Life) -> object:
    """What a price counts as after 70 and 130 seconds."""
    with life.tools.database.transaction("test.price") as session:
        session.add(BtcPrice(price_usd=Usd(Decimal(50_000)), feeds={}))
    found = []
    for more in (70, 60):
        rows.let_pass(life.tools, BtcPrice, timedelta(seconds=more))
        view = life.awaiting_work_payment()
        found.append((view.job.btc_price_source, view.job.btc_price_usd))
    return found


def _caps(life: Life) -> object:
    """Output tokens that requests of 10, 11, 20 and 21 characters are priced for."""
    views = [life.awaiting_work_payment("x" * size) for size in (10, 11, 20, 21)]
    return [view.job.output_tokens_bound for view in views]


def _calls(life: Life) -> object:
    """What a demo asks of which model."""
    model = RecordingModel()
    recording = life.tools.with_(language_model=model.of)
    demo.admit(recording, "Say something.", ME)
    life.doorbell.answer_all(recording)
    return model.names, [(asked.model, asked.max_output_tokens) for asked in model.asked]


TABLE: list[tuple[dict[str, str], Callable[[Life], object], object]] = [
    ({"EVAL_FEE_SATS": "37"}, _amount, (37, 37_000)),
    (
        {"EVAL_INVOICE_EXPIRY_SECONDS": "1200", "WORK_INVOICE_EXPIRY_SECONDS": "2400"},
        _lifetimes,
        {"eval": (1200, 1800), "work": (2400, 3000)},
    ),
    ({"JOB_DEADLINE_SECONDS": "1234"}, _patience, [1234, 1234]),
    (
        {"BTC_PRICE_MAX_STALE_SECONDS": "120", "BTC_PRICE_USD_FALLBACK": "61000"},
        _sources,
        [("stale", 50_000), ("fallback", 61_000)],
    ),
    ({"OUTPUT_TOKENS_BY_TIER": '{"10": 111, "20": 222, "*": 333}'}, _caps, [111, 222, 222, 333]),
    (
        {"WORK_MODEL": "claude-opus-5", "DEMO_MAX_OUTPUT_TOKENS": "77"},
        _calls,
        (["claude-opus-5"], [("claude-opus-5", 77)]),
    ),
]


@pytest.mark.parametrize(
    ("environ", "act", "observed"), TABLE, ids=[" ".join(environ) for environ, *_ in TABLE]
)
def test_a_setting_does_what_its_name_says(
    life: Life, environ: dict[str, str], act: Callable[[Life], object], observed: object
) -> None:
    assert act(configured(life, **environ)) == observed


def _framed(size: int, *, in_chunks: bool) -> dict[str, Any]:
    """A body of so many bytes, with or without saying so beforehand."""
    body = b'{"request": "Anything."}'.ljust(size)
    if not in_chunks:
        return {"data": body}
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return {"input_stream": BytesIO(body), "environ_overrides": environ}


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_body_of_max_body_bytes_is_taken_and_one_of_a_byte_more_is_not(
    client_with: Build, *, in_chunks: bool
) -> None:
    client = client_with(max_body_bytes=200)

    answers = [
        client.post("/api/jobs", content_type=JSON, **_framed(size, in_chunks=in_chunks))
        for size in (200, 201)
    ]

    assert [answer.status_code for answer in answers] == [201, 413]
