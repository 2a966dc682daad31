"""What is done to the fleet: acts drawn from the seed, carried out one after the other."""

import random
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

import psycopg2

from tests.chaos.fleet import LEASE_SECONDS, PROCESSES, TARGETS, Fleet
from tests.chaos.links import Mode
from tests.chaos.log import Log

BACK_SECONDS = 60.0
LOOK_SECONDS = 0.02
TRIES = 8
"""Of one act: its victim may just be starting again. As often as there are processes."""


class Kind(StrEnum):
    KILL = "kill"
    """kill -9 of a process of ours and all that it started."""
    FREEZE = "freeze"
    """SIGSTOP for longer than the lease, then SIGCONT."""
    FLUSH = "flush"
    """FLUSHALL."""
    KILL_VALKEY = "kill_valkey"
    STOP_POSTGRES = "stop_postgres"
    """Immediate stop: no goodbye, recovery at the next start."""
    TERMINATE_BACKENDS = "terminate_backends"
    LINK_RESET = "link_reset"
    LINK_REFUSE = "link_refuse"
    LINK_BLACK_HOLE = "link_black_hole"
    LINK_DELAY = "link_delay"
    LINK_TRICKLE = "link_trickle"
    CUT_COMMIT = "cut_commit"
    """A COMMIT is carried out, and its answer lost with the connection."""


WEIGHTS = {
    Kind.KILL: 8,
    Kind.FREEZE: 3,
    Kind.FLUSH: 3,
    Kind.KILL_VALKEY: 3,
    Kind.STOP_POSTGRES: 3,
    Kind.TERMINATE_BACKENDS: 3,
    Kind.LINK_RESET: 3,
    Kind.LINK_REFUSE: 3,
    Kind.LINK_BLACK_HOLE: 3,
    Kind.LINK_DELAY: 3,
    Kind.LINK_TRICKLE: 1,
    Kind.CUT_COMMIT: 5,
}
MODES = {
    Kind.LINK_RESET: Mode.RESET,
    Kind.LINK_REFUSE: Mode.REFUSE,
    Kind.LINK_BLACK_HOLE: Mode.BLACK_HOLE,
    Kind.LINK_DELAY: Mode.DELAY,
    Kind.LINK_TRICKLE: Mode.TRICKLE,
    Kind.CUT_COMMIT: Mode.CUT_COMMIT,
}
LASTS = {
    Kind.FREEZE: (1.2 * LEASE_SECONDS, 2 * LEASE_SECONDS),
    Kind.LINK_REFUSE: (1.0, 5.0),
    Kind.LINK_BLACK_HOLE: (1.0, 8.0),
    Kind.LINK_DELAY: (2.0, 6.0),
    Kind.LINK_TRICKLE: (2.0, 4.0),
    Kind.CUT_COMMIT: (5.0, 5.0),
}
"""From so many to so many seconds; a cut that met no COMMIT by then is tried on another wire."""
LINK_DELAY_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Act:
    number: int
    kind: Kind
    victim: str
    """A process, a server, or a link as ``process>target``."""
    seconds: float = 0.0
    share: float = 0.0
    """Of PostgreSQL's backends."""


def plan(seed: int, acts: int, kinds: tuple[Kind, ...] = tuple(Kind)) -> list[Act]:
    """The same acts for the same arguments, always; every kind at least once if there is room."""
    dice = random.Random(f"{seed}:nemesis")
    chosen = list(kinds) * (acts >= len(kinds))
    chosen += dice.choices(kinds, [WEIGHTS[kind] for kind in kinds], k=acts - len(chosen))
    dice.shuffle(chosen)
    return [_act(dice, number, kind) for number, kind in enumerate(chosen, start=1)]


def _act(dice: random.Random, number: int, kind: Kind) -> Act:
    low, high = LASTS.get(kind, (0.0, 0.0))
    return Act(
        number=number,
        kind=kind,
        victim=dice.choice(_victims(kind)),
        seconds=round(dice.uniform(low, high), 2),
        share=dice.choice((0.2, 0.5, 1.0)),
    )


