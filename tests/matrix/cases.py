"""One life, one point, one fault: played, taken over, and looked at."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, pairwise
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from config.queues import TaskName
from config.settings import Settings
from local.stand_in.testing import StandInClient
from models.database import Database
from services import toolbox
from services.errors import RuleBroken
from services.proof import Proof
from services.toolbox import Role, Toolbox
from tests.matrix import evidence
from tests.matrix.evidence import Ending, Situation
from tests.matrix.failpoints import Failpoints, Point, WatchedDatabase, watch
from tests.matrix.lives import TOO_LATE, Life
from tests.matrix.stage import Memory, Stage
from tests.support.doorbell import ANSWERS, RecordingDoorbell

PATIENCE_SECONDS = 30.0
HELD_SECONDS = 300.0
"""How long a frozen process waits to be woken; if nobody does so until then, the case is none."""
FROZEN_IN_TRANSACTION = "100ms"
"""PostgreSQL ends the transaction of a process that is frozen for so long (in production 15 s)."""
ADDING = frozenset({"create", "demo", "try out"})
"""What a caller may have done twice: a zombie that finishes one only adds a job nobody pays."""
UNFENCED = frozenset({TaskName.SWEEP_INVOICES.value, TaskName.CHECK_BOOKS.value})
"""Duties that a zombie may finish late: what it does then is guarded, and right all the same."""
SETTLED = "runs.state: settling -> succeeded"
"""Money that has moved has moved, whoever holds the run when that is told."""
WITHDRAWN = "payouts.last_code: None -> never_sent"
"""Whoever compares takes in what was forgotten, and what was claimed in its stead is never sent."""
ADOPTING = frozenset({TaskName.RECONCILE.value, TaskName.SEND_PAYOUT.value})
ADOPTED = ("payouts", "debts", "ledger_entries", "wallet_moves", "refund_destinations")
"""Tables in which that is written."""
CLAIMING = frozenset(task.value for task in ANSWERS)
CALLING = frozenset(
    {TaskName.EVALUATE_JOB.value, TaskName.EXECUTE_JOB.value, TaskName.RUN_DEMO.value}
    | {TaskName.EXECUTE_RUN.value, TaskName.PROBE_BREAKERS.value}
)
"""What a model is called in; the call in flight may be lost and made again."""
TRYING = frozenset({"demo", "abandon demo", "try out"})
"""A try whose caller got no answer may be run all the same, beside the next one."""


class Fault(StrEnum):
    KILLED = "process killed"
    EXCEPTION = "exception"
    CUT = "connection cut"
    ANSWER_LOST = "commit answer lost"
    OVERTAKEN = "longer than the lease"
    OVERTAKEN_AT_WORK = "longer than the lease, wakes beside its successor"


@dataclass(frozen=True, kw_only=True)
class Case:
    life: Life
    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.life.name} | {self.point} | {self.fault}"


@dataclass(frozen=True, kw_only=True)
class Action:
    """What a life did in one go: the points it passed, and what it changed."""

    points: list[Point]
    effect: tuple[tuple[Any, Any], ...]
    """What of the situation was different afterwards: before, after."""

    @property
    def way(self) -> Situation:
        """The same of actions that do the same, by the same way, with the same effect."""
        return self.points[0].task, tuple(sorted(point.name for point in self.points)), self.effect


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A life that nothing befell."""

    actions: list[Action]
    """In the order in which they were done."""
    ending: Ending
    billed_calls: int

    @property
    def points(self) -> list[Point]:
        return [point for action in self.actions for point in action.points]


class Planted(RuntimeError):
    """What nobody expects."""


class Retired(BaseException):
    """A zombie has finished what it was at."""


class Violated(AssertionError):
    """What must hold did not."""


def play(life: Life, stage: Stage, start: int = 0) -> None:
    """Act from there to the end; the memory says how far it came."""
    for number, act in enumerate(life.acts[start:], start):
        stage.memory["act"] = number
        act(stage)


