"""One readable log of many processes: each line with the name of who wrote it."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import BinaryIO

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95)
_LONGEST_LINE = 65_536
_READER_IS_GONE = (errno.EPIPE, errno.EIO)
"""Of a pipe, of a terminal."""


class MergedLog:
    """Writes whole lines only, so that no two processes share one."""

    def __init__(self, stream: BinaryIO, names: Sequence[str]) -> None:
        """``names`` are all that will write, in the order in which they take colours."""
        self._stream = stream
        self._width = max(len(name) for name in names)
        self._colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}
        self._is_coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._is_open = True

    def line(self, name: str, text: str) -> None:
        """Write one line at once. That nobody can read it is no reason to stop working.

        A reader who went away does not come back; a full disk may have room for the next line.
        """
        if not self._is_open:
            return
        try:
            self._stream.write(f"{self._prefix(name)} {text}\n".encode())
            self._stream.flush()
        except OSError as error:
            if error.errno in _READER_IS_GONE:
                self._is_open = False
                # Else Python complains about the lost rest when we end.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<{self._width}} |"
        return f"\x1b[{self._colours.get(name, 0)}m{prefix}\x1b[0m" if self._is_coloured else prefix


class LineBuffer:
    """Turns what comes through a pipe into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now; an endless one is cut."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def finish(self) -> list[str]:
        """The last line, if it had no end."""
        return self.feed(b"\n") if self._rest else []
