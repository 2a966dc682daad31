"""What happens while a transaction is open: nothing outside, no ring, no second transaction.

Follows calls from function to function, through imports, as far as names can be resolved.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.architecture.source import Module, calls

COLLABORATORS = frozenset(
    {
        *("income", "payouts", "language_model", "price_feeds", "bench_payer"),
        *("facilitator", "chain", "creator_model", "provider_keys", "upstreams", "model_list"),
    }
)
"""Members of the toolbox that speak to the outside."""
PROTOCOLS = frozenset({"Income", "Payouts", "LanguageModel", "PriceFeed", "BenchPayer"})


@dataclass(frozen=True)
class Function:
    """One function, with what its calls mean."""

    name: str
    module: Module
    node: ast.FunctionDef
    bindings: Mapping[str, str]

    def callees(self, node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
        """Every call below a node whose target can be named in full."""
        for call in calls(node):
            target = _dotted(call.func)
            head, _, rest = target.partition(".")
            if head in self.bindings:
                yield call, f"{self.bindings[head]}.{rest}".rstrip(".")


def outside_calls_in_transactions(modules: Iterable[Module]) -> list[str]:
    """Claim, call, record: an outside call holds no locks and no connection."""
    functions = list(_functions(modules))
    reaching = _reaching(functions, {f.name for f in functions if _is_outside(f)})
    return [
        f"{function.module.at(node)} {what}"
        for function in functions
        for body in _transactions(function.node)
        for node, what in [
            *_touching(body),
            *((call, name) for call, name in function.callees(body) if name in reaching),
        ]
    ]


def transactions_in_transactions(modules: Iterable[Module]) -> list[str]:
    """A second connection while the first is held: enough threads at once would wait for ever."""
    functions = list(_functions(modules))
    opening = {f.name for f in functions if any(_transactions(f.node))}
    reaching = _reaching(functions, opening)
    return [
        f"{function.module.at(call)} {name}"
        for function in functions
        for body in _transactions(function.node)
        for call, name in function.callees(body)
        if name in reaching
    ]


def _functions(modules: Iterable[Module]) -> Iterator[Function]:
    for module in modules:
        bindings = _bindings(module)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef):
                yield Function(f"{module.name}.{node.name}", module, node, bindings)


def _bindings(module: Module) -> dict[str, str]:
    """What the names of a module stand for: imports, and its own functions."""
    bound: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            bound |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}
        elif isinstance(node, ast.Import):
            bound |= {n.asname or n.name: n.name for n in node.names}
    own = [node for node in module.tree.body if isinstance(node, ast.FunctionDef)]
    return bound | {node.name: f"{module.name}.{node.name}" for node in own}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _is_outside(function: Function) -> bool:
    """Whether it holds a gateway in its hands, from the toolbox or as a parameter."""
    arguments = function.node.args
    annotations = [a.annotation for a in (*arguments.args, *arguments.kwonlyargs) if a.annotation]
    given = {n.id for a in annotations for n in ast.walk(a) if isinstance(n, ast.Name)}
    return bool(given & PROTOCOLS) or any(
        isinstance(node, ast.Attribute) and _is_collaborator(node)
        for node in ast.walk(function.node)
    )


def _is_collaborator(node: ast.Attribute) -> bool:
    return node.attr in COLLABORATORS and _dotted(node.value).rpartition(".")[2] in {
        "tools",
        "self",
    }


def _reaching(functions: list[Function], seeds: set[str]) -> set[str]:
    """The functions that get to one of these, however long the way."""
    reaching = set(seeds)
    while True:
        found = {f.name for f in functions if any(n in reaching for _, n in f.callees(f.node))}
        if found <= reaching:
            return reaching
        reaching |= found


def _transactions(node: ast.AST) -> Iterator[ast.Module]:
    """The bodies of ``with ….transaction(…)`` and ``with ….reading(…)``."""
    for found in ast.walk(node):
        if isinstance(found, ast.With) and any(
            isinstance(item.context_expr, ast.Call)
            and _dotted(item.context_expr.func).endswith((".transaction", ".reading"))
            for item in found.items
        ):
            yield ast.Module(body=found.body, type_ignores=[])


def _touching(body: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Gateways and the doorbell, used by name."""
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute) and _is_collaborator(node):
            yield node, node.attr
        elif isinstance(node, ast.Call) and _dotted(node.func).endswith("doorbell.ring"):
            yield node, "doorbell.ring"
