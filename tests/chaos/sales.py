"""The judge of instant resources: what runs, the chain of the world and buyers say of each other.

As ``tests.chaos.checker``, which has these rules among its own.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.chaos.evidence import Evidence, Row

Sentences = Iterator[str]
Key = tuple[str, str]

NOT_CHARGED = frozenset({"failed", "refused"})
AT_WORK = frozenset({"received", "running"})
WORK_ENDS_WITHIN = 60.0
"""Seconds after all was calm until a run has its result, or has come to nothing."""
FOUND_WITHIN = 60.0
"""Seconds until money that has moved is known to have."""
PROVED_WITHIN = 60.0
"""Seconds after a payment has lapsed until the chain's word is final and was asked for."""
MICROS = 1_000_000


def transfers(evidence: Evidence) -> dict[Key, list[Row]]:
    """What moved on the chain, by payer and nonce."""
    moved: dict[Key, list[Row]] = defaultdict(list)
    for effect in evidence.of_kind("tokens_moved"):
        moved[effect["payer"], effect["nonce"]].append(effect)
    return moved


def paid_runs(evidence: Evidence) -> list[Row]:
    return [run for run in evidence.tables["runs"] if not run["is_owner_test"]]


def _key(run: Row) -> Key:
    return run["payer"], run["nonce"]


# --- I11: each transfer is one run's


def each_transfer_is_one_sale(evidence: Evidence) -> Sentences:
    """What moved belongs to exactly one run, which knows it; nothing moved twice."""
    holders = _holders(evidence)
    for runs in holders.values():
        if len(runs) > 1:
            yield f"runs {[run['id'] for run in runs]} were bought with one payment"
    for key, moved in transfers(evidence).items():
        name = f"payment {key[1][:10]}"
        if len(moved) > 1:
            yield f"{name} was transferred {len(moved)} times"
        if not holders[key]:
            yield f"{name} was transferred and has bought nothing"
        for run in holders[key]:
            yield from _moved(run, moved[0])


def _holders(evidence: Evidence) -> dict[Key, list[Row]]:
    """Runs by the payment that is theirs; a refused one has given its payment back."""
    holders: dict[Key, list[Row]] = defaultdict(list)
    for run in paid_runs(evidence):
        if run["state"] != "refused":
            holders[_key(run)].append(run)
    return holders


def _moved(run: Row, moved: Row) -> Sentences:
    name = f"run {run['id']}"
    if run["state"] in NOT_CHARGED or run["state"] in AT_WORK:
        yield f"{name} is {run['state']} and its money has moved"
    if run["result"] is None:
        yield f"{name} was paid for and has no result"
    if moved["amountMicros"] != run["price_usd_micros"]:
        yield f"{name} costs {run['price_usd_micros']} and {moved['amountMicros']} moved"
    if moved["network"] not in {run["network"], (run["requirement"] or {}).get("network")}:
        yield f"{name} was paid for on {moved['network']}"
    if run["state"] == "succeeded" and moved["transaction"] != run["transaction"]:
        yield f"{name} names another transaction"


# --- I12: what is called sold was paid


def each_sale_is_paid(evidence: Evidence) -> Sentences:
    """Succeeded = money moved and there is a result; all else is not charged."""
    moved = transfers(evidence)
    for run in evidence.tables["runs"]:
        name, is_sold = f"run {run['id']}", run["state"] == "succeeded"
        if is_sold and run["result"] is None:
            yield f"{name} succeeded without a result"
        if run["is_owner_test"]:
            if run["paid_usd_micros"] or run["fee_usd_micros"]:
                yield f"{name} is an owner's test and was charged"
            continue
        if is_sold and not moved.get(_key(run)):
            yield f"{name} is called paid and nothing has moved"
        if run["paid_usd_micros"] != (run["price_usd_micros"] if is_sold else 0):
            yield f"{name} is {run['state']} and charged {run['paid_usd_micros']}"


# --- I13: nobody waits


