"""Asking and paying by hand, as any program may."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import requests

from tests.journeys.waiting import wait_until
from tests.support import wire
from tests.support.x402_payer import Json, decoded

PATIENCE_SECONDS = 90
FOLLOW_SECONDS = 120

T = TypeVar("T")


def ask(
    url: str, headers: dict[str, str] | None = None, body: object | None = None
) -> requests.Response:
    """One POST, as any program would send it; what the product answers is judged."""
    sent = body or {}
    answer = requests.post(url, json=sent, headers=headers, timeout=PATIENCE_SECONDS)
    return wire.judged(answer, sent) if "X-Request-Id" in answer.headers else answer


def required(url: str) -> Json:
    """What an unpaid request is told to pay."""
    answer = ask(url)
    assert answer.status_code == 402, answer.text
    return decoded(answer.headers["PAYMENT-REQUIRED"])


def result_of(answer: requests.Response) -> Json:
    """What a purchase came to: told at once, or later where the answer says to look."""
    assert answer.status_code != 500, answer.text
    if answer.status_code == 202:
        answer = ended(answer.json()["statusUrl"])
    body: Json = answer.json()
    return body


def ended(status_url: str) -> requests.Response:
    """What is told of a run when it is over."""
    return wait_until(
        "the run ends",
        lambda: wire.get(status_url, timeout=PATIENCE_SECONDS),
        lambda told: told.status_code != 202,
        seconds=FOLLOW_SECONDS,
        every=0.2,
    )


def at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Begin all at the same moment; what each of them returned."""
    barrier = threading.Barrier(len(works))

    def begin(work: Callable[[], T]) -> T:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))
