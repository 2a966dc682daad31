"""The source of the house, for rules that read it."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCTION = ("config", "models", "gateways", "services", "tasks", "app", "workers")
PACKAGES = (*PRODUCTION, "local")


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, where it lies in the checkout, and what it says."""

    name: str
    path: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree: many rules look at all of them."""
        return tuple(ast.walk(self.tree))

    def at(self, node: ast.AST) -> str:
        """Where a node stands, for the person who has to mend it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def module(path: str, text: str) -> Module:
    """A module from its text, as if it lay there."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Module(name, path, ast.parse(text, path))


@cache
def modules(*packages: str) -> tuple[Module, ...]:
    """Every module of these packages, migrations included."""
    files = (file for package in packages for file in sorted((ROOT / package).rglob("*.py")))
    return tuple(module(str(file.relative_to(ROOT)), file.read_text()) for file in files)


def calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in module.nodes if isinstance(node, ast.Call))


def called_name(call: ast.Call) -> str:
    """The last part of what is called: ``values`` of ``update(Job).values(…)``."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def imported(found: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every import with the full name of what is imported; relative ones do not occur here."""
    for node in found.nodes:
        if isinstance(node, ast.Import):
            yield from ((node, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module}.{name.name}") for name in node.names)


@cache
def bound_by_imports(found: Module) -> Mapping[str, str]:
    """What the imported names of a module stand for, in full."""
    bound: dict[str, str] = {}
    for node in found.nodes:
        if isinstance(node, ast.ImportFrom):
            bound |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}
        elif isinstance(node, ast.Import):
            bound |= {n.asname or n.name: n.name for n in node.names}
    return bound


def dotted(node: ast.expr) -> str:
    """A chain of names as it is written; ``?`` for what is none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def within(name: str, homes: Iterable[str]) -> bool:
    """Whether a dotted name is one of these, or lies below one."""
    return any(name == home or name.startswith(home + ".") for home in homes)
