"""Callers of instant resources: they ask the price, pay it with one payment, and do not let go.

One payment is shown until it is known what became of it. What a buyer is told is written down as
``bought`` (the end of a payment) and ``tried_again`` (what an old payment still gets).
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.chaos.fleet import INSTANT_RUN_SECONDS
from tests.chaos.http import Answer
from tests.chaos.plans import Afterwards, Purchase, Showing, Ware
from tests.chaos.shop import Shop
from tests.chaos.visitor import GET_PATIENCE_SECONDS, PATIENCE_SECONDS, Json, Visitor, wish
from tests.support.x402_payer import Payer, decoded, encoded, v1_headers, v2_headers

PAYMENTS_MAX = 2
"""Whose first payment came to nothing pays once more."""
REFUSALS_MAX = 3
WINDOW_SECONDS = INSTANT_RUN_SECONDS + 60 + 30
"""How long a payment is good: half a minute more than must be left when it is shown."""
LONGEST_REST = 3.0
PRICE, PAID, UNDER_WAY, USED = 402, 200, 202, 409
SIGNED, RESPONSES = "PAYMENT-SIGNATURE", ("payment-response", "x-payment-response")


@dataclass
class Paying:
    """One payment, and how it has fared."""

    payment: Json
    headers: dict[str, str] = field(repr=False)
    lost: int = 0
    """Requests that nobody answered: they may still be carried out."""

    @property
    def nonce(self) -> str:
        return str(self.payment["payload"]["authorization"]["nonce"]).lower()


@dataclass(kw_only=True)
class Buyer(Visitor):
    shop: Shop
    plan: Purchase
    payer: Payer = field(default_factory=Payer)

    async def live(self) -> None:
        if self.plan.showing is Showing.OWNER_TEST:
            await self._try_it_out()
            return
        for number in range(PAYMENTS_MAX):
            paying = await self._pay(f"{self.plan.words}.{number}.")
            if await self._bought(paying, f"{self.plan.words}.{number}."):
                self.leave_the_counter()
                for how in self.plan.afterwards:
                    await self._show_again(paying, how)
                return

    async def _try_it_out(self) -> None:
        headers = {**self.shop.auth, "X-Owner-Test": "true"}
        path, body = self._path, self.shop.body(self.plan.ware, self.plan.words)
        answer = await self.ask_door("POST", path, body, headers=headers, patience=PATIENCE_SECONDS)
        self.state = f"test {answer.status}"

    # --- paying

    @property
    def _path(self) -> str:
        return self.shop.path(self.plan.ware)

    async def _pay(self, words: str) -> Paying:
        """Ask the price and sign; a payment is not shown yet."""
        while True:
            answer = await self.ask_door("POST", self._path, {}, patience=PATIENCE_SECONDS)
            if answer.status == PRICE:
                return await asyncio.to_thread(self._sign, answer)
            await self._rest_as_told(answer)

    def _sign(self, price: Answer) -> Paying:
        window = {"validBefore": str(int(time.time()) + WINDOW_SECONDS)}
        if self.plan.version == 1:
            payment = self.payer.v1(price.body, **window)
            name = {"Idempotency-Key": secrets.token_hex(16)}
            return Paying(payment, v1_headers(payment) | name)
        required = decoded(price.headers["payment-required"])
        identifier = secrets.token_hex(16) if self.plan.has_identifier else None
        payment = self.payer.v2(required, identifier=identifier, **window)
        return Paying(payment, v2_headers(payment))

    async def _bought(self, paying: Paying, words: str) -> bool:
        """Show a payment until its end is known. False = it came to nothing."""
        refusals = 0
        self.street.log.write(
            "shows", nonce=paying.nonce, payer=self.payer.address, ware=self.plan.ware
        )
        while True:
            answer = await self._show(paying, words)
            if answer.status == UNDER_WAY and self.plan.looks_at_status:
                answer = await self._follow(str(answer.body["statusUrl"]))
            verdict = _verdict(answer)
            refusals += verdict == "refused"
            if verdict and (verdict != "refused" or refusals == REFUSALS_MAX):
                self._note(paying, verdict, words, answer)
                return verdict == "succeeded"
            await self._rest_as_told(answer)

    async def _show(self, paying: Paying, words: str) -> Answer:
        """Show it, at one door or at both; the best of what is answered."""
        body = self.shop.body(self.plan.ware, words)
        is_double = self.plan.showing is Showing.BOTH_DOORS
        shown = [self._show_at(door, paying, body) for door in ((0, 1) if is_double else (None,))]
        if self.plan.showing is Showing.EMPTY_HANDED:
            answer, _ = await asyncio.gather(shown[0], self._empty_the_wallet())
            return answer
        return min(await asyncio.gather(*shown), key=_rank)

    async def _show_at(self, door: int | None, paying: Paying, body: Json) -> Answer:
        more = {"headers": paying.headers, "patience": PATIENCE_SECONDS}
        at = self.door if door is None else door
        answer = await self.ask_at(at, "POST", self._path, body, **more)
        if answer.status == 0:
            paying.lost += 1
            self.door = 1 - self.door
        return answer

    async def _empty_the_wallet(self) -> None:
        path = f"/stand-in/tokens/{self.payer.address}"
        await self.ask_world("PUT", path, {"micros": 0})

    async def _follow(self, status_url: str) -> Answer:
        """Look at the run's own address until it has ended."""
        path = urlsplit(status_url).path
        self.its_id = path.rpartition("/")[2]
        while True:
            answer = await self.ask_door("GET", path, patience=GET_PATIENCE_SECONDS)
            if answer.status == PAID:
                return answer
            await self._rest_as_told(answer)

    async def _rest_as_told(self, answer: Answer) -> None:
        self.state = f"{answer.status} {answer.body.get('code', '')}"
        await self.rest(min(wish(answer), LONGEST_REST))

    def _note(self, paying: Paying, verdict: str, words: str, answer: Answer) -> None:
        response = answer.body.get("response")
        self.state = verdict
        self.street.log.write(
            "bought",
            nonce=paying.nonce,
            verdict=verdict,
            lost=paying.lost,
            transaction=(answer.body.get("receipt") or {}).get("transaction"),
            delivered=self.shop.is_delivered(self.plan.ware, words, response),
        )

    # --- and afterwards

    async def _show_again(self, paying: Paying, how: Afterwards) -> None:
        """Once, whatever is answered."""
        headers, path, ware = paying.headers, self._path, self.plan.ware
        if how is Afterwards.WITHOUT_PROOF:
            headers = _without_proof(paying)
        if how is Afterwards.ELSEWHERE:
            ware = Ware.TEXT if ware is not Ware.TEXT else Ware.HAIKU
            path = self.shop.path(ware)
        body = self.shop.body(ware, f"{self.plan.words}, again")
        answer = await self.ask_door("POST", path, body, headers=headers, patience=PATIENCE_SECONDS)
        self.street.log.write(
            "tried_again",
            nonce=paying.nonce,
            how=how,
            status=answer.status,
            transaction=(answer.body.get("receipt") or {}).get("transaction"),
        )


