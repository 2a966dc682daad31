"""Duties that come round: each is a row that is claimed, so no, one or two beats are all safe."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import ColumnElement, case, func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from config.queues import EVERY, TaskName
from gateways.errors import OutsideError, Refused
from models.database import UNLOADED, ago
from models.tick import Tick
from services.instant import catalogue, keys, probes, retention
from services.jobs import expiry
from services.money import btc_price, payments, reconcile, wallets
from services.operate import dispatch, invariants
from services.recording import insist
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

TICK_LEASE = timedelta(seconds=7)
"""A duty run twice does no harm, so a killed worker may be replaced soon. The heartbeat renews it:
a first comparison with a wallet full of history takes minutes, and is not begun again beside."""
SLOWED_DOWN = timedelta(seconds=5)
"""How long a duty rests after LNbits or a feed turned it away, or what is between this and its
usual rest; dispatch rings for it then.
"""
TOO_MANY = "http_429"
RESTS_AT_MOST = timedelta(hours=1)
"""However long whoever turned it away wishes to be left in peace."""
CLOCK_ROOM = timedelta(seconds=2)
HURRY_AT_MOST_EVERY = timedelta(milliseconds=500)
BREATH = 0.25
"""Of its usual rest, which a duty has at least."""
EARLY = 0.8
"""Due after this share of the interval, so that a beat that is a little early need not wait."""


@dataclass(frozen=True)
class _Held:
    claim: int
    since_last_run: timedelta | None
    began_at: datetime
    """By PostgreSQL's clock."""


def _read_back(tools: Toolbox, since_last_run: timedelta | None) -> None:
    """Once a minute to two minutes before its last good run; after a pause a whole day at least.

    A poll that was cut off between two pages leaves payments behind those that it knows.
    """
    if since_last_run is None:
        payments.read_back(tools, payments.START_UP_OVERLAP)
        return
    overlap = since_last_run + payments.OVERLAP
    was_away = since_last_run > payments.OVERLAP
    payments.read_back(tools, max(overlap, payments.START_UP_OVERLAP) if was_away else overlap)


Duty = Callable[[Toolbox, timedelta | None], object]
"""Gets how long ago its last finished run was; None = never."""

DUTIES: dict[TaskName, Duty] = {
    TaskName.DISPATCH: lambda tools, _: dispatch.ring_for_due_rows(tools),
    TaskName.POLL_PAYMENTS: lambda tools, _: payments.poll(tools),
    TaskName.REREAD_PAYMENTS: _read_back,
    TaskName.SWEEP_INVOICES: lambda tools, _: expiry.sweep(tools),
    TaskName.REFRESH_PRICE: lambda tools, _: btc_price.refresh(tools),
    TaskName.CHECK_INCOME: lambda tools, _: wallets.check_income(tools),
    TaskName.CHECK_PAYOUTS: lambda tools, _: wallets.check_payouts(tools),
    TaskName.RECONCILE: lambda tools, _: reconcile.run(tools),
    TaskName.CHECK_BOOKS: lambda tools, _: invariants.sweep(tools),
    TaskName.SYNC_CATALOGUE: lambda tools, _: catalogue.sync_when_due(tools),
    TaskName.VERIFY_KEYS: lambda tools, _: keys.verify_due(tools),
    TaskName.PROBE_BREAKERS: lambda tools, _: probes.probe_due(tools),
    TaskName.PRUNE_RUNS: lambda tools, _: retention.prune(tools),
}


def run(tools: Toolbox, name: TaskName) -> bool:
    """Run a duty if its time has come and nobody else is at it. False = not now.

    Trouble outside slows the duty down and is on record; anything else is raised, and the duty is
    due again at its next turn: whoever was at it knows that nobody is.
    """
    held = _claim(tools, name)
    if held is None:
        return False
    try:
        with tools.leases.hold(Tick, name.value, held.claim, lease=TICK_LEASE):
            DUTIES[name](tools, held.since_last_run)
    except OutsideError as error:
        # what was refused will be refused again: that is for a person
        log = logger.error if isinstance(error, Refused) else logger.warning
        log("duty turned away", duty=name.value, code=error.code)
        rest = _slowed_down(error, EVERY[name] * EARLY, held.since_last_run)
        turned_away = partial(_rest, tools, name, held, rest, error.code)
        insist(turned_away, for_long=TICK_LEASE)
        return True
    except Exception:
        with suppress(SQLAlchemyError):  # then its lease ends it
            insist(lambda: _let_go(tools, name, held), for_long=TICK_LEASE)
        raise
    insist(lambda: _finish(tools, name, held, EVERY[name] * EARLY), for_long=TICK_LEASE)
    return True


