"""Processes that do not outlive the test run, however that ends."""

import os
import signal
import subprocess
import sys

_TIED = """
import ctypes, os, sys
parent, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG outlives the exec
if os.getppid() == parent:
    os.execv(command[0], command)
"""


def tied(command: list[str], number: signal.Signals) -> list[str]:
    """The same command, sent this signal when the thread that starts it ends: use the main one."""
    return [sys.executable, "-S", "-c", _TIED, str(os.getpid()), str(int(number)), *command]


def end(process: subprocess.Popen[bytes], within: float) -> None:
    """Ask it to end, and insist when it has not in time. A frozen process is thawed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
