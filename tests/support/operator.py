"""An operator who types ``python -m workers.…``, without two seconds for a process each time.

One real process types some of them in tests/services/test_audit_trail.py.
"""

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

import pytest

from services.toolbox import Toolbox


@dataclass(frozen=True, kw_only=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A shell whose whole environment is the one of a process of this deployment."""

    tools: Toolbox

    def __call__(self, module: str, *arguments: str, **environment: str) -> Done:
        """``python -m module arguments``; ``environment`` is what this command finds besides."""
        out, err = StringIO(), StringIO()
        with (
            _typed([module, *arguments], self._environ | environment),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = _code_of(module)
        return Done(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    @property
    def _environ(self) -> dict[str, str]:
        settings = self.tools.settings
        return {
            "PATH": os.defpath,
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "STAND_IN_URL": settings.stand_in_url or "",
        }


@contextmanager
def _typed(words: list[str], environ: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        patch.setattr(os, "environ", environ)
        yield


def _code_of(module: str) -> int:
    """A command ends with ``sys.exit``, always with a number."""
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert isinstance(end.value.code, int)
    return end.value.code
