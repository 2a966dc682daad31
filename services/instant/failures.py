"""Why a run came to nothing: told to its creator, never to the caller."""

import re
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

from gateways.errors import Billed, OutsideError, Refused
from gateways.llms import Answer, Stop
from models.creator import BreakerReason

TRIES_MAX = 3
"""Calls of one run that may have been turned away before it fails; the caller is waiting."""
LONGEST_WISH = timedelta(seconds=10)
"""A provider that wants to be left alone for longer is not waited for."""
MAY_BE_THE_HOUR = frozenset({"connection", "http_429", "http_503"})
"""What a facilitator says, or does not, whatever the payment is."""
_NOTHING_HEARD = frozenset({"timeout", "tls", "encoded", "too_large", "bad_answer"})
"""What it says of no plain wallet's payment. A smart wallet's own code runs when it is looked at,
and might hang it, or have it answer so.
"""
_THEIR_ERROR = re.compile(r"http_5\d\d", re.ASCII)


class RunFailure(StrEnum):
    """``runs.error_code`` of a run that failed. Rejected payments say the facilitator's word."""

    KEY_MISSING = "key_missing"
    KEY_INVALID = "key_invalid"
    CREDITS = "credits"
    MODERATION = "moderation"
    RATE = "rate"
    MODEL_GONE = "model_gone"
    BAD_REQUEST = "bad_request"
    """The provider cannot do what the resource asks for: its settings do not fit the model, say."""
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    EMPTY_OUTPUT = "empty_output"
    CRASHED = "crashed"
    DEADLINE = "deadline"
    FACILITATOR_AWAY = "facilitator_away"
    """Nobody verified the payment, or could be asked to settle it: hardly any payer's doing."""
    SETTLEMENT_FAILED = "settlement_failed"


_BY_CODE = {
    "http_401": RunFailure.KEY_INVALID,
    "http_402": RunFailure.CREDITS,
    "http_403": RunFailure.MODERATION,
    "http_404": RunFailure.MODEL_GONE,
    "http_400": RunFailure.BAD_REQUEST,
    "http_413": RunFailure.BAD_REQUEST,
    "http_422": RunFailure.BAD_REQUEST,
    "http_429": RunFailure.RATE,
    "timeout": RunFailure.TIMEOUT,
    "http_408": RunFailure.TIMEOUT,
    "http_504": RunFailure.TIMEOUT,
    "http_524": RunFailure.TIMEOUT,
}
_STOPS_SALES = {
    RunFailure.KEY_INVALID: BreakerReason.KEY_INVALID,
    RunFailure.CREDITS: BreakerReason.CREDITS,
    RunFailure.RATE: BreakerReason.RATE,
    RunFailure.MODEL_GONE: BreakerReason.MODEL_GONE,
    RunFailure.UPSTREAM: BreakerReason.UPSTREAM,
    RunFailure.TIMEOUT: BreakerReason.TIMEOUT,
}
_PASSES = frozenset({RunFailure.RATE, RunFailure.UPSTREAM})


def of_error(error: OutsideError) -> RunFailure:
    """What a model call that ended in an error means."""
    return _BY_CODE.get(error.inside or error.code, RunFailure.UPSTREAM)


def of_settling(codes: Iterable[str | None], *, is_of_one_key: bool) -> RunFailure:
    """What it means that no money moved. ``codes`` is how each request to settle ended.

    Away is a facilitator that was never asked, or of which nothing was heard; None = who asked it
    died, and nobody knows what it said.
    """
    is_away = all(
        code is not None and _says_nothing(code, is_of_one_key=is_of_one_key) for code in codes
    )
    return RunFailure.FACILITATOR_AWAY if is_away else RunFailure.SETTLEMENT_FAILED


def _says_nothing(code: str, *, is_of_one_key: bool) -> bool:
    if code in MAY_BE_THE_HOUR:
        return True
    return is_of_one_key and (code in _NOTHING_HEARD or _THEIR_ERROR.fullmatch(code) is not None)


def of_answer(answer: Answer) -> RunFailure | None:
    """Why an answer cannot be sold. One cut at the creator's own ``maxTokens`` can."""
    if answer.stop is Stop.REFUSED:
        return RunFailure.MODERATION
    return None if answer.text.strip() else RunFailure.EMPTY_OUTPUT


def breaker_reason(failure: RunFailure) -> BreakerReason | None:
    """What the breaker of key and model is told; None = it says nothing about them."""
    return _STOPS_SALES.get(failure)


def may_pass(error: OutsideError, *, calls_so_far: int) -> bool:
    """Whether the same call may be made again soon: not billed, and likely to go better."""
    if error.billed is Billed.UNKNOWN or isinstance(error, Refused):
        return False
    wish = error.retry_after
    is_soon = wish is None or wish <= LONGEST_WISH
    return is_soon and calls_so_far < TRIES_MAX and of_error(error) in _PASSES