def every_run_ends(evidence: Evidence) -> Sentences:
    """Once all is calm; only money that has not moved may keep a run open, until it cannot."""
    moved = transfers(evidence)
    for run in evidence.tables["runs"]:
        name, state = f"run {run['id']}", run["state"]
        since = evidence.read_at - max(evidence.calm_at, run["created_at"].timestamp())
        if state == "doubtful":
            yield f"{name} is doubtful, and there is a chain to ask"
        if state in AT_WORK and since > WORK_ENDS_WITHIN:
            yield f"{name} still {state}, {since:.0f} s after all was calm"
        if state == "settling":
            yield from _settling(evidence, run, moved.get(_key(run), []))


def _settling(evidence: Evidence, run: Row, moved: list[Row]) -> Sentences:
    name = f"run {run['id']}"
    if moved:
        since = evidence.read_at - max(evidence.calm_at, moved[0]["at"])
        if since > FOUND_WITHIN:
            yield f"{name} was paid {since:.0f} s ago and nobody noticed"
        return
    past = evidence.read_at - max(evidence.calm_at, run["valid_before"].timestamp())
    if past > PROVED_WITHIN:
        yield f"{name} still settling, {past:.0f} s after its payment lapsed"


# --- I14: what buyers were told


def buyers_are_told_the_truth(evidence: Evidence) -> Sentences:
    """Sold: the money had moved, and it was theirs. Come to nothing: it never moves.

    An old payment opens its result again for whoever bought it, and nothing for anybody else.
    """
    moved = {nonce: rows[0] for (_, nonce), rows in transfers(evidence).items()}
    for line in evidence.callers:
        if line["what"] == "bought":
            yield from _told(line, moved.get(line["nonce"]))
        if line["what"] == "tried_again":
            yield from _tried_again(line, moved.get(line["nonce"]))


def _told(line: Row, moved: Row | None) -> Sentences:
    name, verdict = f"payment {line['nonce'][:10]}", line["verdict"]
    if verdict == "taken":
        yield f"{name}: whoever made it was told that it is another's"
    elif verdict == "succeeded":
        if moved is None or moved["at"] > line["at"]:
            yield f"{name}: the result was given away before it was paid"
        elif moved["transaction"] != line["transaction"]:
            yield f"{name}: the receipt names another transaction"
        if not line["delivered"]:
            yield f"{name} was answered with something else than was bought"
    elif moved is not None and not line["lost"]:
        yield f"{name} was called {verdict} and its money has moved"


def _tried_again(line: Row, moved: Row | None) -> Sentences:
    name, is_given = f"payment {line['nonce'][:10]}", line["status"] == 200
    if line["how"] == "again":
        if line["status"] in {402, 409}:
            yield f"{name}: its buyer was sent away with {line['status']}"
        if is_given and (moved is None or line["transaction"] != moved["transaction"]):
            yield f"{name} was answered with another receipt the second time"
    elif line["status"] in {200, 202, 402}:
        yield f"{name}, shown {line['how']}, was answered with {line['status']}"


# --- I15: the books of the creator


def earnings_are_the_transfers(evidence: Evidence) -> Sentences:
    """What the product says it sold = the log = what moved, to the micro-dollar.

    Money that has moved and is still being looked for is not counted yet.
    """
    if evidence.earnings is None:
        return
    runs = paid_runs(evidence)
    open_keys = {_key(run) for run in runs if run["state"] == "settling"}
    moved = [
        row for key, rows in transfers(evidence).items() for row in rows if key not in open_keys
    ]
    counts: Counter[str] = Counter(run["state"] for run in runs)
    expected = {
        "calls": (counts["succeeded"], len(moved)),
        "failedCalls": (counts["failed"], counts["failed"]),
        "refusedCalls": (counts["refused"], counts["refused"]),
        "grossUsd": (
            sum(run["paid_usd_micros"] for run in runs),
            sum(row["amountMicros"] for row in moved),
        ),
    }
    for name, (logged, seen) in expected.items():
        told = _told_as_number(evidence.earnings, name)
        if not told == logged == seen:
            yield f"{name} is {told}, the log says {logged}, and the world {seen}"


def _told_as_number(earnings: Row, name: str) -> Any:
    told = Decimal(str(earnings[name]))
    return int(told * MICROS) if name.endswith("Usd") else int(told)
