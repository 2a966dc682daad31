"""What a run came to: figures for a table and for a file, recovery times among them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tests.chaos.checker import WORKING, Violation, calls_by_step, reasons_of_extra_calls
from tests.chaos.evidence import Evidence
from tests.chaos.standstill import standstills
from tests.chaos.windows import Window, windows_of

Figures = dict[str, Any]
SHOWN_VIOLATIONS = 40


def figures(evidence: Evidence, violations: list[Violation]) -> Figures:
    jobs, payouts = evidence.tables["jobs"], evidence.tables["payouts"]
    calls = calls_by_step(evidence)
    return {
        "jobs": Counter(_end(job) for job in jobs),
        "payouts": Counter(payout["state"] for payout in payouts),
        "debts": Counter(f"{d['cause']} {d['state']}" for d in evidence.tables["debts"]),
        "runs": Counter(_ended(run) for run in evidence.tables["runs"]),
        "requests to settle beyond one a run": sum(
            max(0, run["settle_posts"] - 1) for run in evidence.tables["runs"]
        ),
        "payments as told": Counter(
            line["verdict"] for line in evidence.callers if line["what"] == "bought"
        ),
        "payments shown again": Counter(
            f"{line['how']} {line['status']}"
            for line in evidence.callers
            if line["what"] == "tried_again"
        ),
        "transfers": len(evidence.of_kind("tokens_moved")),
        "acts": Counter(window.kind for window in windows_of(evidence.acts)),
        "model calls": sum(len(of_step) for of_step in calls.values()),
        "model calls beyond one a step": reasons_of_extra_calls(evidence),
        "paid in the world": len(evidence.money("payment_out")),
        "recovery in seconds": recoveries(evidence),
        "goals of recovery in seconds": goals(evidence.lease_seconds),
        "longest pause of a step, in seconds": longest_pauses(evidence),
        "callers": availability(evidence),
        "the machine stood still, in seconds": [
            round(ended - began, 1) for began, ended in standstills(evidence.callers)
        ],
        "violations": Counter(violation.invariant for violation in violations),
    }


def _end(job: dict[str, Any]) -> str:
    return f"{job['state']} {job['expired_reason'] or job['error_code'] or ''}".strip()


def _ended(run: dict[str, Any]) -> str:
    return f"{run['state']} {run['error_code'] or ('test' * run['is_owner_test'])}".strip()


# --- recovery

TAKE_OVER = "take over after kill"
MONEY_TAKE_OVER = "payments taken in after kill"


def goals(lease_seconds: float) -> dict[str, float]:
    """How soon work is to go on, on a machine that is not overloaded.

    PostgreSQL and Valkey: after they accept again.
    """
    servers = {"flush": 3.0, "kill_valkey": 3.0, "stop_postgres": 5.0}
    return servers | dict.fromkeys((TAKE_OVER, MONEY_TAKE_OVER), lease_seconds + 2)


def recoveries(evidence: Evidence) -> dict[str, dict[str, float]]:
    """By kind of act: how long until work went on, at most and in the middle.

    Workers have to go on, of both kinds: what a door writes by itself needs neither of them, nor
    Valkey. While there is nothing to do nobody is late, and after the last call or the last payment
    of a run nothing can be said of an act.
    """
    windows, limits = windows_of(evidence.acts), goals(evidence.lease_seconds)
    payments = _payments(evidence)
    both_kinds = (_model_calls(evidence), payments + _refunds(evidence))
    taken: dict[str, list[float]] = {}
    for window in windows:
        is_money = window.kind == "kill" and window.victim.startswith("worker-money")
        name = MONEY_TAKE_OVER if is_money else window.kind
        if name not in limits or _is_disturbed(window, windows, goal=limits[name]):
            continue
        still = _stood_still((payments,) if is_money else both_kinds, window.mended)
        if still is not None:
            taken.setdefault(name, []).append(still)
    taken[TAKE_OVER] = _take_overs(evidence, windows)
    return {
        kind: {
            "n": len(values),
            "p50": round(sorted(values)[len(values) // 2], 2),
            "max": round(max(values), 2),
            "beyond the goal": sum(value > limits[kind] for value in values),
        }
        for kind, values in taken.items()
        if values
    }


Mark = tuple[float, float]
"""When something was done, and since when it could be."""


def _model_calls(evidence: Evidence) -> list[Mark]:
    begun = evidence.by("job_events", "job_id")
    found = []
    for attempt in evidence.tables["attempts"]:
        started = attempt["started_at"].timestamp()
        moves = (e["at"].timestamp() for e in begun[attempt["job_id"]] if e["target"] in WORKING)
        found.append((started, max((at for at in moves if at <= started), default=started)))
    return found


def _payments(evidence: Evidence) -> list[Mark]:
    return _marks(evidence, "receipts", done="received_at", could="settled_at")


def _refunds(evidence: Evidence) -> list[Mark]:
    return _marks(evidence, "payouts", done="settled_at", could="created_at")


def _marks(evidence: Evidence, table: str, *, done: str, could: str) -> list[Mark]:
    rows = [row for row in evidence.tables[table] if row[done]]
    return [(row[done].timestamp(), row[could].timestamp()) for row in rows]


def _stood_still(kinds: Iterable[list[Mark]], since: float) -> float | None:
    """How long nothing of one kind was done that could have been; None = it never was again."""
    waits = []
    for marks in kinds:
        later = [mark for mark in marks if mark[0] > since]
        if not later:
            return None
        done, could = min(later)
        waits.append(done - max(since, min(could, done)))
    return max(waits)


def _is_disturbed(window: Window, windows: list[Window], *, goal: float) -> bool:
    """Whether something else was done to the fleet before work had to go on."""
    return any(
        other.began <= window.mended + goal and window.began <= other.mended
        for other in windows
        if other.number != window.number
    )


def _take_overs(evidence: Evidence, windows: list[Window]) -> list[float]:
    """From a kill of a model worker to the next claim of each job that it held.

    Only where nothing else was done to the fleet meanwhile.
    """
    kills = sorted(w.began for w in windows if w.kind == "kill" and "models" in w.victim)
    starts = sorted(w.began for w in windows)
    found = []
    for attempts in evidence.by("attempts", "job_id").values():
        ordered = sorted(attempts, key=lambda row: row["id"])
        for lost, taken in pairwise(ordered):
            began, again = lost["started_at"].timestamp(), taken["started_at"].timestamp()
            place = bisect_left(kills, began)
            if lost["outcome"] is not None or place == len(kills) or kills[place] > again:
                continue
            meanwhile = bisect_left(starts, again) - bisect_left(starts, began)
            if meanwhile == 1:
                found.append(again - kills[place])
    return found


def longest_pauses(evidence: Evidence) -> dict[str, float]:
    """How long no job at all was taken a step on, whatever was broken, while callers were coming.

    Recovery, above, begins with an act; here each kind of step has to go on all the time.
    """
    rows = evidence.tables
    steps = {
        "payments taken in": [receipt["received_at"] for receipt in rows["receipts"]],
        "models asked": [attempt["started_at"] for attempt in rows["attempts"]],
        "refunds paid": [row["settled_at"] for row in rows["payouts"] if row["state"] == "paid"],
    }
    last_comer = max((job["created_at"] for job in rows["jobs"]), default=None)
    found = {}
    for step, times in steps.items():
        while_busy = sorted(time for time in times if last_comer and time <= last_comer)
        while_busy += [last_comer] if last_comer else []
        pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(while_busy)]
        found[step] = round(max(pauses, default=0.0), 1)
    return found


# --- what callers met


def availability(evidence: Evidence) -> Figures:
    """Answers that were no success, by route; the slowest of each."""
    answers = [line for line in evidence.callers if line["what"] == "answered"]
    by_kind = Counter(
        f"{line['route']} {line['code'] or line['trouble'] or line['status']}" for line in answers
    )
    slowest: dict[str, float] = {}
    for line in answers:
        slowest[line["route"]] = max(slowest.get(line["route"], 0.0), line["seconds"])
    gave_up = sum(line["what"] == "caller_gave_up" for line in evidence.callers)
    return {"no success": by_kind, "slowest": slowest, "gave up": gave_up}


def table(found: Figures, violations: list[Violation]) -> str:
    """For eyes."""
    lines = [f"{name:32} {_shown(value)}" for name, value in found.items()]
    lines += [f"VIOLATION {v.invariant}: {v.sentence}" for v in violations[:SHOWN_VIOLATIONS]]
    if len(violations) > SHOWN_VIOLATIONS:
        lines.append(f"… and {len(violations) - SHOWN_VIOLATIONS} more")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    return str(value)
