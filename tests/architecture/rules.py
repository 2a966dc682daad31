"""Rules of the house as functions: each takes modules and says where they are broken."""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeGuard

from models import tables
from models.database import Base
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

WITH_A_STATE = {table.name for table in tables.metadata.tables.values() if "state" in table.columns}
STATEFUL = frozenset(
    mapper.class_.__name__
    for mapper in Base.registry.mappers
    if mapper.class_.__tablename__ in WITH_A_STATE
)
WRITES = frozenset(
    {"values", "ordered_values", "from_select", "on_conflict_do_update", "update"}
    | {"bulk_insert_mappings", "bulk_update_mappings"}
)
EXECUTES = frozenset({"execute", "scalar", "scalars"})
SETTERS = frozenset({"setattr", "set_attribute", "set_committed_value"})
SQL_THAT_WRITES_A_STATE = re.compile(
    r"""\bUPDATE\b (?:(?!\bWHERE\b).)* \bSET\b (?:(?!\bWHERE\b).)* \bstate"?\s*=
    | \bUPDATE\b (?:(?!\bWHERE\b).)* \bSET\s*\([^)]*\bstate\b
    | \bINSERT\s+INTO\b [^(]*\([^)]*\bstate\b""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
WRITERS_OF_STATES = (
    *("models/moves.py", "models/run_moves.py"),
    *("models/money_moves.py", "models/return_moves.py"),
)
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
JUDGES = ("tests/app/contract.py", "tests/support/wire.py")
ASK_OTHERS = (
    *("tests/stand_in/", "tests/app/test_creating_jobs.py", "tests/journeys/caller.py"),
    *("tests/lnbits/server.py", "tests/lnbits/wallet.py", "tests/weather/test_other_lnbits.py"),
    *("tests/lnbits/test_receivers.py", "tests/lnbits/test_rig.py"),
    *("tests/x402/chain.py", "tests/x402/facilitator.py", "tests/x402/shops.py"),
    "tests/local/test_supervisor.py",  # what it asks is no part of the product
    "tests/x402/purchases.py",  # hands what is ours to the judge
    "tests/app/test_errors.py",  # a host that is no host has undocumented answers
)
"""Who speaks HTTP to somebody else, or has a reason of its own."""
HTTP_CLIENTS = ("requests", "httpx", "aiohttp", "urllib.request", "http.client.HTTPConnection")
ASKING = frozenset(
    {
        *("get", "post", "put", "patch", "delete", "head", "options", "request", "urlopen"),
        *("Session", "session", "Client", "AsyncClient", "ClientSession", "HTTPConnection"),
    }
)
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "misc"})


def states_written_elsewhere(modules: Iterable[Module]) -> list[str]:
    """Only ``models.moves`` and its like write a state: no move escapes its guard."""
    return [
        module.at(node)
        for module in modules
        if module.path not in WRITERS_OF_STATES and "migrations" not in module.path
        for node in module.nodes
        if _assigns_state(node)
        or _says_it_in_sql(node)
        or (isinstance(node, ast.Call) and _hands_state_over(node, module))
    ]


def _assigns_state(node: ast.AST) -> bool:
    return _is_attribute(node, "state") and not isinstance(node.ctx, ast.Load)


def _says_it_in_sql(node: ast.AST) -> bool:
    if not isinstance(node, (ast.Constant, ast.JoinedStr)):
        return False
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    said = [part.value if isinstance(part, ast.Constant) else "x" for part in parts]
    return bool(SQL_THAT_WRITES_A_STATE.search("".join(map(str, said))))


def _hands_state_over(call: ast.Call, module: Module) -> bool:
    """Whether it is ``….values(state=…)``, ``Job(state=…)`` or ``setattr(job, "state", …)``."""
    name = _called(call, module)
    if name in SETTERS:
        return any(_is_text(argument, "state") for argument in call.args)
    if name in EXECUTES:
        return not _only_reads(call) and any(map(_names_state, _given(call)[1:]))
    if name not in WRITES | STATEFUL:
        return False
    return _has_keyword(call, "state") or any(map(_names_state, _given(call)))


def _called(call: ast.Call, module: Module) -> str:
    """The last part of what is called, by its own name and not by one it was imported as."""
    head, _, rest = dotted(call.func).partition(".")
    full = f"{bound_by_imports(module).get(head, head)}.{rest}"
    return full.rstrip(".").rpartition(".")[2]


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _only_reads(execution: ast.Call) -> bool:
    """Whether its statement stands there and changes nothing: the rest is what it looks for."""
    inner = {called_name(node) for node in ast.walk(execution) if isinstance(node, ast.Call)}
    return bool(inner & {"select", "text"}) and not inner & {"insert", "update"}


def _has_keyword(call: ast.Call, name: str) -> bool:
    return any(keyword.arg == name for keyword in call.keywords)


def _names_state(given: ast.expr) -> bool:
    """Whether a dict has this key, or a row of columns this name, however deep inside."""
    return any(_is_state(name) for node in ast.walk(given) for name in _names_in(node))


def _names_in(node: ast.AST) -> Sequence[ast.expr | None]:
    if isinstance(node, ast.Dict):
        return node.keys
    if isinstance(node, (ast.Tuple, ast.List)):
        return node.elts
    if isinstance(node, ast.Call) and called_name(node) == "dict":
        return [ast.Constant(keyword.arg) for keyword in node.keywords]
    return []


def _is_state(node: ast.expr | None) -> bool:
    """A column's name, as text or as a column."""
    return node is not None and (_is_text(node, "state") or _is_attribute(node, "state"))


def _is_attribute(node: ast.AST, name: str) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and node.attr == name


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


def answers_nobody_judges(modules: Iterable[Module]) -> list[str]:
    """Our doors are asked by ``client_of`` and ``wire``, which hold answers against the document.

    What asks somebody else's is in ``ASK_OTHERS``.
    """
    return [
        module.at(call)
        for module in modules
        if not module.path.startswith((*JUDGES, *ASK_OTHERS))
        for bound in [bound_by_imports(module)]
        for call in calls(module)
        if called_name(call) in {"test_client", "FlaskClient"}
        or _asks_over_http(dotted(call.func), bound)
    ]


def _asks_over_http(called: str, bound: Mapping[str, str]) -> bool:
    names = [
        full + called.removeprefix(name) for name, full in bound.items() if within(called, [name])
    ]
    return any(within(name, HTTP_CLIENTS) and name.rpartition(".")[2] in ASKING for name in names)


def vague_names(modules: Iterable[Module]) -> list[str]:
    """A module is named for what is in it."""
    return [module.path for module in modules if VAGUE_NAMES & set(module.name.split("."))]
