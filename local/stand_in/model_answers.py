"""What the stand-in's model says: plainly that it is none, and to one question always the same."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import simplejson

from local.stand_in.faults import Fault, FaultKind

BYTES_PER_TOKEN = 4
ECHOED_CHARACTERS = 60


class Stop(StrEnum):
    DONE = "done"
    CUT = "cut"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    model: str
    system: str
    user: str
    max_tokens: int
    schema: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        return self.system + self.user

    @property
    def label(self) -> str:
        """How the effect log and the counts name this prompt: SHA-256 of system and user text."""
        return label_of(self.system, self.user)


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    text: str
    stop: Stop
    input_tokens: int
    output_tokens: int


def label_of(system: str, user: str) -> str:
    """Hex SHA-256 of the two texts, one right after the other."""
    return hashlib.sha256((system + user).encode()).hexdigest()


def answer(prompt: Prompt, fault: Fault | None) -> ModelAnswer:
    """Answer, never above the cap. The word REFUSE in the user's text refuses unstructured work."""
    kind = fault and fault.kind
    if kind is FaultKind.REFUSAL or (prompt.schema is None and _has_word(prompt, "REFUSE")):
        return _said(prompt, "", stop=Stop.REFUSED)
    if kind is FaultKind.EMPTY:
        return _said(prompt, "")
    if kind is FaultKind.UNREADABLE:
        return _said(prompt, '{"accepted": "perhaps", ')
    if kind is FaultKind.MAX_TOKENS:
        return _cut(prompt, _words(prompt))
    return _said(prompt, _words(prompt))


def _words(prompt: Prompt) -> str:
    return _work(prompt) if prompt.schema is None else _verdict(prompt, prompt.schema)


def _work(prompt: Prompt) -> str:
    start = " ".join(prompt.user.split())[:ECHOED_CHARACTERS]
    return (
        "This is a stand-in, not a language model: no work was done.\n\n"
        f"Your request has {len(prompt.user)} characters and begins: {start}\n"
        f"Its fingerprint is {prompt.label[:16]}."
    )


def _verdict(prompt: Prompt, schema: Mapping[str, Any]) -> str:
    """Fit any flat schema; every boolean is whether the user's text is free of the word REJECT."""
    accepted = not _has_word(prompt, "REJECT")
    reason = (
        "The stand-in accepts every request without the word for declining."
        if accepted
        else "The stand-in was asked to decline this request."
    )
    return simplejson.dumps(_fitting(schema, accepted=accepted, reason=reason))


def _fitting(schema: Mapping[str, Any], *, accepted: bool, reason: str) -> object:
    if "enum" in schema:
        return schema["enum"][0 if accepted else -1]
    if schema.get("type") == "object":
        return {
            name: _fitting(part, accepted=accepted, reason=reason)
            for name, part in schema.get("properties", {}).items()
        }
    leaves: Mapping[str, object] = {
        "boolean": accepted,
        "string": reason,
        "integer": 0,
        "number": 0,
        "array": [],
    }
    return leaves.get(str(schema.get("type")))


def _has_word(prompt: Prompt, word: str) -> bool:
    return re.search(rf"\b{word}\b", prompt.user) is not None


def _tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def _said(prompt: Prompt, text: str, *, stop: Stop = Stop.DONE) -> ModelAnswer:
    if _tokens(text) > prompt.max_tokens:
        return _cut(prompt, text)
    return ModelAnswer(
        text=text,
        stop=stop,
        input_tokens=_tokens(prompt.text),
        output_tokens=max(1, _tokens(text)),
    )


def _cut(prompt: Prompt, text: str) -> ModelAnswer:
    """Break off at the cap, or in the middle if the whole would have fitted."""
    octets = text.encode()
    room = min(prompt.max_tokens * BYTES_PER_TOKEN, len(octets) // 2)
    return ModelAnswer(
        text=octets[:room].decode(errors="ignore"),
        stop=Stop.CUT,
        input_tokens=_tokens(prompt.text),
        output_tokens=prompt.max_tokens,
    )
