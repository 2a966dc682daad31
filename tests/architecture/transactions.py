"""What happens while a transaction is open: nothing outside, no ring, no second transaction.

Follows calls from function to function, through imports, as far as names can be resolved.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, get_args

from services.toolbox import Toolbox
from tests.architecture.source import Module, bound_by_imports, dotted
from tests.matrix.failpoints import NOT_OUTSIDE

RUNG = "doorbell"
"""It only tells our own workers: rung after the commit, and looked for by its ``ring``."""
COLLABORATORS = {
    field.name: field for field in fields(Toolbox) if field.name not in NOT_OUTSIDE | {RUNG}
}
"""Members of the toolbox that speak to the outside: all but those that are said to call nobody."""


def _protocols_in(hint: Any) -> Iterator[str]:
    """The protocols that an annotation names, however deep inside."""
    if isinstance(hint, list):
        for inner in hint:
            yield from _protocols_in(inner)
    elif getattr(hint, "_is_protocol", False):
        yield hint.__name__
    for inner in get_args(hint):
        yield from _protocols_in(inner)


PROTOCOLS = {name for field in COLLABORATORS.values() for name in _protocols_in(field.type)}
"""What a function is handed that is to speak to the outside."""


@dataclass(frozen=True)
class Function:
    """One function, with what its calls mean."""

    name: str
    module: Module
    node: ast.FunctionDef
    bindings: Mapping[str, str]

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.node))

    @cached_property
    def targets(self) -> frozenset[str]:
        """What it calls, as far as it can be named in full."""
        return frozenset(name for _, name in self.callees(self.nodes))

    @cached_property
    def transactions(self) -> tuple[tuple[ast.AST, ...], ...]:
        """The nodes inside of each ``with ….transaction(…)`` and ``with ….reading(…)``."""
        return tuple(_inside(found) for found in self.nodes if _opens(found))

    def callees(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.Call, str]]:
        """Every call among these nodes whose target can be named in full."""
        for call in nodes:
            if not isinstance(call, ast.Call):
                continue
            target = dotted(call.func)
            head, _, rest = target.partition(".")
            if head in self.bindings:
                yield call, f"{self.bindings[head]}.{rest}".rstrip(".")


def outside_calls_in_transactions(modules: Iterable[Module]) -> list[str]:
    """Claim, call, record: an outside call holds no locks and no connection."""
    functions = _functions(tuple(modules))
    reaching = _reaching(functions, {f.name for f in functions if _is_outside(f)})
    return [
        f"{function.module.at(node)} {what}"
        for function in functions
        for body in function.transactions
        for node, what in [
            *_touching(body),
            *((call, name) for call, name in function.callees(body) if name in reaching),
        ]
    ]


def transactions_in_transactions(modules: Iterable[Module]) -> list[str]:
    """A second connection while the first is held: enough threads at once would wait for ever."""
    functions = _functions(tuple(modules))
    opening = {f.name for f in functions if f.transactions}
    reaching = _reaching(functions, opening)
    return [
        f"{function.module.at(call)} {name}"
        for function in functions
        for body in function.transactions
        for call, name in function.callees(body)
        if name in reaching
    ]


@cache
def _functions(modules: tuple[Module, ...]) -> tuple[Function, ...]:
    return tuple(function for module in modules for function in _of(module))


def _of(module: Module) -> Iterator[Function]:
    bindings = _bindings(module)
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef):
            yield Function(f"{module.name}.{node.name}", module, node, bindings)


def _bindings(module: Module) -> dict[str, str]:
    """What the names of a module stand for: imports, and its own functions."""
    own = [node for node in module.tree.body if isinstance(node, ast.FunctionDef)]
    return {**bound_by_imports(module)} | {node.name: f"{module.name}.{node.name}" for node in own}


def _is_outside(function: Function) -> bool:
    """Whether it holds a gateway in its hands, from the toolbox or as a parameter."""
    arguments = function.node.args
    annotations = [a.annotation for a in (*arguments.args, *arguments.kwonlyargs) if a.annotation]
    given = {n.id for a in annotations for n in ast.walk(a) if isinstance(n, ast.Name)}
    return bool(given & PROTOCOLS) or any(
        isinstance(node, ast.Attribute) and _is_collaborator(node) for node in function.nodes
    )


def _is_collaborator(node: ast.Attribute) -> bool:
    return node.attr in COLLABORATORS and dotted(node.value).rpartition(".")[2] in {
        "tools",
        "self",
    }


def _reaching(functions: Iterable[Function], seeds: set[str]) -> set[str]:
    """The functions that get to one of these, however long the way."""
    reaching = set(seeds)
    while True:
        found = {f.name for f in functions if not f.targets.isdisjoint(reaching)}
        if found <= reaching:
            return reaching
        reaching |= found


def _opens(node: ast.AST) -> bool:
    return isinstance(node, ast.With) and any(
        isinstance(item.context_expr, ast.Call)
        and dotted(item.context_expr.func).endswith((".transaction", ".reading"))
        for item in node.items
    )


def _inside(found: ast.AST) -> tuple[ast.AST, ...]:
    assert isinstance(found, ast.With)
    return tuple(node for statement in found.body for node in ast.walk(statement))


def _touching(body: Iterable[ast.AST]) -> Iterator[tuple[ast.AST, str]]:
    """Gateways and the doorbell, used by name."""
    for node in body:
        if isinstance(node, ast.Attribute) and _is_collaborator(node):
            yield node, node.attr
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(f"{RUNG}.ring"):
            yield node, f"{RUNG}.ring"
