"""The judge is judged: a run without fault has no violation, and each planted one is found."""

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import PROBE, RULES, check, reasons_of_extra_calls
from tests.chaos.evidence import Evidence, Row, logs_of
from tests.chaos.log import Log
from tests.chaos.standstill import Witness, standstills

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = NOON.timestamp()
FEE, WORK, CHARGE = 10, 100, 30
PRICE = 12_000
REFUND = WORK - CHARGE


def receipt(number: int, kind: str, sats: int) -> Row:
    msats = {"amount_msats": sats * 1000, "fee_msats": 0}
    return {"id": number, "payment_hash": kind, **msats, "job_id": 1}


def entry(debit: str, credit: str, sats: int) -> Row:
    return {"debit": debit, "credit": credit, "amount_msats": sats * 1000, "job_id": 1}


def event(version: int, name: str, source: str | None, target: str) -> Row:
    return {
        "job_id": 1,
        "version": version,
        "event": name,
        "source": source,
        "target": target,
        "at": NOON,
    }


def tables() -> dict[str, list[Row]]:
    """One job that is complete, with its refund paid."""
    return {
        "jobs": [
            {
                "id": 1,
                "public_id": "key",
                "state": "complete",
                "version": 5,
                "due_at": None,
                "moved_at": NOON,
                "payable_until": None,
                "actual_amount_sats": CHARGE,
                "work_amount_sats": WORK,
            }
        ],
        "invoices": [
            {"job_id": 1, "kind": "eval", "payment_hash": "eval", "amount_sats": FEE},
            {"job_id": 1, "kind": "work", "payment_hash": "work", "amount_sats": WORK},
        ],
        "receipts": [receipt(1, "eval", FEE), receipt(2, "work", WORK)],
        "debts": [{"job_id": 1, "cause": "unused_work", "amount_sats": REFUND, "state": "paid"}],
        "payouts": [
            {
                "id": 1,
                "job_id": 1,
                "payment_hash": "refund",
                "amount_sats": REFUND,
                "state": "paid",
                "posts": 1,
                "sends": 1,
                "row_was_read": True,
                "last_code": "paid",
                "created_at": NOON,
                "settled_at": NOON,
                "fee_msats": 1000,
                "due_at": None,
            }
        ],
        "ledger_entries": [
            entry("wallet", "held", FEE),
            entry("held", "earned", FEE),
            entry("wallet", "held", WORK),
            entry("held", "earned", CHARGE),
            entry("held", "owed", REFUND),
            entry("owed", "in_flight", REFUND),
            entry("in_flight", "wallet", REFUND),
            entry("routing_fees", "wallet", 1),
        ],
        "attempts": [
            {"id": 1, "job_id": 1, "step": "evaluate", "outcome": "answered"},
            {"id": 2, "job_id": 1, "step": "execute", "outcome": "answered"},
        ],
        "job_events": [
            event(1, "created", None, "awaiting_eval_payment"),
            event(2, "eval_paid", "awaiting_eval_payment", "evaluating"),
            event(3, "accepted", "evaluating", "awaiting_work_payment"),
            event(4, "work_paid", "awaiting_work_payment", "executing"),
            event(5, "delivered", "executing", "complete"),
        ],
        "ticks": [],
        "refund_destinations": [],
        "runs": [run()],
        "run_calls": [],
        "violations": [violation("lease_looked_after", job_id=1)],
    }


def violation(rule: str, **whose: object) -> Row:
    """What production has called broken for a while."""
    nobody = {"job_id": None, "run_id": None, "account": None}
    return {"rule": rule, **nobody, **whose, "first_seen_at": NOON, "mended_at": NOON}


def run(**changes: object) -> Row:
    """One that was sold."""
    usual = {
        "id": 1,
        "is_owner_test": False,
        "state": "succeeded",
        "created_at": NOON,
        "valid_before": NOON + timedelta(seconds=95),
        "network": "eip155:84532",
        "payer": "0xpayer",
        "nonce": "0xnonce",
        "requirement": {"network": "eip155:84532"},
        "result": {"response": "a haiku"},
        "transaction": "0xmoved",
        "price_usd_micros": PRICE,
        "paid_usd_micros": PRICE,
        "fee_usd_micros": 0,
    }
    return usual | changes


