"""Everything that can go wrong outside, as data: armed by a test, applied in one place."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from local.stand_in.wire import Client, Ending, Reply, json_reply

HTML_PAGE = "<!doctype html><title>Bad gateway</title><h1>502 Bad gateway</h1>"
CLIENT_CHECK_SECONDS = 0.1


class FaultKind(StrEnum):
    STATUS = "status"
    """Answer ``status``, with ``retry_after`` as header and ``text`` as the error's text."""
    DELAY = "delay"
    """Wait ``seconds``, then go on."""
    HOLD = "hold"
    """Wait until released, then go on; nothing is done for a client that has left by then."""
    HANG = "hang"
    """Never answer: wait until the client leaves."""
    RESET = "reset"
    """Reset the connection without an answer."""
    TRUNCATED = "truncated"
    """Answer the first half of the JSON. What was asked for is done."""
    BODY = "body"
    """Answer 200 with ``text``, or with a page of HTML."""

    PAYMENT_PENDING = "payment_pending"
    """lnbits.pay: 201 pending; at the ``reads``-th read it becomes what ``then`` says."""
    PAYMENT_FAILED = "payment_failed"
    """lnbits.pay: no route; 520, and the row is failed for good."""
    DUPLICATED_ROWS = "duplicated_rows"
    """lnbits.feed: every row twice."""
    REORDERED_ROWS = "reordered_rows"
    """lnbits.feed: the page from its end."""
    MISSING_ROW = "missing_row"
    """lnbits.feed: without the row whose hash is ``text``, or without the first one."""
    STALE_ROWS = "stale_rows"
    """lnbits.feed: without what changed in the last ``seconds``, as if from a cache."""
    SLOW_NODE = "slow_node"
    """lnbits.states: the node takes ``seconds`` for each open row that it is asked about."""

    REFUSAL = "refusal"
    """Models: the safety policy declines."""
    MAX_TOKENS = "max_tokens"
    """Models: the answer is cut at the cap, every token of which is billed."""
    EMPTY = "empty"
    """Models: done, without a word."""
    UNREADABLE = "unreadable"
    """Models: an answer that does not fit the schema."""

    ERROR_INSIDE = "error_inside"
    """openrouter.chat: 200 with an error of code ``status`` in the body."""
    ERROR_IN_CHOICE = "error_in_choice"
    """openrouter.chat: 200 with half an answer, and an error beside it."""
    NO_CHOICES = "no_choices"
    """openrouter.chat: 200 with an empty list of choices."""

    DECLINED = "declined"
    """lnurl: 200 with ``{"status": "ERROR"}`` and ``text`` as the reason; x402: so too."""
    LIMITS = "limits"
    """lnurl.terms: takes a million sats and nothing else."""
    WRONG_AMOUNT = "wrong_amount"
    """lnurl.invoice: for one sat more than was asked."""
    WRONG_NETWORK = "wrong_network"
    """lnurl.invoice: for the main network."""
    WRONG_METADATA = "wrong_metadata"
    """lnurl.invoice: bound to other metadata than was shown."""

    SETTLEMENT_PENDING = "settlement_pending"
    """x402.settle: sent, and not mined yet; ``after_effect`` says whether it ever is."""
    LIE = "lie"
    """x402: yes to everything, and nothing is done."""


ANSWERED_DIFFERENTLY = frozenset(
    {
        FaultKind.PAYMENT_PENDING,
        FaultKind.PAYMENT_FAILED,
        FaultKind.DUPLICATED_ROWS,
        FaultKind.REORDERED_ROWS,
        FaultKind.MISSING_ROW,
        FaultKind.STALE_ROWS,
        FaultKind.SLOW_NODE,
        FaultKind.REFUSAL,
        FaultKind.MAX_TOKENS,
        FaultKind.EMPTY,
        FaultKind.UNREADABLE,
        FaultKind.ERROR_INSIDE,
        FaultKind.ERROR_IN_CHOICE,
        FaultKind.NO_CHOICES,
        FaultKind.DECLINED,
        FaultKind.LIMITS,
        FaultKind.WRONG_AMOUNT,
        FaultKind.WRONG_NETWORK,
        FaultKind.WRONG_METADATA,
        FaultKind.SETTLEMENT_PENDING,
        FaultKind.LIE,
    }
)
"""Kinds that change the answer itself: the part that answers is told, and does it."""


