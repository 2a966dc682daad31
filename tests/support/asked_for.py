"""Suites that are collected only when an environment variable asks for them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Suite:
    is_asked_for: bool
    reason: str
    """Why it is left out, if it is."""

    @property
    def ignored(self) -> list[str]:
        """For ``collect_ignore_glob``."""
        return [] if self.is_asked_for else ["test_*.py"]

    @property
    def said(self) -> list[str]:
        """Nothing for a suite that runs."""
        return [] if self.is_asked_for else [self.reason]


def suite(name: str, environ: Mapping[str, str], *, set_by: str) -> Suite:
    """The suite of this folder of ``tests``; ``set_by`` is what sets its variable."""
    variable = f"HONESTWORK_{name.upper()}"
    return Suite(
        is_asked_for=environ.get(variable) == "1",
        reason=f"tests/{name}: left out, {variable}=1 is not set ({set_by} sets it)",
    )
