"""Rules of the house as functions: each takes modules and says where they are broken."""

import ast
from collections.abc import Callable, Iterable, Mapping

from tests.architecture.source import (
    Module,
    bound_by_imports,
    called_name,
    calls,
    dotted,
    imported,
    within,
)

Rule = Callable[[Iterable[Module]], list[str]]

STATEFUL = ("Job", "Payout", "Debt", "DemoRun", "RefundDestination", "Run")
WRITERS_OF_STATES = ("models/moves.py", "models/run_moves.py")
ENTRY_POINTS = (
    *("app/wsgi.py", "workers/celery_app.py", "workers/beat.py", "workers/command.py"),
    *("models/migrate.py", "models/migrations/env.py", "local/"),
)
ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb"})
NEVER_GIVEN_TO_CELERY = frozenset(
    {"eta", "countdown", "acks_late", "autoretry_for", "max_retries", "retry_backoff", "bind"}
)
NEVER_CALLED_OF_CELERY = frozenset({"retry", "apply_async", "delay"})
OUTSIDE_LIBRARIES = (
    *("requests", "urllib3", "httpx", "httpx2", "aiohttp", "anthropic", "openai"),
    *("urllib.request", "http.client", "socket", "ssl", "smtplib", "asyncio", "subprocess"),
)
HOSTS_CLOCKS = frozenset({"now", "utcnow", "today", "time", "time_ns", "sleep"})
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "misc"})


def states_written_elsewhere(modules: Iterable[Module]) -> list[str]:
    """Only ``models.moves`` and ``models.run_moves`` write a state: no move escapes its guard."""
    return [
        module.at(node)
        for module in modules
        if module.path not in WRITERS_OF_STATES and "migrations" not in module.path
        for node in module.nodes
        if _assigns_state(node) or (isinstance(node, ast.Call) and _hands_state_over(node))
    ]


def _assigns_state(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    else:
        return False
    return any(
        isinstance(found, ast.Attribute) and found.attr == "state"
        for target in targets
        for found in ast.walk(target)
    )


def _hands_state_over(call: ast.Call) -> bool:
    """Whether it is ``….values(state=…)``, ``Job(state=…)`` or ``setattr(job, "state", …)``."""
    name = called_name(call)
    if name == "setattr":
        return any(_is_text(argument, "state") for argument in call.args)
    if name not in {"values", *STATEFUL}:
        return False
    by_keyword = any(keyword.arg == "state" for keyword in call.keywords)
    return by_keyword or any(_has_key(argument, "state") for argument in call.args)


def _has_key(node: ast.expr, name: str) -> bool:
    """Whether a dict display has this key, as text or as a column."""
    if not isinstance(node, ast.Dict):
        return False
    return any(
        key is not None
        and (_is_text(key, name) or (isinstance(key, ast.Attribute) and key.attr == name))
        for key in node.keys
    )


def _is_text(node: ast.expr, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def environment_read(modules: Iterable[Module]) -> list[str]:
    """The environment is read at entry points; everything else is handed ``Settings``."""
    return [
        module.at(node)
        for module in modules
        if not module.path.startswith(ENTRY_POINTS)
        for node in module.nodes
        if _reads_environment(node)
    ]


def _reads_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        of_os = isinstance(node.value, ast.Name) and node.value.id == "os"
        return of_os and node.attr in ENVIRONMENT
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(name.name in ENVIRONMENT for name in node.names)
    return False


def retries_left_to_celery(modules: Iterable[Module]) -> list[str]:
    """Later is a ``due_at`` in the row: no message with a time, no retry, no late ack."""
    return [
        module.at(call)
        for module in modules
        if not module.path.startswith("gateways/")  # SDKs are told not to try again
        for call in calls(module)
        if (isinstance(call.func, ast.Attribute) and call.func.attr in NEVER_CALLED_OF_CELERY)
        or any(keyword.arg in NEVER_GIVEN_TO_CELERY for keyword in call.keywords)
    ]


def calls_past_the_gateways(modules: Iterable[Module]) -> list[str]:
    """What can reach the outside is imported by gateways only."""
    return [
        module.at(statement)
        for module in modules
        if not module.path.startswith("gateways/")
        for statement, name in imported(module)
        if within(name, OUTSIDE_LIBRARIES)
    ]


def hosts_clocks(modules: Iterable[Module]) -> list[str]:
    """No host's clock decides about money or jobs: ``func.now()`` does."""
    return [
        module.at(call)
        for module in modules
        if module.path.startswith(("models/", "services/", "tasks/", "app/", "workers/"))
        for call in calls(module)
        if _is_hosts_clock(dotted(call.func), bound_by_imports(module))
    ]


def _is_hosts_clock(called: str, bound: Mapping[str, str]) -> bool:
    head, _, rest = called.partition(".")
    home, _, name = f"{bound.get(head, head)}.{rest}".rstrip(".").partition(".")
    return home in {"datetime", "date", "time"} and name.rpartition(".")[2] in HOSTS_CLOCKS


def floats_near_money(modules: Iterable[Module]) -> list[str]:
    """Money is Decimal or whole units."""
    return [
        module.at(node)
        for module in modules
        if module.path.startswith(("services/money/", "models/")) and "resting" not in module.path
        for node in module.nodes
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Call) and called_name(node) in {"float", "Float"})
    ]


def vague_names(modules: Iterable[Module]) -> list[str]:
    """A module is named for what is in it."""
    return [module.path for module in modules if VAGUE_NAMES & set(module.name.split("."))]
