"""Whether a document still serves the clients of an older one. Every breach is one sentence."""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def breaches(old: Document, new: Document) -> list[str]:
    """What a client of ``old`` would stumble over in ``new``; empty = nothing."""
    return [*_head(old, new), *_operations(old, new), *_schemas(old, new)]


def _head(old: Document, new: Document) -> Iterator[str]:
    if old["info"]["title"] != new["info"]["title"]:
        yield "the title has changed"
    if [server["url"] for server in old["servers"]] != [server["url"] for server in new["servers"]]:
        yield "the server has changed"
    missing = {tag["name"] for tag in old["tags"]} - {tag["name"] for tag in new["tags"]}
    yield from (f"tag {tag} is gone" for tag in sorted(missing))


def _operations(old: Document, new: Document) -> Iterator[str]:
    for path, methods in old["paths"].items():
        for method, before in methods.items():
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                yield f"{method.upper()} {path} is gone"
            else:
                name = f"{method.upper()} {path}"
                yield from _operation(name, before, now)
                shared = new["paths"][path].get("parameters", [])
                parameters = [*shared, *now.get("parameters", [])]
                yield from _parameters(name, before.get("parameters", []), parameters)


def _operation(name: str, before: Document, now: Document) -> Iterator[str]:
    for member in ("operationId", "tags"):
        if before[member] != now.get(member):
            yield f"{name}: {member} is {now.get(member)}, was {before[member]}"
    for status, response in before["responses"].items():
        said = now["responses"].get(status)
        if said is None:
            yield f"{name}: {status} is no longer documented"
        elif _body(response) != _body(said):
            yield f"{name}: {status} answers {_body(said)}, was {_body(response)}"
    if _body(before.get("requestBody", {})) != _body(now.get("requestBody", {})):
        yield f"{name}: the request body is another"


def _parameters(name: str, before: list[Document], now: list[Document]) -> Iterator[str]:
    """Parameters of a path may stand at the path or at its operations."""
    known = {parameter["name"] for parameter in before}
    there = {parameter["name"]: parameter.get("required", False) for parameter in now}
    yield from (f"{name}: parameter {gone} is gone" for gone in sorted(known - set(there)))
    yield from (
        f"{name}: parameter {extra} is demanded now"
        for extra, is_required in there.items()
        if is_required and extra not in known
    )


def _body(holder: Document) -> str | None:
    schema = holder.get("content", {}).get("application/json", {}).get("schema", {})
    reference = schema.get("$ref")
    return reference.rsplit("/", 1)[-1] if reference else None


def _schemas(old: Document, new: Document) -> Iterator[str]:
    now = new["components"]["schemas"]
    asked = {
        _body(operation["requestBody"])
        for methods in old["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    }
    for name, before in old["components"]["schemas"].items():
        if name not in now:
            yield f"schema {name} is gone"
        else:
            yield from _schema(name, before, now[name], is_request=name in asked)


def _schema(name: str, before: Document, now: Document, *, is_request: bool) -> Iterator[str]:
    if before["type"] != now.get("type"):
        yield f"{name} is {now.get('type')}, was {before['type']}"
    if before.get("enum") and before["enum"] != now.get("enum"):
        yield f"{name}: its values have changed"
    for member, shape in before.get("properties", {}).items():
        yield from _member(f"{name}.{member}", shape, now.get("properties", {}).get(member))
    demanded, promised = set(now.get("required", [])), set(before.get("required", []))
    if is_request:
        yield from (f"{name}.{extra} is demanded now" for extra in sorted(demanded - promised))
    else:
        yield from (f"{name}.{lost} is promised no more" for lost in sorted(promised - demanded))


def _member(name: str, before: Document, now: Document | None) -> Iterator[str]:
    if now is None:
        yield f"{name} is gone"
    elif "$ref" in before:
        if before["$ref"] != now.get("$ref"):
            yield f"{name} refers to {now.get('$ref')}, was {before['$ref']}"
    elif before["type"] != now.get("type"):
        yield f"{name} is {now.get('type')}, was {before['type']}"
    elif before.get("enum") and set(before["enum"]) != set(now.get("enum", [])):
        yield f"{name}: its values have changed"
