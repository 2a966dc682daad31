"""What the product commits and what it asks outside, by the names that points have for it.

Read from the source and from the Toolbox, so that a new one is known before any life has reached
it. ``*`` stands for what is put into a name while it runs.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any, get_args, get_origin

from services.toolbox import Toolbox
from tests.architecture.source import Module, called_name, calls
from tests.matrix.failpoints import NOT_OUTSIDE


def committed(modules: Iterable[Module]) -> dict[str, str]:
    """The point before each commit, and where its transaction stands. What only reads has none.

    Raises ValueError if two have one name: then a life of one would pass for a life of the other.
    """
    found: dict[str, str] = {}
    for module in modules:
        for call in calls(module):
            if called_name(call) != "transaction":
                continue
            for name in _names(call.args[0], module):
                place = found.setdefault(f"{name}:before_commit", module.at(call))
                if place != module.at(call):
                    raise ValueError(f"{place} and {module.at(call)}: one name for two")
    return found


def _names(said: ast.expr, module: Module) -> Iterator[str]:
    """What an argument may come to. A parameter is whatever is handed in for it in this module."""
    if isinstance(said, ast.Constant):
        yield str(said.value)
    elif isinstance(said, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "*" for part in said.values)
        yield "".join(map(str, parts))
    elif isinstance(said, ast.Name) and (given := list(_handed_in(said, module))):
        for argument in given:
            yield from _names(argument, module)
    else:
        raise ValueError(f"{module.at(said)}: nobody can tell what this transaction is called")


def _handed_in(parameter: ast.Name, module: Module) -> Iterator[ast.expr]:
    for function in module.nodes:
        if not isinstance(function, ast.FunctionDef) or parameter not in ast.walk(function):
            continue
        names = [argument.arg for argument in function.args.args]
        if parameter.id in names:
            place = names.index(parameter.id)
            yield from (
                call.args[place] for call in calls(module) if called_name(call) == function.name
            )


def asked_outside() -> dict[str, str]:
    """The point before each method of all that a toolbox holds, and the protocol that has it."""
    return {
        f"{field.name}{'.*' if get_origin(field.type) is tuple else ''}.{method}:before": kind
        for field in fields(Toolbox)
        if field.name not in NOT_OUTSIDE
        for protocol in _protocols(field.type)
        for method, kind in _methods(protocol)
    }


def _protocols(hint: Any) -> Iterator[type]:
    """The protocols that an annotation names, however deep inside."""
    if getattr(hint, "_is_protocol", False):
        yield hint
    for inner in get_args(hint):
        yield from _protocols(inner)


def _methods(protocol: type) -> Iterator[tuple[str, str]]:
    for name in dir(protocol):
        if not name.startswith("_") and callable(getattr(protocol, name)):
            yield name, protocol.__name__


def not_reached(wanted: dict[str, str], reached: Iterable[str]) -> dict[str, str]:
    """Those of the wanted that no point is called by."""
    points = frozenset(reached)
    return {
        name: where
        for name, where in wanted.items()
        if not any(fnmatchcase(point, name) for point in points)
    }