def go_on(life: Life, stage: Stage) -> None:
    """Take over where another process stopped: what it held is due again, and nobody waits for it.

    Goes on from the act that was cut short.
    """
    stage.duty(TaskName.POLL_PAYMENTS)
    for _ in range(2):
        if stage.anything_due():
            stage.later()
    play(life, stage, stage.memory["act"])


def end(stage: Stage) -> None:
    """Let everything come to its end, jobs too that were made for nobody."""
    stage.world.disarm()
    stage.tend()
    if evidence.anything_awaited(stage.tools.database):
        stage.age_invoices(TOO_LATE, all_jobs=True)
        stage.duty(TaskName.SWEEP_INVOICES)
        stage.tend()


def nothing(_: Point, __: Session | None = None) -> None:
    pass


@dataclass
class Bench:
    """What all cases share: connections for two processes, models that are loaded, a witness."""

    settings: Settings
    world: StandInClient
    empty: Callable[[], None]
    rehearse: Callable[[Life, Memory], bool]
    """Let the processes that will die learn what a life needs; False if they know already."""
    kill: Callable[[Case, Memory], None]
    """Play a life in a process of its own that dies at the point; the memory outlives it."""

    def __post_init__(self) -> None:
        url = self.settings.database_url
        self.witness = Database(url, connections=2)
        self._failpoints = [Failpoints(nothing), Failpoints(nothing)]
        self._databases = [WatchedDatabase(url, failpoints) for failpoints in self._failpoints]
        self._built = toolbox.build(self.settings, Role.MONEY)

    def close(self) -> None:
        for database in (self.witness, *self._databases):
            database.close()

    def stage(self, memory: Memory, *, second: bool = False) -> Stage:
        """A process that has just started: what it knows by itself, it has yet to learn."""
        self._failpoints[second].restart(nothing)
        return make_stage(
            toolbox.build(self.settings, Role.MONEY).with_(
                language_model=self._built.language_model, creator_model=self._built.creator_model
            ),
            self._databases[second],
            self._failpoints[second],
            self.world,
            memory,
        )

    def anew(self, life: Life) -> Memory:
        """An empty database, a new world, and a caller who knows what to ask for."""
        self.world.reset()
        self.empty()
        return Memory(facts={"request": life.request} | life.facts(self.world.url))


def make_stage(
    built: Toolbox,
    database: WatchedDatabase,
    failpoints: Failpoints,
    world: StandInClient,
    memory: Memory,
) -> Stage:
    """Put a process together, every point of which is watched.

    Whenever it looks at a clock of its own, a minute has passed: nothing waits for real.
    """
    doorbell, minutes = RecordingDoorbell(), count(0, 60)
    own = built.with_(doorbell=doorbell, proof=Proof(clock=lambda: next(minutes)))
    return Stage(
        tools=watch(own, database, failpoints),
        failpoints=failpoints,
        doorbell=doorbell,
        world=world,
        memory=memory,
    )


def record(bench: Bench, life: Life) -> Recording:
    """Play a life through, and note its points."""
    memory = bench.anew(life)
    stage = bench.stage(memory)
    reached: dict[int, list[Point]] = {}
    before: list[Situation] = []

    def note(point: Point, _: Session | None) -> None:
        if point.action not in reached:
            before.append(evidence.situation(bench.witness))
        reached.setdefault(point.action, []).append(point)

    stage.failpoints.restart(note)
    play(life, stage)
    stage.failpoints.restart(nothing)
    if "job" in memory and stage.view().job.state is not life.ends:
        raise Violated(f"{life.name}: is {stage.view().job.state}, not {life.ends}")
    if life.run_ends is not None and stage.run().state is not life.run_ends:
        raise Violated(f"{life.name}: is {stage.run().state}, not {life.run_ends}")
    situations = [*before, evidence.situation(bench.witness)]
    end(stage)
    evidence.assert_sound(stage.tools, bench.world)
    return Recording(
        actions=[
            Action(points=points, effect=_differing(*then))
            for points, then in zip(reached.values(), pairwise(situations), strict=True)
        ],
        ending=evidence.ending(bench.witness, bench.world, memory),
        billed_calls=evidence.billed_calls(bench.world),
    )


