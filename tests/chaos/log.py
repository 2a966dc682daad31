"""What happened, line by line in a file: one JSON object each, never rewritten."""

import json
import threading
import time
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Log:
    """Append-only; several threads may write. ``at`` is this machine's clock in seconds."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = path.open("a", buffering=1)

    def write(self, what: str, **details: object) -> None:
        self.write_at(time.time(), what, **details)

    def write_at(self, at: float, what: str, **details: object) -> None:
        line = json.dumps({"at": round(at, 4), "what": what, **details})
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Line]:
    """Every line so far; a last one that is still being written is left out."""
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines if line]
