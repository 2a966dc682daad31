"""LNURL-pay (LUD-06) as strangers speak it, well and badly; and as the stand-in does."""

import hashlib
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateways import bolt11
from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import PublicHttpClient, Reply
from gateways.lnurl import NotAReceiver, OfferedInvoice
from gateways.lnurl import receivers as module
from gateways.lnurl.receivers import LnurlReceivers
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.money import Sats, msats
from tests.conformance.internet import Internet
from tests.conformance.scripted_server import (
    LONG_BEFORE_THE_SERVER,
    Say,
    ScriptedServer,
    answer,
    dripping_body,
    json_answer,
)

ADDRESS = "alice@wallet.example"
METADATA = '[["text/plain", "Sats für Alice"]]'
TERMS: dict[str, Any] = {
    "tag": "payRequest",
    "callback": "https://pay.example/cb?id=7",
    "minSendable": 1000,
    "maxSendable": 100_000,
    "metadata": METADATA,
}


@pytest.fixture
def receivers(internet: Internet) -> LnurlReceivers:
    internet.wallet.says(json_answer(TERMS))
    internet.pay.says(json_answer({"pr": "lnbcrt1", "routes": []}))
    return LnurlReceivers(internet.client())


def trouble(receivers: LnurlReceivers, sats: int = 10) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        receivers.invoice(ADDRESS, Sats(sats))
    return caught.value


def test_a_receiver_is_asked_for_its_terms_and_then_for_the_invoice(
    receivers: LnurlReceivers, internet: Internet
) -> None:
    offered = receivers.invoice(ADDRESS, Sats(10))

    digest = hashlib.sha256(METADATA.encode()).hexdigest()
    assert offered == OfferedInvoice(payment_request="lnbcrt1", description_hash=digest)
    assert internet.wallet.heard[0].path == "/.well-known/lnurlp/alice"
    assert internet.pay.heard[0].path == "/cb"
    assert internet.pay.heard[0].query == {"id": ["7"], "amount": ["10000"]}
    assert internet.asked == ["wallet.example", "pay.example"]


@pytest.mark.parametrize("sats", [1, 50, 100])
def test_an_amount_within_the_limits_is_asked_for(receivers: LnurlReceivers, sats: int) -> None:
    assert receivers.invoice(ADDRESS, Sats(sats)).payment_request


@pytest.mark.parametrize(("least", "most"), [(10_001, 100_000), (1, 9_999), (20_000, 10_000)])
def test_an_amount_outside_the_limits_is_not_asked_for(
    receivers: LnurlReceivers, internet: Internet, least: int, most: int
) -> None:
    internet.wallet.says(json_answer(TERMS | {"minSendable": least, "maxSendable": most}))

    error = trouble(receivers)

    assert isinstance(error, Refused)
    assert error.code == "amount_limits"
    assert internet.pay.heard == []


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"tag": "withdrawRequest"},
        {**TERMS, "tag": "channelRequest"},
        *({**TERMS, name: None} for name in TERMS),
        *({**TERMS, name: True} for name in TERMS),
        *({**TERMS, name: [1]} for name in TERMS),
        {**TERMS, "minSendable": "1000"},
        {**TERMS, "maxSendable": 100_000.5},
        {**TERMS, "metadata": "\ud800"},
        {**TERMS, "callback": "https://[half/"},
    ],
    ids=str,
)
def test_what_is_no_lnurl_pay_is_refused(
    receivers: LnurlReceivers, internet: Internet, terms: dict[str, Any]
) -> None:
    internet.wallet.says(json_answer(terms))

    error = trouble(receivers)

    assert isinstance(error, Refused)
    assert error.code == "not_lnurl_pay"


@pytest.mark.parametrize(
    ("least", "most", "is_within"),
    [("0", "1e100000", True), ("1e100000", "1e100000", False), ("-1e100000", "1e-100000", False)],
)
def test_a_number_that_takes_ages_to_write_out_is_only_compared(
    receivers: LnurlReceivers, internet: Internet, least: str, most: str, is_within: bool
) -> None:
    """Writing out 1e999999999 would hold every thread of the process for hours."""
    terms = json.dumps(TERMS | {"minSendable": "least", "maxSendable": "most"})
    terms = terms.replace('"least"', least).replace('"most"', most)
    internet.wallet.says(answer(200, terms))
    began = time.thread_time()

    if is_within:
        assert receivers.invoice(ADDRESS, Sats(10)).payment_request
    else:
        assert isinstance(trouble(receivers), Refused)

    assert time.thread_time() - began < 5


