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
    yield from _shape(name, before, now, is_request=is_request)
    for member, shape in before.get("properties", {}).items():
        said = now.get("properties", {}).get(member)
        yield from _member(f"{name}.{member}", shape, said, is_request=is_request)
    demanded, promised = set(now.get("required", [])), set(before.get("required", []))
    if is_request:
        yield from (f"{name}.{extra} is demanded now" for extra in sorted(demanded - promised))
    else:
        yield from (f"{name}.{lost} is promised no more" for lost in sorted(promised - demanded))


def _member(
    name: str, before: Document, now: Document | None, *, is_request: bool
) -> Iterator[str]:
    if now is None:
        yield f"{name} is gone"
    else:
        yield from _shape(name, before, now, is_request=is_request)


def _shape(name: str, before: Document, now: Document, *, is_request: bool) -> Iterator[str]:
    """What may stand there: also in its items, and under names that are nobody's."""
    if _references(before) != _references(now):
        yield f"{name} refers to {_references(now)}, was {_references(before)}"
    elif "type" in before and before["type"] != now.get("type"):
        yield f"{name} is {now.get('type')}, was {before['type']}"
    else:
        yield from _values(name, before, now)
        if is_request:
            yield from _limits(name, before, now)
        if "items" in before:
            items = now.get("items")
            yield from _member(f"{name}[]", before["items"], items, is_request=is_request)
        yield from _others(name, before, now, is_request=is_request)


def _references(shape: Document) -> list[str]:
    choices = [shape, *shape.get("anyOf", [])]
    return sorted(choice["$ref"] for choice in choices if "$ref" in choice)


def _values(name: str, before: Document, now: Document) -> Iterator[str]:
    """Clients list values, and do not expect another; but for those that may grow."""
    known, there = set(before.get("enum", [])), set(now.get("enum", []))
    if before.get("x-may-grow"):
        yield from (f"{name}: the value {lost} is gone" for lost in sorted(known - there))
    elif known and known != there:
        yield f"{name}: its values have changed"


HIGHEST = ("maxLength", "maximum", "maxItems", "maxProperties")
LOWEST = ("minLength", "minimum", "minItems", "minProperties")


def _limits(name: str, before: Document, now: Document) -> Iterator[str]:
    """What was taken is taken. Of a limit that the older document does not state nobody knew."""
    for limit in (*HIGHEST, *LOWEST):
        if limit in before and limit in now:
            room = now[limit] - before[limit]
            if (room < 0) if limit in HIGHEST else (room > 0):
                yield f"{name}: {limit} is {now[limit]}, was {before[limit]}"
    if "pattern" in before and now.get("pattern", before["pattern"]) != before["pattern"]:
        yield f"{name}: it has another pattern"


def _others(name: str, before: Document, now: Document, *, is_request: bool) -> Iterator[str]:
    """Members that are not listed: allowed or not, and of which shape."""
    allowed, there = before.get("additionalProperties", True), now.get("additionalProperties", True)
    is_said = is_request or "additionalProperties" in before
    if is_said and (allowed is False) != (there is False):
        yield f"{name}: other members are {'refused' if there is False else 'taken'} now"
    elif isinstance(allowed, dict) and isinstance(there, dict):
        yield from _member(f"{name}.*", allowed, there, is_request=is_request)
