"""As little of an HTTP client as hundreds of callers need: one connection a request."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from local.processes import LOOPBACK


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``status`` 0: there was none; then ``trouble`` says why."""

    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    trouble: str = ""
    began: float
    """By this machine's clock, in seconds."""
    seconds: float

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


async def ask(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: dict[str, str] | None = None,
    patience: float,
) -> Answer:
    """Ask somebody on this machine; never raises for what goes wrong on the way."""
    began, clock = time.time(), time.perf_counter()
    try:
        async with asyncio.timeout(patience):
            raw = await _exchange(port, _request(method, path, body, headers or {}))
        status, heads, answer = _parse(raw)
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        name = type(error).__name__
        return Answer(trouble=name, began=began, seconds=time.perf_counter() - clock)
    return Answer(
        status=status,
        body=answer,
        headers=heads,
        began=began,
        seconds=time.perf_counter() - clock,
    )


async def _exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        return await _whole_answer(reader)
    finally:
        writer.close()


async def _whole_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _parse_head(head)[1].get("content-length")
    rest = await reader.readexactly(int(length)) if length is not None else await reader.read()
    return head + rest


def _request(method: str, path: str, body: object, headers: dict[str, str]) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = {
        "Host": LOOPBACK,
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}


def _parse(raw: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Raises ValueError for what is no answer, or no JSON object."""
    head, _, content = raw.partition(b"\r\n\r\n")
    status, headers = _parse_head(head)
    body = json.loads(content) if content else {}
    if not isinstance(body, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - one kind of trouble for callers
    return status, headers, body
