# ruff: noqa: TID251 - an entry point
"""How the operator's commands begin and end: the environment's toolbox, and an exit code."""

import os
import sys
from collections.abc import Callable

from config.settings import Settings, SettingsError
from services import toolbox
from services.errors import NotBooked, RuleBroken
from services.toolbox import Role, Toolbox


def run(act: Callable[[Toolbox], int], role: Role = Role.WEB) -> int:
    """Do it with a toolbox of this role; returns its exit code.

    Settings that are refused are code 2, and what the rules refuse is 1, both with a sentence on
    stderr.
    """
    try:
        return _with_a_toolbox(act, role)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (NotBooked, RuleBroken) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _with_a_toolbox(act: Callable[[Toolbox], int], role: Role) -> int:
    tools = toolbox.build(Settings.load(os.environ), role)
    try:
        return act(tools)
    finally:
        tools.database.close()