def _slowed_down(
    error: OutsideError, usual: timedelta, since_last_run: timedelta | None
) -> timedelta:
    """Whoever wants peace gets it. One bad answer is no reason to keep money waiting for long.

    An eighth of the time since it last went well: the row's age is the memory.
    """
    wants_peace = TOO_MANY in {error.code, error.inside}
    if isinstance(error, Refused) or wants_peace or error.retry_after or since_last_run is None:
        return min(max(error.retry_after or usual, usual, SLOWED_DOWN), RESTS_AT_MOST)
    least, most = sorted((usual, SLOWED_DOWN))
    return min(max(since_last_run / 8, least), most)


def hurry(tools: Toolbox, name: TaskName) -> bool:
    """Pull the next run of a duty forward, twice a second at most. False = due, or just run.

    One that has been due for longer is rung for once more: beat's next ring may be seconds away.
    """
    with tools.database.transaction("ticks.hurry") as session:
        hurried = session.scalar(
            update(Tick)
            .where(
                Tick.name == name.value,
                # by the clock of this moment: of two at once, the one that began first would see
                # a duty that the other has hurried already as still to come
                or_(
                    Tick.due_at > func.clock_timestamp(),
                    Tick.due_at < func.clock_timestamp() - HURRY_AT_MOST_EVERY,
                ),
                Tick.due_at <= Tick.ran_at + EVERY[name],  # resting, not at work
                Tick.ran_at < func.now() - HURRY_AT_MOST_EVERY,
                Tick.last_error.is_(None),
            )
            .values(due_at=func.now())
            .returning(Tick.name)
            .execution_options(**UNLOADED)
        )
    if hurried is not None:
        tools.doorbell.ring(name)
    return hurried is not None


def _claim(tools: Toolbox, name: TaskName) -> _Held | None:
    with tools.database.transaction("ticks.claim") as session:
        session.execute(
            insert(Tick)
            .values(name=name.value, due_at=func.now())
            .on_conflict_do_nothing(index_elements=[Tick.name])
        )
        row = session.execute(
            update(Tick)
            .where(Tick.name == name.value, or_(Tick.due_at <= func.now(), _is_due_too_late(name)))
            .values(claim=Tick.claim + 1, due_at=func.now() + TICK_LEASE)
            .returning(Tick.claim, ago(Tick.ran_at), func.now())
            .execution_options(**UNLOADED)
        ).one_or_none()
    if row is None:
        return None
    claim, age, now = row
    # below zero nobody knows how long ago it was
    return _Held(claim, None if age is None or age < timedelta(0) else age, now)


def _is_due_too_late(name: TaskName) -> ColumnElement[bool]:
    """Nothing puts a duty off so far: the clock was set back since, and it would rest till then."""
    longest = max(EVERY[name], TICK_LEASE)
    most = case((Tick.last_error.is_(None), longest), else_=max(longest, RESTS_AT_MOST))
    # by the clock of this moment, as in ``hurry``: who waited for the row sees a newer lease
    return Tick.due_at > func.clock_timestamp() + most + CLOCK_ROOM


def _finish(tools: Toolbox, name: TaskName, held: _Held, rest: timedelta) -> None:
    """Due again ``rest`` after it began: what takes long because much is to do is soon done again.

    But it takes breath: what always takes long would else be all that this service does.
    """
    with tools.database.transaction("ticks.finish") as session:
        session.execute(
            update(Tick)
            .where(Tick.name == name.value, Tick.claim == held.claim)
            .values(
                claim=Tick.claim + 1,  # a heartbeat that still counts it as held passes it by
                due_at=func.greatest(held.began_at + rest, func.now() + rest * BREATH),
                ran_at=func.now(),
                last_error=None,
            )
            .execution_options(**UNLOADED)
        )


def _let_go(tools: Toolbox, name: TaskName, held: _Held) -> None:
    """Nothing is said of how it went. Safe to repeat."""
    with tools.database.transaction("ticks.let_go") as session:
        session.execute(
            update(Tick)
            .where(Tick.name == name.value, Tick.claim == held.claim)
            .values(claim=Tick.claim + 1, due_at=func.now() + EVERY[name] * EARLY)
            .execution_options(**UNLOADED)
        )


def _rest(tools: Toolbox, name: TaskName, held: _Held, rest: timedelta, code: str) -> None:
    with tools.database.transaction("ticks.rest") as session:
        session.execute(
            update(Tick)
            .where(Tick.name == name.value, Tick.claim == held.claim)
            .values(claim=Tick.claim + 1, due_at=func.now() + rest, last_error=code)
            .execution_options(**UNLOADED)
        )
