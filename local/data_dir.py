"""The folder of one local system: held by one process at a time, with the passwords it made."""

import fcntl
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from local.processes import StartError


class DataDir:
    """A data folder that we hold: whoever has one of these is alone in it."""

    def __init__(self, path: Path) -> None:
        """Make the folder if need be and hold it until ``close`` or our death.

        Raises StartError when another process holds it or it cannot be written.
        """
        self.path = path.absolute()
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            # Root's is passable for PostgreSQL's own account; what is inside protects itself.
            self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"DATA_DIR={path} cannot be used ({error.strerror}): choose another folder.",
                exit_code=2,
            ) from error
        self._hold()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise StartError(
                f"{self.path} is in use by another instance (process {holder}): "
                "stop that one, or choose another folder with DATA_DIR=…",
                exit_code=2,
            ) from error
        with suppress(OSError):  # on a full disk: that is said by who needs the room
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def password(self, name: str) -> str:
        """The password of this name, made at the first call; safe in a URL."""
        return self.kept(f"{name}.password", lambda: secrets.token_hex(24))

    def kept(self, name: str, make: Callable[[], str]) -> str:
        """The secret in this file, made at the first call."""
        path = self.path / name
        if not path.exists():
            _write_private(path, make())
        return path.read_text().strip()

    def close(self) -> None:
        """Let go of the folder, and of every trace of it if we made it and nothing came of it.

        Everything that runs in it has ended before.
        """
        if self._made and [path.name for path in self.path.iterdir()] == ["lock"]:
            (self.path / "lock").unlink()
            with suppress(OSError):  # somebody else has put something there
                for folder in self._made:
                    folder.rmdir()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _write_private(path: Path, text: str) -> None:
    """All or nothing, and readable by us only from the first byte."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