def transfer(**changes: object) -> Row:
    usual = {
        "kind": "tokens_moved",
        "at": AT + 3,
        "network": "eip155:84532",
        "payer": "0xpayer",
        "nonce": "0xnonce",
        "amountMicros": PRICE,
        "transaction": "0xmoved",
    }
    return usual | changes


def bought(**changes: object) -> Row:
    usual = {
        "what": "bought",
        "at": AT + 4,
        "nonce": "0xnonce",
        "verdict": "succeeded",
        "lost": 0,
        "transaction": "0xmoved",
        "delivered": True,
    }
    return usual | changes


def tried_again(how: str, status: int, **changes: object) -> Row:
    usual = {
        "what": "tried_again",
        "at": AT + 5,
        "nonce": "0xnonce",
        "how": how,
        "status": status,
        "transaction": "0xmoved" if status == 200 else None,
    }
    return usual | changes


EARNED = {"calls": 1, "failedCalls": 0, "refusedCalls": 0, "grossUsd": "0.012"}


def money(kind: str, payment_hash: str, sats: int, at: float, **more: object) -> Row:
    moved = {"wallet": "service", "paymentHash": payment_hash, "amountMsat": sats * 1000}
    return {"kind": kind, "at": at, **moved, **more}


def call(number: int, label: str, began: float, ended: float, fault: str | None) -> list[Row]:
    told = {"call": number, "label": label}
    return [
        {"kind": "model_call_begin", "at": began, **told},
        {"kind": "model_call_end", "at": ended, "fault": fault, "outcome": "done", **told},
    ]


def effects() -> list[Row]:
    return [
        money("payment_in", "eval", FEE, AT),
        *call(1, "evaluate", AT + 1, AT + 2, None),
        money("payment_in", "work", WORK, AT + 3),
        *call(2, "execute", AT + 4, AT + 5, None),
        transfer(),
        money("payment_out", "refund", REFUND, AT + 6, feeMsat=1000),
    ]


def saw(state: str, at: float, *debts: list[object]) -> Row:
    return {"what": "saw", "job": "key", "state": state, "debts": list(debts), "at": at}


def answered(**changes: object) -> Row:
    usual = {
        "what": "answered",
        "door": 0,
        "route": "GET /api/jobs/{id}",
        "status": 503,
        "code": "not_ready",
        "trouble": "",
        "seconds": 0.1,
        "retry_after": "2",
        "at": AT,
    }
    return usual | changes


def callers() -> list[Row]:
    return [
        saw("awaiting_eval_payment", AT - 1),
        {"what": "pays", "job": "key", "at": AT},
        saw("awaiting_work_payment", AT + 2),
        {"what": "pays", "job": "key", "at": AT + 3},
        saw("complete", AT + 5, ["unused_work", REFUND, "owed"]),
        saw("complete", AT + 7, ["unused_work", REFUND, "paid"]),
        {"what": "refunded", "job": "key", "hash": "refund", "at": AT + 7},
        bought(),
        tried_again("again", 200),
        tried_again("without_proof", 409),
    ]


def gave_up(**changes: object) -> Row:
    usual = {
        "what": "caller_gave_up",
        "job": "key",
        "number": 7,
        "seen": "complete",
        "at": AT + 221,
    }
    return usual | changes


def act(kind: str, victim: str, began: float, mended: float) -> list[Row]:
    what = {"number": 1, "kind": kind, "victim": victim}
    return [{"what": "act", "at": began, **what}, {"what": "mended", "at": mended, **what}]


def evidence(**changes: Any) -> Evidence:
    whole: dict[str, Any] = {
        "tables": tables(),
        "effects": effects(),
        "acts": [],
        "callers": callers(),
        "read_at": AT + 300,
        "calm_at": AT + 100,
        "lease_seconds": 6,
        "earnings": EARNED,
    }
    return Evidence(**(whole | changes))


def test_a_run_in_which_all_went_well_has_no_violation() -> None:
    assert check(evidence()) == []


def owe(rows: dict[str, list[Row]], world: list[Row], told: list[Row], **payout: object) -> None:
    """Nothing was paid back, whatever became of the payout, and the caller gave up."""
    rows["debts"][0].update(state="paying" if payout else "owed")
    rows["payouts"][:] = [{**rows["payouts"][0], "settled_at": None, **payout}] if payout else []
    del world[-1]
    told.append(gave_up())


