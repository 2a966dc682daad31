"""The one log of `make run` is there for people: that it cannot be written stops no work."""

import errno
import io
import os
from typing import Any

import pytest

from local.log import MergedLog


class Disk(io.RawIOBase):
    """Refuses the first so many writes, as a full disk does, and keeps the others."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written += bytes(data)
        return len(data)


@pytest.fixture
def disk() -> Disk:
    return Disk(refusals=1)


def test_given_a_disk_that_was_full_once_then_what_is_said_afterwards_is_written(
    disk: Disk,
) -> None:
    with io.BufferedWriter(disk) as stream:
        log = MergedLog(stream, ["web"])

        log.line("web", "said to a full disk")
        log.line("web", "said afterwards")

    assert disk.written.endswith(b"web | said afterwards\n")


def test_given_a_disk_that_stays_full_then_lines_are_dropped_whole(disk: Disk) -> None:
    disk.refusals = 1000
    with io.BufferedWriter(disk, buffer_size=64) as stream:
        log = MergedLog(stream, ["web"])

        for number in range(100):
            log.line("web", f"line {number}")
        disk.refusals = 0
        log.line("web", "there is room again")

    lines = disk.written.decode().splitlines()
    assert lines[-1] == "web | there is room again"
    assert lines[:-1] == [f"web | line {number}" for number in range(len(lines) - 1)]
