"""Language models as we need them: one question, one answer, the usage that is billed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How freely the model chooses its words. None = the provider's own default is left alone.

    Not sent to Anthropic: neither its API nor its SDK knows any of these any more.
    """

    temperature: Decimal | None = None
    top_p: Decimal | None = None
    frequency_penalty: Decimal | None = None
    presence_penalty: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """One call. With ``answer_schema`` (JSON Schema) the answer's text is JSON that should fit it:
    validate it.
    """

    model: str
    system: str
    user: str
    max_output_tokens: int
    """A hard cap of the provider, thinking included."""
    answer_schema: Mapping[str, Any] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seconds: float | None = None
    """What is left for this call, where that is less than calls of this kind usually get."""


class Stop(StrEnum):
    """Why the model stopped."""

    DONE = "done"
    CUT = "cut"
    """At ``max_output_tokens``."""
    REFUSED = "refused"
    """The provider's or the model's own safety policy."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, to be stored before anybody parses it."""

    text: str
    """May be empty."""
    stop: Stop
    input_tokens: int
    """All of them, cached ones included."""
    output_tokens: int
    """As billed, thinking included."""
    request_id: str | None = None
    refusal: str | None = None
    """Why it refused, as a category or a sentence of the provider, if given."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own usage record, as received."""


class LanguageModel(Protocol):
    """A provider. One call is one request on the wire: nothing is retried in here."""

    def ask(self, question: Question) -> Answer:
        """Raises Unavailable (with ``billed`` UNKNOWN after a read time-out) or Refused, and
        nothing else.
        """
