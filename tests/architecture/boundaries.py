"""Nothing gets to the database or outside except where a failpoint can stand.

Tests wrap the Toolbox (tests/matrix/failpoints.py): what went another way would have no point.
"""

import ast
from collections.abc import Iterable

from tests.architecture.source import Module, called_name, calls, imported, within

DATABASE = ("models/database.py", "models/migrate.py", "models/migrations/")
TOOLBOX = "services/toolbox.py"
WAYS_INTO_A_DATABASE = frozenset({"create_engine", "sessionmaker", "scoped_session", "Session"})
WAYS_OUTSIDE = ("gateways.http", "gateways.connections", "gateways.deadline")


def databases_entered_past_the_transaction(modules: Iterable[Module]) -> list[str]:
    """Only ``Database.transaction`` opens a session, and only the Toolbox makes a Database."""
    return [
        module.at(node)
        for module in modules
        if not module.path.startswith((*DATABASE, "gateways/"))
        for node in module.nodes
        if _is_engine(node) or (isinstance(node, ast.Call) and _enters(node, module))
    ]


def _is_engine(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "engine"


def _enters(call: ast.Call, module: Module) -> bool:
    name = called_name(call)
    return name in WAYS_INTO_A_DATABASE or (name == "Database" and module.path != TOOLBOX)


def gateways_past_the_toolbox(modules: Iterable[Module]) -> list[str]:
    """Whoever wants to go outside is handed a gateway; nobody makes a connection of his own."""
    return [
        module.at(node)
        for module in modules
        if not module.path.startswith("gateways/") and module.path != TOOLBOX
        for node, name in imported(module)
        if within(name, WAYS_OUTSIDE)
    ]


def unnamed_transactions(modules: Iterable[Module]) -> list[str]:
    """A transaction's name is its points' name: it must be told."""
    return [
        module.at(call)
        for module in modules
        for call in calls(module)
        if called_name(call) in {"transaction", "reading"} and not (call.args or call.keywords)
    ]
