"""Start the stand-in: ``python -m local.stand_in --port 8001 --data-dir .data/stand-in``."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from config import garbage
from local.stand_in.wire import StandInServer
from local.stand_in.world import World

READY = "stand-in listens on "
"""What the first line of the output begins with; the rest of the line is the address."""


def main() -> None:
    options = _options()
    world = World(options.data_dir)
    try:
        server = StandInServer((options.host, options.port), world.answer)
    except OSError as error:
        sys.exit(f"The stand-in cannot listen on {options.host}:{options.port}: {error.strerror}.")
    _stop_on_signals()
    if options.until_stdin_closes:
        threading.Thread(target=_stop_without_parent, daemon=True).start()
    garbage.settle()
    print(READY + server.url, flush=True)
    server.serve_forever(poll_interval=60)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local.stand_in", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes any free one")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end when the parent process is gone"
    )
    return parser.parse_args()


def _stop_on_signals() -> None:
    """Nothing is worth finishing: every answer that was given is on disk already."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _stop_without_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
