"""Reading a Lightning address or an LNURL-pay: LUD-01, -16 and -17, asking nobody."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.lnurl import NotAReceiver
from gateways.lnurl.addresses import MAX_LENGTH, url_of
from local.stand_in.bolt11_signing import bech32, words_of_octets

BENCH = frozenset({"http://127.0.0.1:8001"})


def lnurl(url: str) -> str:
    return bech32("lnurl", words_of_octets(url.encode()))


def read(text: str) -> str:
    return url_of(text, bench_origins=frozenset())


def refused(text: str) -> str:
    with pytest.raises(NotAReceiver) as caught:
        read(text)
    return str(caught.value)


HTTPS = "https://wallet.example/lnurlp/alice?x=1"
LUD_01 = (
    "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56"
    "NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS"
)
"""The example of the specification."""


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("alice@wallet.example", "https://wallet.example/.well-known/lnurlp/alice"),
        (" Alice@Wallet.Example ", "https://Wallet.Example/.well-known/lnurlp/alice"),
        ("a.b-c_d+tag@wallet.example", "https://wallet.example/.well-known/lnurlp/a.b-c_d%2Btag"),
        ("lightning:alice@wallet.example", "https://wallet.example/.well-known/lnurlp/alice"),
        (lnurl(HTTPS), HTTPS),
        (lnurl(HTTPS).upper(), HTTPS),
        (f"LIGHTNING:{lnurl(HTTPS).upper()}", HTTPS),
        ("lnurlp://wallet.example/lnurlp/alice", "https://wallet.example/lnurlp/alice"),
        ("lnurlp:wallet.example/lnurlp/alice", "https://wallet.example/lnurlp/alice"),
        (HTTPS, HTTPS),
        ("https://wallet.example:443/a", "https://wallet.example:443/a"),
        (f"https://shop.example/?lightning={lnurl(HTTPS).upper()}", HTTPS),
        (
            LUD_01,
            "https://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df",
        ),
    ],
)
def test_every_spelling_of_a_receiver_leads_to_its_address(text: str, url: str) -> None:
    assert read(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "alice", "@wallet.example", "alice@", "alice@wallet", "alice@@wallet.example"),
        *("alice@127.0.0.1", "alice@localhost", "alice@wallet.local", "alice@[::1]"),
        *("alice@hidden.onion", "alice@wallet.example:8443", "alice@wallet.example/x"),
        *("http://wallet.example/", "ftp://wallet.example/", "file:///etc/passwd"),
        *("https://user:secret@wallet.example/", "https://user@wallet.example/", "https://"),
        *("https://wallet.example:8443/", "https://10.0.0.1/", "https://[::1]/x", "https://wallet"),
        *(
            "https://wallet.example/a b",
            "https://wallet.example\\@10.0.0.1/",
            "https://a\r\nb.example/",
        ),
        *("https://wallet.example:port/", "https://[half/", "lnurlp://10.0.0.1/x"),
        *("keyauth://wallet.example/", "lnurlw://wallet.example/", "lnurlc://wallet.example/"),
        *("lnbcrt1", "lnurl1", "lnurl1qqqq", lnurl(HTTPS)[:-1] + "q", lnurl(HTTPS).title()),
        *(lnurl("http://wallet.example/"), lnurl("https://127.0.0.1/"), lnurl("nonsense")),
        bech32("lnurl", words_of_octets(b"\xff\xfe\xfd")),
        f"https://shop.example/?lightning={lnurl('https://10.0.0.1/')}",
        "a" * (MAX_LENGTH + 1),
        *("bücher", "☃@wallet.example", "alice@wal\x00let.example"),
    ],
)
def test_anything_else_is_refused_in_words(text: str) -> None:
    said = refused(text)

    assert said.startswith(("must ", "is "))
    assert len(said) < 120


def test_a_name_in_any_script_is_a_name() -> None:
    assert read("alice@bücher.example").endswith("bücher.example/.well-known/lnurlp/alice")


def test_on_a_bench_its_own_origin_is_taken_and_no_other_one() -> None:
    bench = "http://127.0.0.1:8001"

    for text in ("alice@127.0.0.1:8001", f"{bench}/.well-known/lnurlp/alice"):
        assert url_of(text, bench_origins=BENCH) == f"{bench}/.well-known/lnurlp/alice"
    assert url_of(lnurl(f"{bench}/x"), bench_origins=BENCH) == f"{bench}/x"
    for text in ("alice@127.0.0.1:8002", "http://127.0.0.1:80011/", "alice@127.0.0.1"):
        with pytest.raises(NotAReceiver):
            url_of(text, bench_origins=BENCH)


@given(st.text(max_size=80) | st.from_regex(r"(lnurl1|lnurlp:|https://|a@)[ -~]{0,60}"))
def test_no_text_at_all_breaks_the_reader(text: str) -> None:
    with suppress(NotAReceiver):
        assert read(text).startswith("https://")