def _verdict(answer: Answer) -> str | None:
    """What has become of a payment, as far as this answer says; None = nobody knows yet."""
    is_over = any(name in answer.headers for name in RESPONSES)
    if answer.status == PAID:
        return "failed" if answer.body.get("state") == "failed" else "succeeded"
    if answer.status == USED:
        return "taken"
    if answer.status in {PRICE, 503} and is_over:
        return "failed"
    return "refused" if answer.status == PRICE else None


def _rank(answer: Answer) -> int:
    """The best answer first: what was bought, that it is on its way, that it came to nothing."""
    verdict = "under_way" if answer.status == UNDER_WAY else _verdict(answer)
    order: Mapping[str | None, int] = {"succeeded": 0, "under_way": 1, "taken": 2, "failed": 3}
    return order.get(verdict, 4 if verdict is None else 5)


def _without_proof(paying: Paying) -> dict[str, str]:
    """Version 2 without the offer and its own name, version 1 with another key."""
    if "X-PAYMENT" in paying.headers:
        return paying.headers | {"Idempotency-Key": secrets.token_hex(16)}
    accepted = paying.payment["accepted"]
    bare = {name: value for name, value in accepted["extra"].items() if name != "offer"}
    stripped = paying.payment | {"accepted": accepted | {"extra": bare}, "extensions": {}}
    return {SIGNED: encoded(stripped)}