@pytest.mark.parametrize("offer", [{}, {"pr": None}, {"pr": 7}, {"pr": {"a": 1}}], ids=str)
def test_an_answer_without_an_invoice_is_refused(
    receivers: LnurlReceivers, internet: Internet, offer: dict[str, Any]
) -> None:
    internet.pay.says(json_answer(offer))

    assert trouble(receivers).code == "not_lnurl_pay"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("host", ["wallet", "pay"])
def test_an_error_in_json_is_an_error_whatever_its_status(
    receivers: LnurlReceivers, internet: Internet, host: str, status: int
) -> None:
    getattr(internet, host).says(json_answer({"status": "ERROR", "reason": "no"}, status))

    error = trouble(receivers)

    assert isinstance(error, Unavailable)
    assert error.code == "receiver_error"
    assert "no" not in str(error).split()


@pytest.mark.parametrize(
    ("say", "code", "kind"),
    [
        (answer(404, "nobody"), "not_found", Refused),
        (json_answer({"status": "ERROR", "reason": "nobody"}, 404), "not_found", Refused),
        (answer(410, "gone"), "not_found", Refused),
        (answer(403, "no"), "http_403", Refused),
        (answer(500, "oops"), "http_500", Unavailable),
        (answer(429, "slow"), "http_429", Unavailable),
        (answer(200, "<!doctype html>"), "not_json", Unavailable),
        (answer(200, "[1, 2]"), "not_an_object", Unavailable),
        (answer(200, b"{" + b" " * module.MAX_BYTES), "too_large", Unavailable),
        (Say(then="reset"), "connection", Unavailable),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_trouble_is_told_apart_by_whether_it_may_pass(
    receivers: LnurlReceivers, internet: Internet, say: Say, code: str, kind: type[OutsideError]
) -> None:
    internet.wallet.says(say)

    error = trouble(receivers)

    assert error.code == code
    assert isinstance(error, kind)


@pytest.mark.parametrize(
    ("callback", "code"),
    [
        ("https://127.0.0.1/cb", "not_public"),
        ("https://inside.example/cb", "not_public"),
        ("http://pay.example/cb", "bad_request"),
        ("https://pay.example:8443/cb", "port"),
        ("https://user@pay.example/cb", "bad_request"),
        ("file:///etc/passwd", "bad_request"),
        ("/relative", "bad_request"),
    ],
)
def test_a_callback_is_judged_like_the_address_itself(
    receivers: LnurlReceivers, internet: Internet, callback: str, code: str
) -> None:
    internet.addresses |= {"inside.example": ["10.0.0.5"], "127.0.0.1": ["127.0.0.1"]}
    internet.wallet.says(json_answer(TERMS | {"callback": callback}))

    error = trouble(receivers)

    assert isinstance(error, Refused)
    assert error.code == code
    assert len(internet.dialled) == 1


def test_both_requests_share_one_deadline(
    receivers: LnurlReceivers, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.6)
    body = json.dumps(TERMS).encode()
    internet.wallet.says(dripping_body(body, seconds_a_byte=0.3 / len(body)))
    internet.pay.says(dripping_body(b'{"pr": "lnbcrt1"}' + b" " * 1000, seconds_a_byte=0.05))
    began = time.monotonic()

    assert trouble(receivers).code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER


class Lingering(PublicHttpClient):
    """Answers nobody until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.over = threading.Event()

    def get(self, url: str, *, seconds: float, max_bytes: int, **more: object) -> Reply:
        self.asked.release()
        self.over.wait(120)
        return Reply(status=404, body=b"", asked=url)


def test_slow_strangers_hold_so_many_threads_and_no_more() -> None:
    http = Lingering()
    receivers = LnurlReceivers(http)
    threads = [threading.Thread(target=lambda: trouble(receivers)) for _ in range(module.AT_ONCE)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert http.asked.acquire(timeout=20)

    assert trouble(receivers).code == "busy"

    http.over.set()
    for thread in threads:
        thread.join(20)
    assert trouble(receivers).code == "not_found"


def test_a_shape_is_judged_without_asking_anybody(
    receivers: LnurlReceivers, internet: Internet
) -> None:
    receivers.check(ADDRESS)
    with pytest.raises(NotAReceiver):
        receivers.check("alice")

    assert internet.asked == []


# The stand-in's receiver, over the real road.


@pytest.fixture
def bench(stand_in: StandInClient) -> LnurlReceivers:
    return LnurlReceivers(
        PublicHttpClient(bench_origins=[stand_in.url]), bench_origins=[stand_in.url]
    )


def _bob(stand_in: StandInClient) -> str:
    return f"bob@{urlsplit(stand_in.url).netloc}"


def test_the_stand_in_makes_a_real_invoice_for_any_name(
    bench: LnurlReceivers, stand_in: StandInClient
) -> None:
    offered = bench.invoice(_bob(stand_in), Sats(21))

    invoice = bolt11.read(offered.payment_request)
    assert invoice.amount == msats(Sats(21))
    assert invoice.description_hash == offered.description_hash
    assert invoice.network is bolt11.Network.REGTEST
    asked = stand_in.effects("receiver_asked")
    assert [effect.details["target"] for effect in asked] == ["lnurl.terms", "lnurl.invoice"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(target="lnurl.terms", kind=FaultKind.LIMITS), "amount_limits"),
        (Fault(target="lnurl.terms", kind=FaultKind.DECLINED), "receiver_error"),
        (Fault(target="lnurl.invoice", kind=FaultKind.DECLINED), "receiver_error"),
        (Fault(target="lnurl", kind=FaultKind.BODY), "not_json"),
        (Fault(target="lnurl", kind=FaultKind.TRUNCATED), "not_json"),
        (Fault(target="lnurl", kind=FaultKind.STATUS, status=404), "not_found"),
        (Fault(target="lnurl", kind=FaultKind.STATUS, status=503), "http_503"),
        (Fault(target="lnurl", kind=FaultKind.RESET), "connection"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.target,
)
def test_the_stand_in_fails_as_it_is_told_and_keeps_a_record(
    bench: LnurlReceivers, stand_in: StandInClient, fault: Fault, code: str
) -> None:
    stand_in.arm(fault)

    with pytest.raises(OutsideError) as caught:
        bench.invoice(_bob(stand_in), Sats(21))

    assert caught.value.code == code
    (failed,) = stand_in.effects("receiver_failed")
    assert failed.details["fault"] == fault.kind


@pytest.mark.parametrize(
    "kind", [FaultKind.WRONG_AMOUNT, FaultKind.WRONG_NETWORK, FaultKind.WRONG_METADATA]
)
def test_the_stand_in_hands_out_wrong_invoices_as_it_is_told(
    bench: LnurlReceivers, stand_in: StandInClient, kind: FaultKind
) -> None:
    stand_in.arm(Fault(target="lnurl.invoice", kind=kind))

    offered = bench.invoice(_bob(stand_in), Sats(21))

    invoice = bolt11.read(offered.payment_request)
    assert (invoice.amount == 22_000) is (kind is FaultKind.WRONG_AMOUNT)
    assert (invoice.network is bolt11.Network.BITCOIN) is (kind is FaultKind.WRONG_NETWORK)
    is_bound = invoice.description_hash == offered.description_hash
    assert is_bound is not (kind is FaultKind.WRONG_METADATA)


def test_a_hanging_receiver_is_left(
    bench: LnurlReceivers, stand_in: StandInClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.4)
    stand_in.arm(Fault(target="lnurl.terms", kind=FaultKind.HANG))

    with pytest.raises(Unavailable) as caught:
        bench.invoice(_bob(stand_in), Sats(21))
    assert caught.value.code == "timeout"


def test_beside_no_stand_in_the_loopback_is_no_receiver(server: ScriptedServer) -> None:
    receivers = LnurlReceivers(PublicHttpClient())

    with pytest.raises(Refused) as caught:
        receivers.invoice(f"bob@{urlsplit(server.url).netloc}", Sats(21))
    assert caught.value.code == "not_a_receiver"
    assert server.connections == 0
