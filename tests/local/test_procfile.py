"""The lines of the Procfile, as whoever runs them by other means does."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from local.environment import ROOT
from tests.local.running import environment
from tests.support.ports import free_port

NOWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(ROOT),
}


@contextmanager
def line_of_the_procfile(name: str, folder: Path) -> Iterator[IO[bytes]]:
    """What this line says, run by a shell in a folder; ended with everything that it started."""
    (line,) = re.findall(rf"^{name}: (.+)$", (ROOT / "Procfile").read_text(), re.MULTILINE)
    environ = environment(folder, free_port(), **NOWHERE)
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    del environ["DATA_DIR"]  # the default of the line itself
    process = subprocess.Popen(
        ["sh", "-c", line],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_beat_starts_in_a_folder_that_has_no_data_yet(folder: Path) -> None:
    with line_of_the_procfile("beat", folder) as log:
        said = iter(log.readline, b"")

        assert any(b"beat ready" in line for line in said)
        assert (folder / ".data").stat().st_mode & 0o077 == 0
