"""The prompts: text files that a person can edit, named in the journal by their digest."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CLOSING = re.compile(r"<(?=\s*/\s*request)", re.IGNORECASE)
"""However it is spelt: a model reads ``</Request >`` as the end, too."""


@dataclass(frozen=True)
class Prompt:
    """A system prompt. ``version`` is its name and the first 12 hex digits of its SHA-256."""

    text: str
    version: str


@cache
def load(name: str) -> Prompt:
    """Read ``<name>.txt`` beside this file."""
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8").strip()
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Prompt(text=text, version=f"{name}@{digest}")


def as_data(request: str) -> str:
    """Mark a stranger's text as data. It cannot close the mark: closing tags in it are defused."""
    return f"<request>\n{_CLOSING.sub('&lt;', request)}\n</request>"
