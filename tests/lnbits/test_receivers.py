"""A Lightning address of a real LNbits: asked for an invoice, and paid by ours."""

from urllib.parse import urlsplit

import pytest
import requests

from gateways import bolt11
from gateways.errors import Unavailable
from gateways.http import HttpClient, PublicHttpClient
from gateways.lightning import PayoutOutcome, SendOutcome
from gateways.lightning.lnbits import LnbitsPayouts
from gateways.lnurl.receivers import LnurlReceivers
from models.money import Sats, msats
from tests.lnbits.rig import Rig
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import body_of


@pytest.fixture
def receivers(rig: Rig) -> LnurlReceivers:
    """The rig speaks plain http on the loopback, which nobody is asked at otherwise."""
    bench = [rig.a.url]
    return LnurlReceivers(PublicHttpClient(bench_origins=bench), bench_origins=bench)


def address_of_a_new_wallet(rig: Rig) -> str:
    made = body_of(requests.post(f"{rig.a.url}/api/v1/account", json={"name": "alice"}, timeout=30))
    return f"{made['lightning_address']}@{urlsplit(rig.a.url).netloc}"


def test_its_invoice_is_bound_to_what_it_said_before(rig: Rig, receivers: LnurlReceivers) -> None:
    offered = receivers.invoice(address_of_a_new_wallet(rig), Sats(21))

    invoice = bolt11.read(offered.payment_request)
    assert invoice.amount == msats(Sats(21))
    assert invoice.description_hash == offered.description_hash


def test_it_is_paid_by_our_lnbits(rig: Rig, receivers: LnurlReceivers) -> None:
    ours = rig.b.new_wallet("pays by address", sats=1000)
    payouts = LnbitsPayouts(ours.url, ours.admin_key, HttpClient())
    offered = receivers.invoice(address_of_a_new_wallet(rig), Sats(21))
    payment_hash = bolt11.read(offered.payment_request).payment_hash

    assert payouts.send(offered.payment_request).outcome is SendOutcome.SENT

    wait_until(
        lambda: payouts.read(payment_hash).outcome is PayoutOutcome.PAID, 60, "the address is paid"
    )


def test_a_name_that_it_does_not_know_is_an_error_in_words_and_not_a_404(
    rig: Rig, receivers: LnurlReceivers
) -> None:
    with pytest.raises(Unavailable) as caught:
        receivers.invoice(f"nobody@{urlsplit(rig.a.url).netloc}", Sats(21))

    assert caught.value.code == "receiver_error"
