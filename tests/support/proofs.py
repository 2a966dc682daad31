# ruff: noqa: TID251 - asks who runs the tests
"""What a machine cannot prove is skipped with a sentence, and fails with it where all must be.

``HONESTWORK_NOTHING_SKIPPED=1``, as ``.ci/run`` sets it: a proof that is missing is no proof.
"""

import os
from typing import NoReturn

import pytest

NOTHING_SKIPPED = "HONESTWORK_NOTHING_SKIPPED"
NOT_PROVED = "not proved here: "


def not_proved(sentence: str) -> NoReturn:
    """From inside of a test or a fixture."""
    pytest.skip(NOT_PROVED + sentence)


def needs(is_there: bool, sentence: str) -> pytest.MarkDecorator:
    """For tests that prove nothing without it."""
    return pytest.mark.skipif(not is_there, reason=NOT_PROVED + sentence)


def all_must_be_proved() -> bool:
    return os.environ.get(NOTHING_SKIPPED) == "1"


def demanded(report: pytest.TestReport) -> pytest.TestReport:
    """The same report, or a failure where it says that something was not proved and must be."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and NOT_PROVED in said and all_must_be_proved():
        report.outcome, report.longrepr = "failed", said
    return report