class PaymentEnd(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"


TARGETS = (
    "lnbits.create",
    "lnbits.pay",
    "lnbits.read",
    "lnbits.states",
    "lnbits.feed",
    "lnbits.wallet",
    "lnbits.version",
    "lnbits.health",
    "anthropic",
    "anthropic_models",
    "openai",
    "openrouter.models",
    "openrouter.key",
    "openrouter.chat",
    "feed.coingecko",
    "feed.kraken",
    "feed.coinbase",
    "feed.bitstamp",
    "feed.mempool",
    "lnurl.terms",
    "lnurl.invoice",
    "upstream",
    "x402.verify",
    "x402.settle",
    "x402.rpc",
)
_GROUPS = ("lnbits", "feed", "lnurl", "openrouter", "x402")
_TARGET_PATTERN = "^(" + "|".join([*TARGETS, *_GROUPS]).replace(".", r"\.") + ")$"


class Fault(BaseModel):
    """One thing that will go wrong. On the wire in camelCase."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    target: Annotated[str, Field(pattern=_TARGET_PATTERN)]
    """Where: one of ``TARGETS``, or ``lnbits``, ``feed``, ``lnurl``, ``openrouter`` or ``x402``."""
    kind: FaultKind
    times: Annotated[int, Field(ge=1)] = 1
    """How many requests it hits."""
    match: str = ""
    """Hits only requests with this in the prompt (models), the key (where a key is asked about), or
    path, query and body (the rest).
    """
    structured: bool | None = None
    """Models: True hits only calls with a JSON schema, False only calls without."""
    after_effect: bool = False
    """Whether what was asked for is done before the trouble starts."""
    status: Annotated[int, Field(ge=200, le=599)] = 500
    retry_after: str | None = None
    text: str = ""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    reads: Annotated[int, Field(ge=1)] = 1
    then: PaymentEnd = PaymentEnd.SUCCESS
    fee_msats: Annotated[int, Field(ge=0)] = 1000

    def hits(self, errand: "Errand") -> bool:
        return (
            (errand.target == self.target or errand.target.startswith(self.target + "."))
            and self.match in errand.subject
            and self.structured in (None, errand.structured)
        )


def in_no_dialect(fault: Fault) -> Reply:
    """How most targets word a STATUS fault."""
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    body = {"error": fault.text or "The stand-in was told to fail."}
    return json_reply(body, status=fault.status, headers=headers)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What is being asked, as far as a fault wants to know."""

    target: str
    subject: str
    client: Client
    error: Callable[[Fault], Reply] = in_no_dialect
    """How the target words a STATUS fault."""
    structured: bool | None = None
    note: Callable[[Fault], None] = lambda _: None
    """Told which fault hits it."""


class ClientLeft(Exception):
    """The client did not wait for its answer."""


@dataclass
class Holds:
    """Requests that wait to be released, so that a test can act in the middle of a call."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waiting: set[threading.Event] = field(default_factory=set)

    def wait(self, client: Client) -> None:
        """Block until released. Raises ClientLeft."""
        released = threading.Event()
        self._change(self._waiting.add, released)
        try:
            while not released.wait(CLIENT_CHECK_SECONDS):
                if client.is_gone():
                    raise ClientLeft
        finally:
            self._change(self._waiting.discard, released)

    def _change(self, change: Callable[[threading.Event], None], held: threading.Event) -> None:
        with self._changed:
            change(held)
            self._changed.notify_all()

    def release(self) -> int:
        """Let every waiting request go on, and say how many. From now on they wait no more."""
        with self._changed:
            waiting = list(self._waiting)
            self._waiting.clear()
        for released in waiting:
            released.set()
        return len(waiting)

    def wait_for(self, count: int, *, seconds: float) -> int:
        """Wait until ``count`` requests are held, or for ``seconds``; say how many are."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= count, timeout=seconds)
            return len(self._waiting)


class Faults:
    """The armed faults, first armed first; who is spared by them asks ``by_chance``."""

    def __init__(self, by_chance: Callable[[Errand], Fault | None] = lambda _: None) -> None:
        self.holds = Holds()
        self._by_chance = by_chance
        self._lock = threading.Lock()
        self._armed: list[Fault] = []
        self._world = 0

    def begin_world(self) -> None:
        """Forget everything. Who has been made to wait until now leaves without an effect."""
        with self._lock:
            self._world += 1
        self.disarm()
        self.release()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(fault)

    def disarm(self) -> None:
        with self._lock:
            self._armed.clear()

    def release(self) -> int:
        """Forget about holding, and let go what is held."""
        with self._lock:
            self._armed = [fault for fault in self._armed if fault.kind is not FaultKind.HOLD]
        return self.holds.release()

    def armed(self) -> list[Fault]:
        with self._lock:
            return list(self._armed)

    def run(self, errand: Errand, act: Callable[[Fault | None], Reply]) -> Reply:
        """Do what was asked, spoilt by the first armed fault that hits it."""
        world = self._world
        fault = self._take(errand) or self._by_chance(errand)
        if fault is None:
            return act(None)
        errand.note(fault)
        if fault.kind in ANSWERED_DIFFERENTLY:
            return act(fault)
        done = act(None) if fault.after_effect else None
        self._wait(fault, errand.client)
        if world != self._world:
            raise ClientLeft
        return self._spoil(fault, errand, lambda: done or act(None))

    def _take(self, errand: Errand) -> Fault | None:
        with self._lock:
            for position, fault in enumerate(self._armed):
                if fault.hits(errand):
                    left = [replace_times(fault)] if fault.times > 1 else []
                    self._armed[position : position + 1] = left
                    return fault
        return None

    def _wait(self, fault: Fault, client: Client) -> None:
        if fault.seconds:
            threading.Event().wait(fault.seconds)
        if fault.kind is FaultKind.HOLD:
            self.holds.wait(client)
        if fault.kind is FaultKind.HANG:
            client.wait_until_gone()

    def _spoil(self, fault: Fault, errand: Errand, done: Callable[[], Reply]) -> Reply:
        match fault.kind:
            case FaultKind.STATUS:
                return errand.error(fault)
            case FaultKind.HANG:
                return Reply(ending=Ending.VANISH)
            case FaultKind.RESET:
                return Reply(ending=Ending.RESET)
            case FaultKind.BODY:
                return Reply(body=(fault.text or HTML_PAGE).encode(), content_type="text/html")
            case FaultKind.TRUNCATED:
                whole = done()
                return replace(whole, body=whole.body[: len(whole.body) // 2])
            case _:
                return done()


def replace_times(fault: Fault) -> Fault:
    """The same fault, with one hit less to come."""
    return fault.model_copy(update={"times": fault.times - 1})
