"""What is tried to get work for nothing, or money for nothing: each says what it got away with.

None = nothing. Every one of them works on a shop that trusts the official Flask middleware
(``servers.naive``), so that what is proved of the product is a defence, not an accident.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import requests

from tests.journeys.waiting import wait_until
from tests.support.x402_payer import Json, Payer, encoded, v2_headers
from tests.x402.purchases import ask, at_once, required, result_of
from tests.x402.rig import Rig
from tests.x402.shops import PRICE_MICROS, Shop

A_DOLLAR = 1_000_000
COPIES = 50
PURSES = 5
PAYER_LIMIT = 2
"""Runs that one payer may have unsettled: so much can be had on one purse, sealed, at most."""
LONGER_THAN_A_PAYMENT_SECONDS = 7200
ANOTHER_TOKEN = "0x" + "11" * 20

Attack = Callable[[Rig, Shop], str | None]


def copies_at_once(rig: Rig, shop: Shop) -> str | None:
    """Fifty copies of one payment, all at the same moment."""
    thing = shop.new_thing()
    paid = v2_headers(rig.payer(A_DOLLAR).v2(required(shop.url(thing))))

    answers = at_once([partial(ask, shop.url(thing), paid)] * COPIES)

    _follow_all(answers)
    return _made_too_often(shop, thing, at_most=1)


def spelled_in_other_ways(rig: Rig, shop: Shop) -> str | None:
    """One payment, spelled in every way that facilitators read, all at the same moment."""
    thing = shop.new_thing()
    payment = rig.payer(A_DOLLAR).v2(required(shop.url(thing)))

    works = [partial(ask, shop.url(thing), v2_headers(way)) for way in other_spellings(payment)]
    answers = at_once(works)

    _follow_all(answers)
    return _made_too_often(shop, thing, at_most=1)


def other_spellings(payment: Json) -> Iterator[Json]:
    """The same payment, and first of all as it was made."""
    authorization = payment["payload"]["authorization"]
    nonce, value = authorization["nonce"], authorization["value"]
    yield payment
    for changes in (
        {"nonce": "0x" + nonce[2:].upper()},
        {"nonce": nonce[2:]},
        {"nonce": f"{nonce[:12]} {nonce[12:]}"},
        {"value": f" {value[0]}_{value[1:]} "},
        {"value": int(value)},
        {"validBefore": f"{authorization['validBefore'][0]}_{authorization['validBefore'][1:]}"},
        {"memo": "of no meaning"},
    ):
        yield _with_payload(payment, authorization=authorization | changes)
    yield _with_payload(payment, signature="0x" + payment["payload"]["signature"][2:].upper())


def presented_elsewhere(rig: Rig, shop: Shop) -> str | None:
    """What was signed for one thing, shown where another one of the same price is sold."""
    thing, other = shop.new_thing(), shop.new_thing()
    payment = rig.payer(A_DOLLAR).v2(required(shop.url(thing)))

    ask(shop.url(other), v2_headers(payment))

    return _made_too_often(shop, other, at_most=0)


def one_cent_for_five(rig: Rig, shop: Shop) -> str | None:
    """Five payments out of a purse that has enough for one."""
    thing = shop.new_thing()
    payer = rig.payer(PRICE_MICROS)
    payments = [v2_headers(payer.v2(required(shop.url(thing)))) for _ in range(PURSES)]

    answers = at_once([partial(ask, shop.url(thing), paid) for paid in payments])
    wait_until("it is spent", lambda: rig.chain.balance(payer.address) == 0)

    with rig.chain.later(LONGER_THAN_A_PAYMENT_SECONDS):  # only then can the others be given up
        delivered = sum(_follow(answer) for answer in answers)
    if delivered > 1:
        return f"delivered {delivered} times for one cent"
    return _made_too_often(shop, thing, at_most=PAYER_LIMIT)


def forged(rig: Rig, shop: Shop) -> str | None:
    """What is not what was asked for, at a facilitator that says yes to everything."""
    thing = shop.new_thing()
    with rig.facilitator.broken(verify="lie", settle="lie"):
        for what, payment in forgeries(rig, required(shop.url(thing))):
            ask(shop.url(thing), v2_headers(payment))
            if shop.ran(thing):
                return f"made for a payment with {what}"
    return None


def forgeries(rig: Rig, required: Json) -> Iterator[tuple[str, Json]]:
    """Payments that a shop has to refuse by itself, whatever anybody says of them."""
    asked = required["accepts"][0]
    now = int(time.time())
    for what, changes in {
        "less money": {"value": "1"},
        "more money": {"value": str(PRICE_MICROS + 1)},
        "another payee": {"to": Payer().address},
        "a time that is over": {"validBefore": str(now - 10)},
        "a time that ends too soon": {"validBefore": str(now + 20)},
        "a time to come": {"validAfter": str(now + 3600)},
    }.items():
        yield what, Payer().v2(required, **changes)

    for what, otherwise in {
        "a signature for another token": {"asset": ANOTHER_TOKEN},
        "a signature for another network": {"network": "eip155:8453"},
    }.items():
        payload = Payer().payload(asked | otherwise, asked["amount"])
        yield what, _with_payload(Payer().v2(required), **payload)

    for what, otherwise in {
        "a price of its own": {"amount": "1"},
        "another token": {"asset": ANOTHER_TOKEN},
        "another network": {"network": "eip155:8453"},
        "a payee of its own": {"payTo": Payer().address},
    }.items():
        yield what, Payer().v2(required | {"accepts": [asked | otherwise]})

    victim = rig.payer(A_DOLLAR)
    stolen = Payer().v2(required, **{"from": victim.address})
    yield "somebody else's money", stolen
    signature = stolen["payload"]["signature"]
    broken = signature[:20] + ("0" if signature[20] != "0" else "1") + signature[21:]
    yield "a broken signature", _with_payload(Payer().v2(required), signature=broken)


def malformed(rig: Rig, shop: Shop) -> str | None:
    """What is no payment at all: it must be called so, not priced anew nor break anything."""
    url = shop.url(shop.new_thing())
    payment = rig.payer(A_DOLLAR).v2(required(url))
    good = encoded(payment)
    for what, text in {
        "no base64": "%%%",
        "half of it": good[: len(good) // 2 - 1],
        "base64 of no JSON": encoded("x")[:-3] + "////",
        "a list": encoded([payment]),
        "nothing in it": encoded({}),
        "another version": encoded(payment | {"x402Version": 3}),
        "an old one in the new header": encoded({**payment, "x402Version": 1}),
        "letters in between": good[:40] + "\t" + good[40:],
    }.items():
        answer = ask(url, {"PAYMENT-SIGNATURE": text})
        if answer.status_code != 400:
            return f"{what} is answered {answer.status_code}"
    return None


def settled_for_somebody_else(fault: str, rig: Rig, shop: Shop) -> str | None:
    """A facilitator says that it has settled, and names another payer or network."""
    thing = shop.new_thing()
    payer = rig.payer(A_DOLLAR)
    paid = v2_headers(payer.v2(required(shop.url(thing))))
    with rig.facilitator.broken(settle=fault):
        answer = ask(shop.url(thing), paid)
        spent = A_DOLLAR - rig.chain.balance(payer.address)
    _follow(answer)
    if "response" in answer.json() and not spent:
        return "delivered before any money moved"
    return None


def charged_for_nothing(fault: str, rig: Rig, shop: Shop) -> str | None:
    """A facilitator breaks while it settles: who has paid must have the result in the end."""
    thing = shop.new_thing()
    payer = rig.payer(A_DOLLAR)
    paid = v2_headers(payer.v2(required(shop.url(thing))))
    with rig.facilitator.broken(settle=fault):
        answer = ask(shop.url(thing), paid)
    delivered = _follow(answer)
    spent = A_DOLLAR - rig.chain.balance(payer.address)
    if spent > PRICE_MICROS:
        return f"charged {spent} micro-dollars"
    if delivered and not spent:
        return "delivered and not paid"
    if not delivered:
        return f"answered {answer.status_code}, spent {spent} micro-dollars, for nothing"
    return None


def paid_when_the_chain_stands_still(rig: Rig, shop: Shop) -> str | None:
    """The transfer is sent and in no block: the facilitator calls that pending."""
    thing = shop.new_thing()
    payer = rig.payer(A_DOLLAR)
    paid = v2_headers(payer.v2(required(shop.url(thing))))
    with rig.chain.stopped():
        answer = ask(shop.url(thing), paid)
    delivered = _follow(answer)
    spent = A_DOLLAR - rig.chain.balance(payer.address)
    if spent and not delivered:
        return f"answered {answer.status_code} and charged {spent} micro-dollars"
    return None


WORKS_ON_THE_NAIVE: dict[str, Attack] = {
    "fifty copies at once": copies_at_once,
    "one payment in many spellings": spelled_in_other_ways,
    "a payment for A at B": presented_elsewhere,
    "one cent for five": one_cent_for_five,
    "forged, the facilitator lies": forged,
    "malformed": malformed,
    "settled for another payer": partial(settled_for_somebody_else, "other_payer"),
    "settled on another network": partial(settled_for_somebody_else, "other_network"),
    "settled nowhere": partial(settled_for_somebody_else, "lie"),
    "facilitator hangs before it sends": partial(charged_for_nothing, "hang_before"),
    "facilitator hangs after it sent": partial(charged_for_nothing, "hang_after"),
    "facilitator hangs up after it sent": partial(charged_for_nothing, "drop_after"),
    "facilitator breaks before it sends": partial(charged_for_nothing, "error_before"),
    "facilitator breaks after it sent": partial(charged_for_nothing, "error_after"),
    "facilitator makes no sense": partial(charged_for_nothing, "garbage_after"),
    "facilitator denies what it did": partial(charged_for_nothing, "deny_after"),
    "chain stands still": paid_when_the_chain_stands_still,
}


def _with_payload(payment: Json, **members: object) -> Json:
    return payment | {"payload": payment["payload"] | members}


def _made_too_often(shop: Shop, thing: str, *, at_most: int) -> str | None:
    made = shop.ran(thing)
    if made <= at_most:
        return None
    return f"made {made} times, at most {at_most} was paid for"


def _follow_all(answers: list[requests.Response]) -> None:
    for answer in answers:
        _follow(answer)


def _follow(answer: requests.Response) -> bool:
    """Whether what was bought came in the end."""
    return "response" in result_of(answer)