def _victims(kind: Kind) -> list[str]:
    if kind in {Kind.KILL, Kind.FREEZE}:
        return list(PROCESSES)
    if kind in {Kind.FLUSH, Kind.KILL_VALKEY}:
        return ["valkey"]
    if kind in {Kind.STOP_POSTGRES, Kind.TERMINATE_BACKENDS}:
        return ["postgres"]
    links = [f"{process}>{target}" for process, targets in TARGETS.items() for target in targets]
    if kind is Kind.CUT_COMMIT:
        return [link for link in links if link.endswith(">postgres")]
    return links


class Nemesis:
    """Acts in a thread of its own, as far as the work has come: the k-th act of n at k/n of it.

    A stretch without any progress holds it up for ``at_least_every`` seconds only. An act that met
    nothing (nobody to kill, no COMMIT to cut) is tried again at once, on the next victim.
    """

    def __init__(
        self,
        fleet: Fleet,
        acts: list[Act],
        log: Log,
        progress: Callable[[], float],
        *,
        at_least_every: float = 12.0,
        at_most_every: float = 0.7,
    ) -> None:
        self._fleet = fleet
        self._acts = len(acts)
        self._waiting = deque(acts)
        self._misses: Counter[int] = Counter()
        self._log = log
        self._progress = progress
        self._at_least_every = at_least_every
        self._at_most_every = at_most_every
        self._stop = threading.Event()
        self._ends: list[tuple[float, Act, Callable[[], None]]] = []
        self._handlers: dict[Kind, Callable[[Act], bool]] = {
            Kind.KILL: self._kill,
            Kind.FREEZE: self._freeze,
            Kind.FLUSH: self._flush,
            Kind.KILL_VALKEY: self._kill_server,
            Kind.STOP_POSTGRES: self._kill_server,
            Kind.TERMINATE_BACKENDS: self._terminate_backends,
        }
        self._thread = threading.Thread(target=self._rage, name="nemesis", daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No further acts; everything mended when it returns. Raises what went wrong in it."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _rage(self) -> None:
        try:
            while self._waiting or self._ends:
                if self._stop.is_set():
                    self._waiting.clear()
                elif self._waiting and self._wait_for_turn(self._waiting[0]):
                    self._begin(self._waiting.popleft())
                self._end_what_is_over()
                self._stop.wait(LOOK_SECONDS)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.error = error
        finally:
            for _, act, end in self._ends:
                self._finish(act, end)

    def _wait_for_turn(self, act: Act) -> bool:
        began = time.monotonic()
        due = (act.number - 0.5) / self._acts
        while not self._is_turn(due, waited=time.monotonic() - began):
            self._end_what_is_over()
            if self._stop.wait(LOOK_SECONDS):
                return False
        return not self._stop.is_set()

    def _is_turn(self, due: float, *, waited: float) -> bool:
        if waited < self._at_most_every:
            return False
        return self._progress() >= due or waited >= self._at_least_every

    def _begin(self, act: Act) -> None:
        self._log.write("act", **asdict(act))
        if not self._handlers.get(act.kind, self._trouble_link)(act):
            self._missed(act)

    def _missed(self, act: Act) -> None:
        """It met nothing."""
        self._log.write("met_nothing", number=act.number, kind=act.kind, victim=act.victim)
        self._misses[act.number] += 1
        if self._misses[act.number] < TRIES:
            victims = _victims(act.kind)
            following = victims[(victims.index(act.victim) + 1) % len(victims)]
            self._waiting.appendleft(replace(act, victim=following))

    def _later(self, act: Act, end: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + act.seconds, act, end))

    def _end_what_is_over(self) -> None:
        now = time.monotonic()
        for entry in [entry for entry in self._ends if entry[0] <= now]:
            self._ends.remove(entry)
            self._finish(entry[1], entry[2])

    def _finish(self, act: Act, end: Callable[[], None]) -> None:
        end()
        self._log.write("mended", number=act.number, kind=act.kind, victim=act.victim)

    # --- processes; each act says whether it met anything

    def _kill(self, act: Act) -> bool:
        pid = self._fleet.signal(act.victim, signal.SIGKILL)
        self._log.write("killed", number=act.number, victim=act.victim, pid=pid)
        return pid is not None

    def _freeze(self, act: Act) -> bool:
        pid = self._fleet.signal(act.victim, signal.SIGSTOP)
        self._log.write("frozen", number=act.number, victim=act.victim, pid=pid)

        def thaw() -> None:
            if self._fleet.pid(act.victim) == pid:
                self._fleet.signal(act.victim, signal.SIGCONT)

        if pid is not None:
            self._later(act, thaw)
        return pid is not None

    # --- servers

    def _kill_server(self, act: Act) -> bool:
        number = signal.SIGQUIT if act.victim == "postgres" else signal.SIGKILL
        pid = self._fleet.signal(act.victim, number)
        self._log.write("killed", number=act.number, victim=act.victim, pid=pid)
        accepts = self._postgres_accepts if act.victim == "postgres" else self._valkey_accepts
        self._wait_until_back(act, pid, accepts)
        return pid is not None

    def _wait_until_back(self, act: Act, pid: int | None, accepts: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BACK_SECONDS
        while self._fleet.pid(act.victim) in {None, pid} or not accepts():
            self._end_what_is_over()
            if time.monotonic() > deadline:
                raise AssertionError(f"{act.victim} did not come back")
            self._stop.wait(LOOK_SECONDS)
        self._log.write("accepts", number=act.number, victim=act.victim)

    def _postgres_accepts(self) -> bool:
        try:
            psycopg2.connect(self._fleet.postgres_url, connect_timeout=2).close()
        except psycopg2.Error:
            return False
        return True

    def _valkey_accepts(self) -> bool:
        return self._tell_valkey("PING") == b"+PONG"

    def _flush(self, act: Act) -> bool:
        answer = self._tell_valkey("FLUSHALL")
        self._log.write("flushed", number=act.number, answer=answer.decode())
        return answer == b"+OK"

    def _tell_valkey(self, command: str) -> bytes:
        """The last line of the answer; nothing when nobody answers."""
        address = urlsplit(self._fleet.valkey_url)
        question = f"AUTH {address.password}\r\n{command}\r\n".encode()
        try:
            with socket.create_connection(
                (address.hostname or "", address.port or 0), timeout=2
            ) as connection:
                connection.sendall(question)
                connection.shutdown(socket.SHUT_WR)
                return connection.makefile("rb").read().strip().rpartition(b"\r\n")[2]
        except OSError:
            return b""

    def _terminate_backends(self, act: Act) -> bool:
        """Every k-th connection of ours, whatever it is doing."""
        step = max(1, round(1 / act.share))
        try:
            connection = psycopg2.connect(self._fleet.postgres_url, connect_timeout=2)
        except psycopg2.Error:
            self._log.write("terminated", number=act.number, count=0)
            return False
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM ("
                " SELECT pid, row_number() OVER (ORDER BY backend_start, pid) AS place"
                " FROM pg_stat_activity WHERE application_name = 'honestwork') AS ours"
                " WHERE place %% %s = 0",
                (step,),
            )
            row = cursor.fetchone()
        connection.close()
        count = row[0] if row else 0
        self._log.write("terminated", number=act.number, count=count)
        return bool(count)

    # --- links

    def _trouble_link(self, act: Act) -> bool:
        if any(other.victim == act.victim for _, other, _ in self._ends):
            return False  # the end of one would be the end of both
        mode = MODES[act.kind]
        seconds = LINK_DELAY_SECONDS if mode is Mode.DELAY else 0.0
        self._fleet.wires.change(act.victim, mode, seconds)
        if mode is not Mode.RESET:
            self._later(act, lambda: self._mend_link(act))
        return True

    def _mend_link(self, act: Act) -> None:
        """A cut that is still to come has met no COMMIT."""
        before = self._fleet.wires.change(act.victim, Mode.PASS)
        if act.kind is Kind.CUT_COMMIT and before is Mode.CUT_COMMIT:
            self._missed(act)
