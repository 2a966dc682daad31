"""What each caller is going to do, drawn from the seed."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Payment(StrEnum):
    PROMPT = "prompt"
    NEVER = "never"
    LATE = "late"
    """Only after our deadline, while the invoice still lives on Lightning."""
    TOO_MUCH = "too_much"
    AFTER_CANCELLING = "after_cancelling"


class Claim(StrEnum):
    ONCE = "once"
    AGAIN = "again"
    """The same invoice, over and over."""
    BOTH_DOORS = "both_doors"
    """The same invoice at both doors at one moment."""
    TWO_INVOICES = "two_invoices"
    """Two invoices at both doors at one moment."""
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Plan:
    number: int
    request: str
    door: int
    evaluation: Payment
    work: Payment
    claim: Claim
    pause: float
    """Seconds before each payment."""
    extra_msats: int
    """What is paid too much."""
    has_receiver: bool
    """Wants refunds to go to a Lightning address by themselves."""


EVALUATION = {
    Payment.PROMPT: 92,
    Payment.NEVER: 2,
    Payment.LATE: 1,
    Payment.TOO_MUCH: 3,
    Payment.AFTER_CANCELLING: 2,
}
WORK = {
    Payment.PROMPT: 91,
    Payment.NEVER: 2,
    Payment.LATE: 1,
    Payment.TOO_MUCH: 4,
    Payment.AFTER_CANCELLING: 2,
}
CLAIM = {
    Claim.ONCE: 40,
    Claim.AGAIN: 20,
    Claim.BOTH_DOORS: 20,
    Claim.TWO_INVOICES: 15,
    Claim.NEVER: 5,
}
RECEIVERS = 0.15
WORDS = {"": 88, " REJECT": 6, " REFUSE": 6}
"""What makes the stand-in decline a request, or refuse the work."""


class Ware(StrEnum):
    """What the shop sells, by slug."""

    HAIKU = "haiku"
    TEXT = "text"
    ECHO = "echo"


class Showing(StrEnum):
    """How a payment for an instant resource is shown."""

    ONCE = "once"
    BOTH_DOORS = "both_doors"
    """At both doors at one moment."""
    EMPTY_HANDED = "empty_handed"
    """While the wallet is being emptied."""
    OWNER_TEST = "owner_test"
    """None at all: the creator tries it out."""


class Afterwards(StrEnum):
    """What a buyer does with a payment that has bought something."""

    AGAIN = "again"
    """The same payment, by whoever can show that it is theirs."""
    WITHOUT_PROOF = "without_proof"
    """The same payment, as anybody can read it on the chain."""
    ELSEWHERE = "elsewhere"
    """The same payment, for another resource."""


@dataclass(frozen=True, kw_only=True)
class Purchase:
    number: int
    ware: Ware
    words: str
    """Told by the buyer, and by nobody else."""
    door: int
    version: int
    """Of x402."""
    has_identifier: bool
    showing: Showing
    looks_at_status: bool
    """Asks how far it is; else shows the payment again."""
    afterwards: tuple[Afterwards, ...]


WARES = {Ware.HAIKU: 70, Ware.TEXT: 20, Ware.ECHO: 10}
SHOWING = {
    Showing.ONCE: 80,
    Showing.BOTH_DOORS: 10,
    Showing.EMPTY_HANDED: 5,
    Showing.OWNER_TEST: 5,
}
ATTACKS = (Afterwards.WITHOUT_PROOF, Afterwards.ELSEWHERE)


def beginnings(seed: int) -> tuple[str, str]:
    """Of whatever callers of this seed ask for: it stands in no log."""
    return f"Chaos {seed}, job ", f"Chaos {seed}, purchase "


def draw(seed: int, number: int) -> Plan:
    """The same for the same seed and number, always."""
    dice = random.Random(f"{seed}:caller:{number}")
    length = dice.choice((0, 0, 0, 600, 2500))
    word = dice.choices(*_weighted(WORDS))[0]
    begun, _ = beginnings(seed)
    return Plan(
        number=number,
        request=f"{begun}{number}: name a virtue.{word}{' and so on' * (length // 10)}",
        door=dice.randrange(2),
        evaluation=dice.choices(*_weighted(EVALUATION))[0],
        work=dice.choices(*_weighted(WORK))[0],
        claim=dice.choices(*_weighted(CLAIM))[0],
        pause=dice.choice((0.0, 0.0, 0.5, 2.0)),
        extra_msats=dice.choice((1, 999, 1000, 12_345)),
        has_receiver=dice.random() < RECEIVERS,
    )


def draw_purchase(seed: int, number: int) -> Purchase:
    """The same for the same seed and number, always."""
    dice = random.Random(f"{seed}:buyer:{number}")
    _, begun = beginnings(seed)
    return Purchase(
        number=number,
        ware=dice.choices(*_weighted(WARES))[0],
        words=f"{begun}{number}",
        door=dice.randrange(2),
        version=dice.choice((2, 2, 1)),
        has_identifier=dice.random() < 1 / 3,
        showing=dice.choices(*_weighted(SHOWING))[0],
        looks_at_status=dice.random() < 0.5,
        afterwards=dice.choice(((), (Afterwards.AGAIN,), ATTACKS, (*ATTACKS, Afterwards.AGAIN))),
    )


def _weighted(weights: dict[T, int]) -> tuple[list[T], list[int]]:
    return list(weights), list(weights.values())