def _differing(before: Situation, after: Situation) -> tuple[tuple[Any, Any], ...]:
    return tuple(pair for pair in zip(before, after, strict=True) if len({*pair}) > 1)


def cases_of(life: Life, points: Iterable[Point], fault: Fault) -> list[Case]:
    """Each of these points at which this fault is something of its own."""
    before: dict[int, Point] = {}
    cases = []
    for point in points:
        if _applies(fault, point, before.get(point.action)):
            cases.append(Case(life=life, point=point, fault=fault))
        before[point.action] = point
    return cases


def _applies(fault: Fault, point: Point, before: Point | None) -> bool:
    if fault is Fault.ANSWER_LOST:
        return point.name.endswith(":after_commit")
    if fault is Fault.OVERTAKEN_AT_WORK and point.task not in CLAIMING:
        return False
    return not _is_same_moment(point, before)


def _is_same_moment(point: Point, before: Point | None) -> bool:
    """Between what has just ended and what begins nothing happens: it was tried there already."""
    begins = point.name.endswith((":begin", ":before"))
    return begins and before is not None and before.name.endswith((":after", ":after_commit"))


def run(bench: Bench, case: Case, recording: Recording) -> None:
    """Play a case to its end and look at everything. Raises AssertionError."""
    memory = bench.anew(case.life)
    stage = PLAYED[case.fault](bench, case, memory)
    end(stage)
    evidence.assert_sound(stage.tools, bench.world)
    _expect(evidence.ending(bench.witness, bench.world, stage.memory), recording.ending)
    _expect_calls(evidence.billed_calls(bench.world) - recording.billed_calls, case)


def _expect(ended: Ending, recorded: Ending) -> None:
    if ended.job != recorded.job or ended.debts != recorded.debts:
        raise Violated(f"the job ended as {ended}, not as {recorded}")
    if ended.paid_out != recorded.paid_out:
        raise Violated(f"{ended.paid_out} msats were paid out, not {recorded.paid_out}")
    if (ended.runs, ended.moved) != (recorded.runs, recorded.moved):
        raise Violated(f"sold {ended.runs} for {ended.moved}, not {recorded.runs}")
    if ended.wallet_moves != recorded.wallet_moves:
        raise Violated(f"the wallet's moves are {ended.wallet_moves}")


def _expect_calls(more: int, case: Case) -> None:
    """One call more at most, and only if the fault lies in a step that calls."""
    if more > (1 if case.point.task in CALLING | TRYING else 0):
        raise Violated(f"{more} billed model calls more than without the fault")


def _killed(bench: Bench, case: Case, memory: Memory) -> Stage:
    if bench.rehearse(case.life, memory):
        memory = bench.anew(case.life)
    bench.kill(case, memory)
    stage = bench.stage(memory)
    go_on(case.life, stage)
    return stage


def _failed(bench: Bench, case: Case, memory: Memory) -> Stage:
    """The process lives on: an exception, or what the database did to it."""
    stage = bench.stage(memory)
    fired: list[Point] = []

    def fail(point: Point, session: Session | None) -> None:
        if point == case.point and not fired:
            fired.append(point)
            _do_harm(bench, case.fault, session)

    stage.failpoints.restart(fail)
    try:
        play(case.life, stage)
    except (Planted, SQLAlchemyError):
        stage.failpoints.restart(nothing)
        go_on(case.life, stage)
    if not fired:
        raise Violated("the point was not reached")
    return stage


def _do_harm(bench: Bench, fault: Fault, session: Session | None) -> None:
    if fault is Fault.EXCEPTION:
        raise Planted
    if fault is Fault.ANSWER_LOST:
        raise OperationalError("COMMIT", {}, Exception("the answer to COMMIT was lost"))
    pid = session.scalar(select(func.pg_backend_pid())) if session else None
    terminate(bench.witness, pid)


