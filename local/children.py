"""The processes of one local system: kept running, listened to, and ended in order."""

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType

from local.log import LineBuffer, MergedLog
from local.processes import Program, StartError, has_ended, kill_group, spawn

FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 30.0
SETTLED_AFTER_SECONDS = 30.0
"""What ran this long had a good start: its next end is its first again."""
_TURN_SECONDS = 0.5
_EAGER_TURN_SECONDS = 0.03

Recipe = Callable[[], Program]
"""How to start a program now; asked again for every restart."""

OURSELVES = "honestwork"


class StopRequested(Exception):
    """Somebody wants the system to end: Ctrl-C, SIGTERM, or a closed terminal."""


@dataclass(kw_only=True, eq=False)
class Child:
    """A program that we keep running."""

    recipe: Recipe
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    last_line: str = ""
    failures: int = 0
    is_ready: bool = False

    @property
    def is_alive(self) -> bool:
        return self.process is not None


@dataclass(kw_only=True, eq=False)
class _Pipe:
    child: Child
    lines: LineBuffer = field(default_factory=LineBuffer)


class StopSignals:
    """Counts the wishes to stop, and wakes the loop that waits."""

    _signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self.wakeup, self._write_end = socket.socketpair()
        for end in (self.wakeup, self._write_end):
            end.settimeout(0)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in self._signals:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """A closed terminal sends more than one SIGHUP: that is nobody who is in a hurry."""
        if number != signal.SIGHUP or self.count == 0:
            self.count += 1

    def drain(self) -> None:
        """Be ready to be woken again."""
        try:
            while self.wakeup.recv(4096):
                pass
        except BlockingIOError:
            return


class Children:
    """Used by the main thread only: the kernel ties a child's life to the thread it came from."""

    def __init__(self, log: MergedLog, signals: StopSignals) -> None:
        self._log = log
        self._signals = signals
        self._children: dict[str, Child] = {}
        self._last_lines: dict[str, str] = {}
        self._restarts = True
        self._heeded = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.wakeup, selectors.EVENT_READ, None)

    def say(self, text: str) -> None:
        self._log.line(OURSELVES, text)

    def start(self, *recipes: Recipe) -> None:
        """Start these now and again whenever they end."""
        for recipe in recipes:
            child = Child(recipe=recipe, program=recipe())
            self._children[child.program.name] = child
            self._launch(child)

    def run_to_end(self, program: Program) -> int:
        """Run this once; its exit code."""
        child = Child(recipe=lambda: program, program=program)
        self._launch(child)
        process = child.process
        assert process is not None
        try:
            while not has_ended(process):
                self._turn(_EAGER_TURN_SECONDS)
        except StopRequested:
            kill_group(process)
            raise
        self._read_all(child)
        self._last_lines[program.name] = child.last_line
        return process.returncode

    def last_line(self, name: str) -> str:
        """What a program that ran to its end said last."""
        return self._last_lines.get(name, "")

    def wait_ready(self, names: Iterable[str], *, within: float) -> list[str]:
        """Wait until these are ready; the names of those that were not in so many seconds."""
        waiting = [self._children[name] for name in names]
        deadline = time.monotonic() + within
        while not all(child.is_ready for child in waiting) and time.monotonic() < deadline:
            self._turn(_EAGER_TURN_SECONDS)
        return [child.program.name for child in waiting if not child.is_ready]

    def run_until_stopped(self) -> None:
        """Keep everything running. Ends only by StopRequested."""
        while True:
            self._turn(_TURN_SECONDS)

    def stop(self, names: Iterable[str], *, grace: float) -> None:
        """Ask these to finish; after so many seconds, or at a further signal, end them."""
        self._restarts = False
        leaving = [
            child for name in names if (child := self._children.get(name)) and child.is_alive
        ]
        for child in leaving:
            _ask_to_stop(child)
        deadline = time.monotonic() + grace
        while any(child.is_alive for child in leaving):
            if time.monotonic() > deadline or self._signals.count > self._heeded:
                self._heeded = self._signals.count
                _end_now(leaving)
            self._look_after_all(_EAGER_TURN_SECONDS)

    def _turn(self, seconds: float) -> None:
        self._look_after_all(seconds)
        if self._signals.count > self._heeded:
            self._heeded += 1
            raise StopRequested

    def _look_after_all(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            self._listen(key)
        for child in self._children.values():
            self._look_after(child)

    def _look_after(self, child: Child) -> None:
        if child.process is None:
            if self._restarts and time.monotonic() >= child.restart_at:
                self._start_again(child)
        elif has_ended(child.process):
            self._bury(child, child.process)
        elif not child.is_ready and child.program.probe and child.program.probe(child.process.pid):
            child.is_ready = True

    def _start_again(self, child: Child) -> None:
        try:
            child.program = child.recipe()
            self._launch(child)
        except StartError as error:
            child.restart_at = time.monotonic() + LONGEST_BACK_OFF_SECONDS
            self.say(f"{error} Again in {LONGEST_BACK_OFF_SECONDS:g} s.")

    def _launch(self, child: Child) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        try:
            with os.fdopen(write_end, "wb") as output:
                child.process = spawn(child.program, output=output)
        except OSError as error:
            os.close(read_end)
            raise StartError(f"{child.program.name} cannot be started: {error}.") from error
        child.started_at = time.monotonic()
        child.is_ready = child.program.probe is None and child.program.ready_line is None
        self._selector.register(read_end, selectors.EVENT_READ, _Pipe(child=child))

    def _bury(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        self._read_all(child)
        child.process, child.is_ready = None, False
        if not self._restarts:
            return
        lived = time.monotonic() - child.started_at
        child.failures = 0 if lived >= SETTLED_AFTER_SECONDS else child.failures + 1
        pause = _back_off(child.failures)
        child.restart_at = time.monotonic() + pause
        self.say(
            f"{child.program.name} ended ({_ending(process.returncode)}); again in {pause:g} s"
        )

    def _read_all(self, child: Child) -> None:
        """What a process that ended had still to say."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Pipe) and key.data.child is child:
                while self._listen(key):
                    pass

    def _listen(self, key: selectors.SelectorKey) -> bool:
        """Print what came; whether there may be more at once."""
        if not isinstance(key.data, _Pipe):
            self._signals.drain()
            return False
        data = _read(key.fd)
        if data is None:
            return False
        lines = key.data.lines.feed(data) if data else key.data.lines.finish()
        self._print(key.data.child, lines)
        if not data:
            self._selector.unregister(key.fd)
            os.close(key.fd)
        return bool(data)

    def _print(self, child: Child, lines: list[str]) -> None:
        pattern = child.program.ready_line
        for line in lines:
            self._log.line(child.program.name, line)
            child.last_line = line.strip() or child.last_line
            if pattern is not None and pattern.search(line):
                child.is_ready = True


def _back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    doublings = min(max(0, failures - 1), 10)
    return min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * (1 << doublings))


def _ask_to_stop(child: Child) -> None:
    """Only the main process: Celery and gunicorn see to their own."""
    if child.process is not None:
        child.process.send_signal(child.program.stop_signal)


def _end_now(children: Iterable[Child]) -> None:
    for child in children:
        if child.process is not None:
            kill_group(child.process)


def _read(descriptor: int) -> bytes | None:
    """None: nothing there now. Empty: nothing will come any more."""
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return None


def _ending(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
