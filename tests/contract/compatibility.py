"""Whether a document still serves the clients of an older one. Every breach is one sentence."""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def breaches(old: Document, new: Document) -> list[str]:
    """What a client of ``old`` would stumble over in ``new``; empty = nothing."""
    return [*_head(old, new), *_operations(old, new), *_schemas(old, new)]


def named(document: Document) -> set[str]:
    """Everything in a document that a client can come to need, each by a name."""
    return {*_names_of_operations(document), *_names_of_schemas(document)}


def _names_of_operations(document: Document) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method == "parameters":
                continue
            name = f"{method.upper()} {path}"
            yield name
            for parameter in [*methods.get("parameters", []), *operation.get("parameters", [])]:
                yield f"{name} {parameter['in']} {parameter['name']}"
            for status, response in operation["responses"].items():
                yield f"{name} {status}"
                yield from (f"{name} {status} {header}" for header in response.get("headers", {}))


def _names_of_schemas(document: Document) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield from _names_in(name, schema)
        for member, shape in schema.get("properties", {}).items():
            yield from _names_in(f"{name}.{member}", shape)


def _names_in(name: str, shape: Document) -> Iterator[str]:
    """Of what stands there, of its items, and of what stands under names that are nobody's."""
    yield name
    if "items" in shape:
        yield from _names_in(f"{name}[]", shape["items"])
    if isinstance(shape.get("additionalProperties"), dict):
        yield from _names_in(f"{name}.*", shape["additionalProperties"])


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
        else:
            yield from _response(f"{name}: {status}", response, said)
    if _body(before.get("requestBody", {})) != _body(now.get("requestBody", {})):
        yield f"{name}: the request body is another"


def _response(name: str, before: Document, now: Document) -> Iterator[str]:
    if _body(before) != _body(now):
        yield f"{name} answers {_body(now)}, was {_body(before)}"
    lost = set(before.get("content", {})) - set(now.get("content", {}))
    yield from (f"{name} is no longer told as {kind}" for kind in sorted(lost))
    for header, told in before.get("headers", {}).items():
        said = now.get("headers", {}).get(header, {}).get("schema")
        yield from _member(f"{name} {header}", told["schema"], said, is_request=False)


def _parameters(name: str, before: list[Document], now: list[Document]) -> Iterator[str]:
    """Parameters of a path may stand at the path or at its operations."""
    known = {(parameter["in"], parameter["name"]): parameter for parameter in before}
    there = {(parameter["in"], parameter["name"]): parameter for parameter in now}
    for key, parameter in known.items():
        said = there.get(key, {}).get("schema")
        yield from _member(f"{name} {' '.join(key)}", parameter["schema"], said, is_request=True)
    for key, parameter in there.items():
        was_demanded = known.get(key, {}).get("required", False)
        if parameter.get("required", False) and not was_demanded:
            yield f"{name} {' '.join(key)} is demanded now"


def _body(holder: Document) -> str | None:
    schema = holder.get("content", {}).get("application/json", {}).get("schema", {})
    reference = schema.get("$ref")
    return reference.rsplit("/", 1)[-1] if reference else None


def _schemas(old: Document, new: Document) -> Iterator[str]:
    now = new["components"]["schemas"]
    asked = _asked(old)
    for name, before in old["components"]["schemas"].items():
        if name not in now:
            yield f"schema {name} is gone"
        else:
            yield from _schema(name, before, now[name], is_request=name in asked)


def _asked(document: Document) -> set[str]:
    """The schemas that callers fill in, also those inside of others."""
    found: set[str] = set()
    waiting = [
        name
        for methods in document["paths"].values()
        for operation in methods.values()
        for name in _referred(operation.get("requestBody", {}))
    ]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_referred(document["components"]["schemas"][name]))
    return found


def _referred(node: Any) -> Iterator[str]:
    """The schemas that are named anywhere in a part of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rsplit("/", 1)[-1]
        for inner in node.values():
            yield from _referred(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _referred(inner)


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
        if is_request:
            yield from _choices(name, before, now)
            yield from _limits(name, before, now)
        else:
            yield from _values(name, before, now)
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


def _choices(name: str, before: Document, now: Document) -> Iterator[str]:
    """What callers may send, and what is taken when they send nothing."""
    known, there = set(before.get("enum", [])), set(now.get("enum", []))
    if there and not known:
        yield f"{name}: only some values are taken now"
    elif there:
        yield from (f"{name}: the value {lost} is gone" for lost in sorted(known - there))
    if "default" in before and before["default"] != now.get("default"):
        yield f"{name}: its default is {now.get('default')}, was {before['default']}"


HIGHEST = ("maxLength", "maximum", "maxItems", "maxProperties")
LOWEST = ("minLength", "minimum", "minItems", "minProperties")


def _limits(name: str, before: Document, now: Document) -> Iterator[str]:
    """What was taken is taken: no limit is narrower, and there is none where none was."""
    for limit in (*HIGHEST, *LOWEST):
        if limit in now and not _has_room(limit, before.get(limit), now[limit]):
            yield f"{name}: {limit} is {now[limit]}, was {before.get(limit)}"
    if "pattern" in now and now["pattern"] != before.get("pattern"):
        yield f"{name}: it has another pattern"


def _has_room(limit: str, before: float | None, now: float) -> bool:
    if before is None:
        return False
    return now >= before if limit in HIGHEST else now <= before


def _others(name: str, before: Document, now: Document, *, is_request: bool) -> Iterator[str]:
    """Members that are not listed: allowed or not, and of which shape."""
    allowed, there = before.get("additionalProperties", True), now.get("additionalProperties", True)
    is_said = is_request or "additionalProperties" in before
    if is_said and (allowed is False) != (there is False):
        yield f"{name}: other members are {'refused' if there is False else 'taken'} now"
    elif isinstance(allowed, dict) and isinstance(there, dict):
        yield from _member(f"{name}.*", allowed, there, is_request=is_request)