def terminate(database: Database, pid: int | None) -> None:
    """End one backend of this database, or all but our own; returns when they are gone."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    end_one = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE {others} AND (CAST(:pid AS integer) IS NULL OR pid = :pid)"
    )
    with database.transaction("test.terminate") as session:
        session.execute(end_one, {"pid": pid}).all()


class Zombie:
    """A process that stops at a point, and goes on when others have done its work."""

    def __init__(self, bench: Bench, case: Case, stage: Stage) -> None:
        self._bench = bench
        self._case = case
        self._stage = stage
        self._stopped = threading.Event()
        """At the point, or because its life is over."""
        self._has_reached = False
        self._went_on_by_itself = False
        self._may_go_on = threading.Event()
        self._woken = False
        self._died_of: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="zombie")

    def stop(self) -> Memory:
        """Let it live as far as the point; returns what its caller knows by then."""
        self._stage.failpoints.restart(self._on_point, self._retire)
        self._thread.start()
        if not self._stopped.wait(PATIENCE_SECONDS):
            raise Violated("the point was not reached in time")
        if not self._has_reached:
            raise Violated(f"the point was not reached: {self._died_of!r}")
        return Memory(facts=dict(self._stage.memory.facts))

    def wake(self) -> None:
        """Let its heart beat, and let it finish its action, of which nobody must notice anything.

        The second time it does nothing.
        """
        if self._woken:
            return
        self._woken = True
        before = evidence.snapshot(self._bench.witness)
        self._stage.tools.leases.renew(self._bench.witness)
        self._may_go_on.set()
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            raise Violated("the zombie does not end")
        if self._went_on_by_itself:
            raise Violated("the zombie went on before it was woken")
        after = evidence.snapshot(self._bench.witness)
        if self._died_of is not None:
            raise Violated("the zombie broke") from self._died_of
        changed = evidence.changes(before, after, may_add=self._case.point.task in ADDING)
        task = self._case.point.task
        is_right = task in UNFENCED or SETTLED in changed or _has_adopted(task, changed)
        if changed and not is_right:
            raise Violated(f"the zombie changed {changed}")

    def let_go(self) -> None:
        """Whatever became of the case, nobody stays behind."""
        self._may_go_on.set()
        self._thread.join(PATIENCE_SECONDS)

    def _on_point(self, point: Point, session: Session | None) -> None:
        if point != self._case.point or self._has_reached:
            return
        if session is not None:
            frozen = f"SET LOCAL idle_in_transaction_session_timeout = '{FROZEN_IN_TRANSACTION}'"
            session.execute(text(frozen))
        self._has_reached = True
        self._stopped.set()
        self._went_on_by_itself = not self._may_go_on.wait(HELD_SECONDS)

    def _retire(self) -> None:
        if self._has_reached:
            raise Retired

    def _live(self) -> None:
        try:
            play(self._case.life, self._stage)
        except (Retired, SQLAlchemyError, RuleBroken):
            pass
        except BaseException as error:  # noqa: BLE001 - told to the test
            self._died_of = error
        finally:
            self._stopped.set()


def _overtaken(bench: Bench, case: Case, memory: Memory) -> Stage:
    zombie = Zombie(bench, case, bench.stage(memory, second=True))
    try:
        successor = bench.stage(zombie.stop())
        if case.fault is Fault.OVERTAKEN_AT_WORK:
            successor.failpoints.restart(_waking(zombie, case))
        go_on(case.life, successor)
        zombie.wake()
    finally:
        zombie.let_go()
    return successor


def _waking(zombie: Zombie, case: Case) -> Callable[[Point, Session | None], None]:
    """Wake the zombie as soon as its successor holds the row."""

    def on_point(point: Point, _: Session | None) -> None:
        is_claim = "claim" in point.name and point.name.endswith(":after_commit")
        if is_claim and point.task == case.point.task:
            zombie.wake()

    return on_point


PLAYED: dict[Fault, Callable[[Bench, Case, Memory], Stage]] = {
    Fault.KILLED: _killed,
    Fault.EXCEPTION: _failed,
    Fault.CUT: _failed,
    Fault.ANSWER_LOST: _failed,
    Fault.OVERTAKEN: _overtaken,
    Fault.OVERTAKEN_AT_WORK: _overtaken,
}


def _has_adopted(task: str, changed: list[str]) -> bool:
    return (
        task in ADOPTING
        and WITHDRAWN in changed
        and all(change.startswith(ADOPTED) for change in changed)
    )
