"""Draw ``docs/job-lifecycle.md`` from the lifecycle: ``python -m models.diagram``."""

import sys
from collections.abc import Sequence

from models.lifecycle import ARROWS, AWAITING, FINAL, WORKING, Arrow, JobState

HEADER = """\
# The life of a job

Drawn from [`models/lifecycle.py`](../models/lifecycle.py) by `make docs`; a test keeps it fresh.
Every arrow is one guarded `UPDATE` made by `models/moves.py` and one row in `job_events`.
"""
START = "[*]"
KINDS = {
    "waits for money": AWAITING,
    "waits for a worker": WORKING,
    "is final": FINAL,
}


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([HEADER, diagram(), "", states(), "", moves(), ""])


def diagram() -> str:
    """The states and arrows for Mermaid."""
    ends = [f"    {state.value} --> {START}" for state in JobState if state in FINAL]
    arrows = [f"    {_name(arrow)} --> {arrow.target.value}: {arrow.because}" for arrow in ARROWS]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, *ends, "```"])


def states() -> str:
    """What each state waits for."""
    rows = [(f"`{state.value}`", _kind(state)) for state in JobState]
    return table(("State", "A job there"), rows)


def moves() -> str:
    """Every arrow as a row."""
    rows = [
        (_cell(arrow.source), f"`{arrow.event.value}`", arrow.because, f"`{arrow.target.value}`")
        for arrow in ARROWS
    ]
    return table(("From", "Event", "Because", "To"), rows)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _name(arrow: Arrow) -> str:
    return START if arrow.source is None else arrow.source.value


def _cell(source: JobState | None) -> str:
    return "–" if source is None else f"`{source.value}`"


def _kind(state: JobState) -> str:
    kind = next(words for words, members in KINDS.items() if state in members)
    ways_out = any(arrow.source is state for arrow in ARROWS)
    return f"{kind}, unless money comes late" if state in FINAL and ways_out else kind


def main() -> None:
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
