"""Whom a creator may name as the server behind a proxy, judged by the text alone."""

import pytest

from gateways.proxied import MAX_URL_LENGTH, problem_of

BENCH = "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/v1/run",
        "https://api.example:443/",
        "https://api.example/run?token=t&x=%20",
        "https://bücher.example/",
        "https://8.8.8.8/",
        "HTTPS://API.EXAMPLE/",
    ],
)
def test_a_web_address_on_the_public_internet_may_be_named(url: str) -> None:
    assert problem_of(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.example/", "https"),
        ("ftp://api.example/", "https"),
        ("file:///etc/passwd", "https"),
        ("javascript:alert(1)", "https"),
        ("api.example", "https"),
        ("", "https"),
        ("https://user:key@api.example/", "user"),
        ("https://api.example:8443/", "port"),
        ("https://api.example:22/", "port"),
        ("https://api.example:x/", "web address"),
        ("https://[::1/", "web address"),
        ("https://a..example/", "web address"),
        ("https://api.example/a b", "blanks"),
        ("https://api.example\\@inside.example/", "user"),
        ("https://", "public internet"),
        ("https://localhost/", "public internet"),
        ("https://127.0.0.1/", "public internet"),
        ("https://127.1/", "public internet"),
        ("https://2130706433/", "public internet"),
        ("https://0x7f000001/", "public internet"),
        ("https://[::1]/", "public internet"),
        ("https://[::ffff:10.0.0.1]/", "public internet"),
        ("https://169.254.169.254/latest/meta-data", "public internet"),
        ("https://metadata.google.internal/", "public internet"),
        (f"https://api.example/{'x' * MAX_URL_LENGTH}", "characters"),
        (f"{BENCH}/upstream/echo", "https"),
    ],
)
def test_any_other_is_refused_with_a_reason(url: str, problem: str) -> None:
    said = problem_of(url)

    assert said is not None
    assert said.startswith("must ")
    assert problem in said


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        (f"{BENCH}/upstream/echo", True),
        (f"{BENCH}0/upstream/echo", False),
        ("https://127.0.0.1:8001/", False),
        ("http://x@127.0.0.1:8001/", False),
        ("http://127.0.0.1:8001@inside.example/", False),
        ("http://[", False),
    ],
)
def test_on_the_bench_the_stand_in_itself_may_be_named_and_nobody_else(
    url: str, is_taken: bool
) -> None:
    assert (problem_of(url, bench_origins=[BENCH]) is None) is is_taken