def pay_once_more(rows: dict[str, list[Row]], world: list[Row]) -> None:
    world.append(money("payment_out", "second", REFUND, AT, feeMsat=0))
    rows["payouts"].append({**rows["payouts"][0], "id": 2, "payment_hash": "second"})


Plant = Callable[[dict[str, list[Row]], list[Row], list[Row]], object]
PLANTED: dict[str, tuple[str, Plant]] = {
    "an entry is missing": ("I1", lambda t, e, c: t["ledger_entries"].pop()),
    "a charge is booked twice": (
        "I1",
        lambda t, e, c: t["ledger_entries"].append(entry("held", "earned", 1)),
    ),
    "a debt is called paid without a payout": (
        "I1",
        lambda t, e, c: t["payouts"][0].update(state="sending"),
    ),
    "money arrived without a receipt": (
        "I2",
        lambda t, e, c: e.append(money("payment_in", "other", 5, AT)),
    ),
    "a receipt for money that never came": ("I2", lambda t, e, c: e.pop(0)),
    "money left that nobody asked for": (
        "I2",
        lambda t, e, c: e.append(money("payment_out", "other", 5, AT, feeMsat=0)),
    ),
    "a payout is called paid and was not": ("I2", lambda t, e, c: e.pop()),
    "a payout is called failed and was paid": (
        "I2",
        lambda t, e, c: t["payouts"][0].update(state="failed"),
    ),
    "a routing fee is not in the books": ("I2", lambda t, e, c: e[-1].update(feeMsat=7)),
    "one invoice is paid twice": ("I3", lambda t, e, c: e.append(e[-1])),
    "one debt is paid with two invoices": (
        "I3",
        lambda t, e, c: pay_once_more(t, e),
    ),
    "a job is still being worked on": (
        "I4",
        lambda t, e, c: t["jobs"][0].update(state="executing", due_at=NOON),
    ),
    "a working job is never due": ("I4", lambda t, e, c: t["jobs"][0].update(state="executing")),
    "a payment was not noticed": (
        "I4",
        lambda t, e, c: t["jobs"][0].update(state="awaiting_work_payment"),
    ),
    "a payout hangs for want of a row": (
        "I4",
        lambda t, e, c: owe(t, e, c, state="sending", last_code="http_404", due_at=NOON),
    ),
    "a payout was paid and nobody noticed": (
        "I4",
        lambda t, e, c: t["payouts"][0].update(state="sending", due_at=NOON),
    ),
    "money that goes by itself is forgotten": (
        "I4",
        lambda t, e, c: t["refund_destinations"].append({"job_id": 1, "due_at": NOON}),
    ),
    "two answers count": ("I5", lambda t, e, c: t["attempts"].append(t["attempts"][1])),
    "a result without an answer": ("I5", lambda t, e, c: t["attempts"].pop()),
    "charge and refund are not the payment": (
        "I5",
        lambda t, e, c: t["jobs"][0].update(actual_amount_sats=CHARGE + 1),
    ),
    "a failure that owes nothing": ("I5", lambda t, e, c: t["jobs"][0].update(state="failed")),
    "a call is repeated without a reason": (
        "I6",
        lambda t, e, c: e.extend(call(3, "execute", AT + 9, AT + 10, None)),
    ),
    "two calls of one step at once": (
        "I6",
        lambda t, e, c: e.extend(call(3, "execute", AT + 4.5, AT + 6, None)),
    ),
    "an event is missing": ("I7", lambda t, e, c: t["job_events"].pop(2)),
    "the history ends elsewhere": ("I7", lambda t, e, c: t["jobs"][0].update(state="rejected")),
    "a caller reads backwards": ("I8", lambda t, e, c: c.append(saw("evaluating", AT + 8))),
    "a paid debt is owed again": (
        "I8",
        lambda t, e, c: c.append(saw("complete", AT + 8, ["unused_work", REFUND, "owed"])),
    ),
    "work begins before it is paid": ("I8", lambda t, e, c: c.pop(3)),
    "a refund is told before it is paid": ("I8", lambda t, e, c: e[-1].update(at=AT + 8)),
    "a read fails for no reason": ("I9", lambda t, e, c: c.append(answered())),
    "a job is refused without a word": (
        "I9",
        lambda t, e, c: c.append(answered(route="POST /api/jobs", status=500)),
    ),
    "an answer is not as documented": (
        "I16",
        lambda t, e, c: c.append({"what": "breach", "route": "GET /", "said": "no", "at": AT}),
    ),
    "a payment is transferred twice": ("I11", lambda t, e, c: e.append(transfer())),
    "a transfer that has bought nothing": (
        "I11",
        lambda t, e, c: e.append(transfer(nonce="0xother")),
    ),
    "one payment buys two runs": ("I11", lambda t, e, c: t["runs"].append(run(id=2))),
    "a failed run was charged": ("I11", lambda t, e, c: t["runs"][0].update(state="failed")),
    "a refused run was charged": ("I11", lambda t, e, c: t["runs"][0].update(state="refused")),
    "more has moved than it costs": ("I11", lambda t, e, c: e[-2].update(amountMicros=PRICE + 1)),
    "a receipt for another transaction": (
        "I11",
        lambda t, e, c: t["runs"][0].update(transaction="0xother"),
    ),
    "sold, and nothing has moved": ("I12", lambda t, e, c: e.pop(-2)),
    "sold without a result": ("I12", lambda t, e, c: t["runs"][0].update(result=None)),
    "charged less than it costs": (
        "I12",
        lambda t, e, c: t["runs"][0].update(paid_usd_micros=PRICE - 1),
    ),
    "an owner's test is charged": (
        "I12",
        lambda t, e, c: t["runs"].append(run(id=2, is_owner_test=True, payer=None, nonce=None)),
    ),
    "a run is still being made": (
        "I13",
        lambda t, e, c: t["runs"].append(run(id=2, nonce="0xother", state="running")),
    ),
    "a settlement is never decided": (
        "I13",
        lambda t, e, c: t["runs"].append(run(id=2, nonce="0xother", state="settling")),
    ),
    "money has come and nobody noticed": (
        "I13",
        lambda t, e, c: t["runs"][0].update(state="settling"),
    ),
    "a run is doubtful": ("I13", lambda t, e, c: t["runs"][0].update(state="doubtful")),
    "a result is told before it is paid": ("I14", lambda t, e, c: e[-2].update(at=AT + 4.5)),
    "a buyer is told of another transaction": (
        "I14",
        lambda t, e, c: c.append(bought(transaction="0xother")),
    ),
    "a buyer gets another's result": ("I14", lambda t, e, c: c.append(bought(delivered=False))),
    "a buyer is told that nothing was charged, wrongly": (
        "I14",
        lambda t, e, c: c.append(bought(verdict="failed")),
    ),
    "a buyer is shut out of what was paid": (
        "I14",
        lambda t, e, c: c.append(bought(verdict="taken")),
    ),
    "an old payment opens its result for anybody": (
        "I14",
        lambda t, e, c: c.append(tried_again("without_proof", 200)),
    ),
    "an old payment buys something else": (
        "I14",
        lambda t, e, c: c.append(tried_again("elsewhere", 202)),
    ),
    "an old payment is asked for once more": (
        "I14",
        lambda t, e, c: c.append(tried_again("again", 402)),
    ),
    "a sale is missing in the earnings": (
        "I15",
        lambda t, e, c: t["runs"][0].update(state="settling"),
    ),
    "the earnings are of another amount": (
        "I15",
        lambda t, e, c: t["runs"][0].update(paid_usd_micros=PRICE + 1),
    ),
    "no claim is ever taken": ("I17", owe),
    "a payout is never posted": (
        "I17",
        lambda t, e, c: owe(t, e, c, state="sending", posts=0, due_at=NOON),
    ),
    "a payout is never sent, and its caller was told to be patient": (
        "I17",
        lambda t, e, c: t["payouts"].append(payout_to("sending", posts=0)),
    ),
    "the time for a payment is never over": (
        "I17",
        lambda t, e, c: t["jobs"][0].update(state="awaiting_work_payment", payable_until=NOON),
    ),
    "a payout was paid and its caller never told": ("I17", lambda t, e, c: c.append(gave_up())),
    "somebody who was never answered gives up": (
        "I17",
        lambda t, e, c: c.append(gave_up(job="", seen="")),
    ),
    "no job is complete": ("I18", lambda t, e, c: t["jobs"][0].update(state="failed")),
    "nothing is paid back": ("I18", lambda t, e, c: e.pop()),
    "nothing is sold": ("I18", lambda t, e, c: e.pop(-2)),
    "a job alarms for nothing": (
        "I19",
        lambda t, e, c: t["violations"].append(violation("return_begun", job_id=1)),
    ),
    "an account alarms for nothing": (
        "I19",
        lambda t, e, c: t["violations"].append(violation("account_fits_tables", account="owner")),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found(name: str) -> None:
    invariant, plant = PLANTED[name]
    rows, world, told = tables(), effects(), callers()
    plant(rows, world, told)

    found = check(evidence(tables=rows, effects=world, callers=told))

    assert invariant in {_number(violation.invariant) for violation in found}


def _number(invariant: str) -> str:
    return invariant.partition(" ")[0]


def test_every_invariant_has_a_planted_violation() -> None:
    found_otherwise = {"I10"}
    numbers = {_number(name) for name in RULES} - found_otherwise
    assert numbers == {invariant for invariant, _ in PLANTED.values()}


LATER = NOON + timedelta(seconds=170)
EXCUSES: dict[str, Callable[[dict[str, list[Row]]], object]] = {
    "its payout is in doubt": lambda t: t["payouts"].append(payout_to("sending")),
    "its payout has just failed": lambda t: t["payouts"].append(
        payout_to("failed", settled_at=LATER)
    ),
    "its payout has just begun": lambda t: t["payouts"].append(
        payout_to("sending", posts=0, created_at=LATER)
    ),
    "its receiver has failed and is asked again later": lambda t: t["refund_destinations"].append(
        {"job_id": 1, "state": "trying", "last_error": "unavailable", "due_at": LATER}
    ),
    "its invoice has just run out": lambda t: t["jobs"][0].update(payable_until=LATER),
}


def payout_to(state: str, **changes: object) -> Row:
    usual = {"payment_hash": "other", "state": state, "due_at": None}
    return tables()["payouts"][0] | usual | changes


@pytest.mark.parametrize("name", EXCUSES)
def test_whoever_gives_up_may_have_a_reason(name: str) -> None:
    rows, told = tables(), [*callers(), gave_up()]
    blamed = _gave_up_without_a_reason(rows, told)
    EXCUSES[name](rows)

    assert blamed
    assert not _gave_up_without_a_reason(rows, told)


def test_whoever_has_paid_late_may_give_up_soon_after() -> None:
    told = [*callers(), {"what": "pays", "job": "key", "at": AT + 170}, gave_up()]

    assert not _gave_up_without_a_reason(tables(), told)


def test_whoever_gives_up_soon_after_all_was_calm_has_a_reason() -> None:
    assert not _gave_up_without_a_reason(tables(), [*callers(), gave_up(at=AT + 150)])


def _gave_up_without_a_reason(rows: dict[str, list[Row]], told: list[Row]) -> bool:
    found = check(evidence(tables=rows, callers=told, read_at=AT + 225))
    return "I17" in {_number(violation.invariant) for violation in found}


def test_a_run_without_a_shop_need_not_sell_anything() -> None:
    moved = [effect for effect in effects() if effect["kind"] != "tokens_moved"]
    told = [line for line in callers() if "nonce" not in line]
    rows = tables() | {"runs": []}

    assert check(evidence(tables=rows, effects=moved, callers=told, earnings=None)) == []


@pytest.mark.parametrize(("arrived", "is_found"), [(AT + 240, True), (AT + 220, False)])
def test_money_that_a_feed_has_hidden_may_be_found_a_minute_later(
    arrived: float, is_found: bool
) -> None:
    hidden = effects()[0] | {"kind": "payment_in", "at": arrived, "paymentHash": "hidden"}

    found = check(evidence(effects=[*effects(), hidden]))

    assert ([violation.invariant[:2] for violation in found] == []) is is_found


def test_money_that_is_still_looked_for_is_no_violation() -> None:
    """Only a little after all was calm, and not in the earnings yet."""
    rows = tables() | {"runs": [run(state="settling", transaction=None, paid_usd_micros=0)]}
    nothing = {"calls": 0, "failedCalls": 0, "refusedCalls": 0, "grossUsd": 0}

    found = check(evidence(tables=rows, earnings=nothing, read_at=AT + 110, calm_at=AT + 100))

    assert found == []


def test_a_payment_whose_request_was_lost_may_still_buy_something() -> None:
    told = [*callers()[:-3], bought(verdict="refused", lost=1)]

    assert check(evidence(callers=told)) == []
    told[-1] = bought(verdict="refused", lost=0)
    assert [_number(violation.invariant) for violation in check(evidence(callers=told))] == ["I14"]


def test_a_call_may_be_repeated_after_a_kill_and_after_bad_weather() -> None:
    again = [*effects(), *call(3, "execute", AT + 9, AT + 10, None)]
    spoilt = [
        effect | {"fault": "reset"} if effect.get("call") == 2 else effect for effect in again
    ]

    assert check(evidence(effects=again, acts=act("kill", "worker-models", AT + 4, AT + 4))) == []
    assert check(evidence(effects=spoilt)) == []


def test_a_complaint_of_the_auditor_is_a_violation() -> None:
    found = check(evidence(complaints=["Balance failed for 'Assets:Lightning:Wallets'"]))

    assert [violation.invariant.partition(" ")[0] for violation in found] == ["I10"]


@pytest.mark.parametrize("victim", ["web", "beat", "valkey", "worker-money>postgres"])
def test_a_call_may_not_be_repeated_for_what_is_done_to_others(victim: str) -> None:
    again = [*effects(), *call(3, "execute", AT + 9, AT + 10, None)]

    found = check(evidence(effects=again, acts=act("kill", victim, AT + 4, AT + 4)))

    assert [violation.invariant[:2] for violation in found] == ["I6"]


@pytest.mark.parametrize(("seconds", "is_allowed"), [(2.9, False), (3.1, True)])
@pytest.mark.parametrize("kind", ["link_delay", "link_trickle"])
def test_a_slow_wire_is_a_reason_only_if_it_outlasts_the_lease(
    kind: str, seconds: float, is_allowed: bool
) -> None:
    again = [*effects(), *call(3, "execute", AT + 9, AT + 10, None)]
    slow = act(kind, "worker-models>postgres", AT + 4, AT + 4 + seconds)

    found = check(evidence(effects=again, acts=slow))

    assert (found == []) is is_allowed


def test_calls_beyond_one_a_step_are_counted_by_their_reason() -> None:
    world = [*effects(), *call(3, "execute", AT + 9, AT + 10, "reset")]
    world += call(4, "execute", AT + 11, AT + 12, None)
    world += call(5, "other", AT + 60, AT + 61, None) + call(6, "other", AT + 62, AT + 63, None)
    world += call(7, PROBE, AT + 60, AT + 61, None) + call(8, PROBE, AT + 62, AT + 63, None)

    found = reasons_of_extra_calls(
        evidence(effects=world, acts=act("kill", "worker-models", AT + 4, AT + 4))
    )

    assert found == {
        "to see whether the model works again": 1,
        "spoilt by the weather": 1,
        "within a window of the nemesis": 1,
        "without a reason": 1,
    }


def test_a_slow_model_is_no_reason_to_call_it_again() -> None:
    again = [*effects(), *call(3, "execute", AT + 9, AT + 10, None)]
    slow = [effect | {"fault": "delay"} if effect.get("call") == 2 else effect for effect in again]

    assert [violation.invariant[:2] for violation in check(evidence(effects=slow))] == ["I6"]


def stood_still(began: float, ended: float) -> Row:
    return {"what": "stood_still", "at": ended, "began": began, "ended": ended}


@pytest.mark.parametrize(
    ("told", "is_allowed"),
    [
        (answered(at=AT + 0.5), True),
        (answered(at=AT + 2 + 4), True),
        (answered(at=AT + 2 + 6), False),
        (answered(at=AT - 1), False),
    ],
)
def test_a_door_may_fail_while_the_machine_stands_still_and_just_after(
    told: Row, is_allowed: bool
) -> None:
    found = check(evidence(callers=[*callers(), stood_still(AT, AT + 2), told]))

    assert (found == []) is is_allowed


def test_a_call_may_be_made_again_by_who_took_a_machine_that_stood_still_for_dead() -> None:
    again = [*effects(), *call(3, "execute", AT + 9, AT + 10, None)]
    told = [*callers(), stood_still(AT + 2, AT + 9)]

    found = check(evidence(effects=again, callers=told))

    assert "I6" not in {violation.invariant[:2] for violation in found}


def test_the_witness_notes_when_the_machine_stood_still_for_more_than_a_moment(
    tmp_path: Path,
) -> None:
    times, has_seen_all = iter([0.0, 0.1, 4.0, 4.5]), threading.Event()

    def clock() -> float:
        now = next(times, None)
        if now is None:
            has_seen_all.set()
        return 4.5 if now is None else now

    with closing(Log(tmp_path / "log")) as log, Witness(log, clock):
        assert has_seen_all.wait(60)

    assert standstills(logs_of(tmp_path / "log")) == [(0.1, 4.0)]


@pytest.mark.parametrize(
    ("kind", "victim", "is_allowed"),
    [
        ("stop_postgres", "postgres", True),
        ("kill", "web", True),
        ("link_refuse", "web>postgres", True),
        ("kill", "web-2", False),
        ("kill_valkey", "valkey", False),
        ("link_refuse", "web>lnbits", False),
        ("kill", "worker-money", False),
    ],
)
def test_a_door_may_fail_only_for_what_is_done_to_it_or_to_postgresql(
    kind: str, victim: str, is_allowed: bool
) -> None:
    told = [*callers(), answered()]

    found = check(evidence(callers=told, acts=act(kind, victim, AT - 1, AT)))

    assert (found == []) is is_allowed


CLAIM = "POST /api/jobs/{id}/refund"


@pytest.mark.parametrize(
    ("kind", "victim", "told", "is_allowed"),
    [
        ("freeze", "web-2", answered(route=CLAIM, seconds=3.5), True),
        ("link_black_hole", "worker-money>postgres", answered(route=CLAIM, seconds=3.5), True),
        ("freeze", "web-2", answered(route=CLAIM, seconds=0.1), False),
        ("freeze", "web-2", answered(route=CLAIM, seconds=3.5, retry_after=None), False),
        ("freeze", "web-2", answered(route=CLAIM, seconds=3.5, code="internal"), False),
        ("freeze", "web-2", answered(seconds=3.5), False),
        ("link_black_hole", "all>lnbits", answered(route=CLAIM, seconds=3.5), False),
    ],
)
def test_whoever_wants_a_row_that_a_frozen_process_holds_may_be_told_to_come_again(
    kind: str, victim: str, told: Row, is_allowed: bool
) -> None:
    found = check(evidence(callers=[*callers(), told], acts=act(kind, victim, AT - 1, AT)))

    assert (found == []) is is_allowed


def many_acts(count: int, kinds: int) -> list[Row]:
    acts = (act(f"kind {number % kinds}", "valkey", AT, AT) for number in range(count))
    return [line | {"number": number} for number, lines in enumerate(acts) for line in lines]


def met_nothing(number: int) -> Row:
    return {"what": "met_nothing", "at": AT, "number": number, "kind": "kill", "victim": "valkey"}


@pytest.mark.parametrize(
    ("acts", "planned", "is_enough"),
    [
        (many_acts(3, 3), 3, True),
        (many_acts(2, 2), 3, False),
        ([*many_acts(3, 3), met_nothing(2)], 3, False),
        ([*many_acts(3, 3), met_nothing(2), *many_acts(3, 3)[-2:]], 3, True),
        (many_acts(40, 8), 40, True),
        (many_acts(40, 7), 40, False),
        (many_acts(39, 7), 39, True),
    ],
)
def test_a_run_shows_something_only_if_what_was_planned_has_met_something(
    acts: list[Row], planned: int, is_enough: bool
) -> None:
    found = check(evidence(acts=acts, planned=planned, kinds=12))

    assert [_number(violation.invariant) for violation in found] == ["I18"] * (not is_enough)


def test_whoever_asked_for_few_kinds_of_acts_gets_few() -> None:
    assert check(evidence(acts=many_acts(40, 7), planned=40, kinds=7)) == []
