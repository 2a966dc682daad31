"""``/stand-in/…``: what a test, or a person at the bench, does to the world."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pydantic import ValidationError

from local.stand_in.effects import Counts, EffectLog
from local.stand_in.faults import Fault, FaultKind, Faults
from local.stand_in.key_states import KeyState, ProviderKeyStates
from local.stand_in.node import MSATS, Node
from local.stand_in.openrouter import OpenRouter
from local.stand_in.price_feeds import SHAPES, PriceFeeds
from local.stand_in.rows import Wallet
from local.stand_in.tokens import Tokens
from local.stand_in.weather import Forecast, Weather
from local.stand_in.wire import Reply, Request, Route, json_reply

MAX_WAIT_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Control:
    node: Node
    effects: EffectLog
    counts: Counts
    faults: Faults
    weather: Weather
    feeds: PriceFeeds
    openrouter: OpenRouter
    keys: ProviderKeyStates
    tokens: Tokens

    def routes(self) -> list[Route]:
        handlers: dict[str, Callable[..., Reply]] = {
            "GET /health": lambda _: json_reply({"status": "ok"}),
            "POST /stand-in/pay/{payment_hash}": self.pay,
            "POST /stand-in/expire/{payment_hash}": self.expire,
            "POST /stand-in/fee/{payment_hash}": self.take_fee,
            "GET /stand-in/effects": self.happened,
            "GET /stand-in/counts": lambda _: json_reply(self.counts.as_json()),
            "GET /stand-in/faults": self.armed,
            "POST /stand-in/faults": self.arm,
            "DELETE /stand-in/faults": self.disarm,
            "GET /stand-in/weather": lambda _: json_reply({"hits": self.weather.hits()}),
            "POST /stand-in/weather": self.change_weather,
            "POST /stand-in/hold": self.hold,
            "POST /stand-in/release": self.release,
            "GET /stand-in/holds": self.holds,
            "GET /stand-in/quiet": self.quiet,
            "POST /stand-in/btc-price": self.set_price,
            "POST /stand-in/top-up": self.top_up,
            "GET /stand-in/catalogue": self.catalogue,
            "PUT /stand-in/catalogue": self.set_catalogue,
            "POST /stand-in/provider-keys": self.tell_of_a_key,
            "POST /stand-in/reset": self.reset,
        }
        return [Route(name, handler) for name, handler in handlers.items()]

    def pay(self, request: Request, payment_hash: str) -> Reply:
        """The payer pays an invoice; ``?amountMsat=`` pays another amount than it says."""
        amount = request.parameter("amountMsat")
        if amount is not None and not amount.isdecimal():
            return _bad("amountMsat is a whole number of millisats.")
        paid = self.node.pay_from_outside(payment_hash, None if amount is None else int(amount))
        if paid is None:
            return json_reply({"error": "No such invoice."}, status=404)
        return json_reply({"ok": True, "paymentHash": payment_hash, "amountMsat": paid.amount})

    def expire(self, _: Request, payment_hash: str) -> Reply:
        """An invoice's last second is over now. Nothing says so until LNbits is asked."""
        if not self.node.expire(payment_hash):
            return json_reply({"error": "No such invoice."}, status=404)
        return json_reply({"ok": True})

    def take_fee(self, request: Request, payment_hash: str) -> Reply:
        """An invoice costs its payee ``feeMsat``, now if it is paid or else when it will be."""
        fee = request.json().get("feeMsat")
        if type(fee) is not int:
            return _bad("feeMsat is a whole number.")
        if not self.node.take_fee(payment_hash, fee):
            return json_reply({"error": "No such invoice."}, status=404)
        return json_reply({"ok": True})

    def happened(self, request: Request) -> Reply:
        """All of them, or with ``?since=n`` those after the n-th."""
        since = request.parameter("since") or "0"
        if not since.isdecimal():
            return _bad("since is a number.")
        return json_reply({"effects": self.effects.since(int(since))})

    def armed(self, _: Request) -> Reply:
        armed = [fault.model_dump(mode="json", by_alias=True) for fault in self.faults.armed()]
        return json_reply({"faults": armed})

    def arm(self, request: Request) -> Reply:
        try:
            fault = Fault.model_validate_json(request.body)
        except ValidationError as error:
            return _bad(str(error))
        self.faults.arm(fault)
        return json_reply({"ok": True}, status=201)

    def disarm(self, _: Request) -> Reply:
        self.faults.disarm()
        return json_reply({"ok": True})

    def change_weather(self, request: Request) -> Reply:
        """Let things go wrong by chance from now on; without chances: calm."""
        try:
            forecast = Forecast.model_validate_json(request.body)
        except ValidationError as error:
            return _bad(str(error))
        self.weather.change(forecast)
        return json_reply({"ok": True})

    def hold(self, request: Request) -> Reply:
        """Arm a HOLD; without a target for the next call of the Anthropic model."""
        body = {"target": "anthropic", **request.json(), "kind": FaultKind.HOLD}
        try:
            self.faults.arm(Fault.model_validate(body))
        except ValidationError as error:
            return _bad(str(error))
        return json_reply({"ok": True}, status=201)

    def release(self, _: Request) -> Reply:
        return json_reply({"released": self.faults.release()})

    def holds(self, request: Request) -> Reply:
        """How many requests are held; waits up to ``timeoutSeconds`` until they are ``atLeast``."""
        at_least = int(request.parameter("atLeast") or 0)
        seconds = min(float(request.parameter("timeoutSeconds") or 0), MAX_WAIT_SECONDS)
        return json_reply({"held": self.faults.holds.wait_for(at_least, seconds=seconds)})

    def quiet(self, request: Request) -> Reply:
        """Whether ``calls`` calls have begun and none is open; waits ``timeoutSeconds`` for it."""
        seconds = min(float(request.parameter("timeoutSeconds") or 0), MAX_WAIT_SECONDS)
        calls = int(request.parameter("calls") or 0)
        return json_reply({"quiet": self.counts.wait_for_quiet(calls=calls, seconds=seconds)})

    def set_price(self, request: Request) -> Reply:
        body = request.json()
        feed = body.get("feed")
        try:
            usd = Decimal(str(body.get("usd")))
        except InvalidOperation:
            return _bad("usd is a number.")
        if feed is not None and feed not in SHAPES:
            return _bad("feed is the name of a feed.")
        self.feeds.set_price(usd, feed)
        return json_reply({"ok": True})

    def top_up(self, request: Request) -> Reply:
        """Add ``sats`` (or take, when negative) to the service's wallet: an owner's move."""
        sats = request.json().get("sats")
        if not isinstance(sats, int):
            return _bad("sats is a whole number.")
        self.node.top_up(Wallet.SERVICE, sats * MSATS)
        return json_reply({"ok": True, "balanceMsat": self.node.balance(Wallet.SERVICE)})

    def catalogue(self, _: Request) -> Reply:
        """OpenRouter's list of models, as it stands."""
        return json_reply({"models": self.openrouter.catalogue()})

    def set_catalogue(self, request: Request) -> Reply:
        """List exactly these ``models``; they are not looked at."""
        models = request.json().get("models")
        if not isinstance(models, list):
            return _bad("models is a list.")
        self.openrouter.set_catalogue(models)
        return json_reply({"ok": True})

    def tell_of_a_key(self, request: Request) -> Reply:
        """From now on a creator's ``key`` is in this ``state``: valid, invalid or no-credits."""
        body = request.json()
        key, state = body.get("key"), body.get("state")
        if not isinstance(key, str) or state not in list(KeyState):
            return _bad(f"key is a string, and state one of {', '.join(KeyState)}.")
        self.keys.tell(key, KeyState(state))
        return json_reply({"ok": True})

    def reset(self, _: Request) -> Reply:
        """A new world: no payments, no faults, no effects. Only the node's key stays."""
        self.weather.clear()
        self.faults.begin_world()
        self.node.clear()
        self.feeds.reset()
        self.openrouter.reset()
        self.keys.reset()
        self.tokens.clear()
        self.counts.clear()
        self.effects.clear()
        return json_reply({"ok": True})


def _bad(text: str) -> Reply:
    return json_reply({"error": text}, status=400)
