"""The stand-in for tests: start one, break it, watch what it saw."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import simplejson

from local.stand_in.__main__ import READY
from local.stand_in.chain import BASE_SEPOLIA
from local.stand_in.faults import Fault
from local.stand_in.key_states import KeyState
from local.stand_in.lnbits import PAYER_INVOICE_KEY
from local.stand_in.weather import Forecast

CHECKOUT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One line of the effect log; ``details`` has the members that depend on the kind."""

    n: int
    kind: str
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SeenCounts:
    requests: dict[str, int]
    """By route, e.g. ``POST /api/v1/payments``."""
    model_calls: int
    open_model_calls: int
    model_calls_by_label: dict[str, int]
    most_concurrent_model_calls_by_label: dict[str, int]


class StandInError(AssertionError):
    """The control interface did not do what the test asked of it."""


@dataclass(frozen=True)
class StandInClient:
    """Speaks to ``/stand-in/…``. Every method is one request on a connection of its own."""

    url: str

    def arm(self, fault: Fault) -> None:
        """Let something go wrong, after what is armed already."""
        self._ask("POST", "/stand-in/faults", fault.model_dump(mode="json", by_alias=True))

    def disarm(self) -> None:
        self._ask("DELETE", "/stand-in/faults")

    def armed(self) -> list[Fault]:
        """What has not gone wrong yet."""
        faults = self._ask("GET", "/stand-in/faults")["faults"]
        return [Fault.model_validate(fault) for fault in faults]

    def change_weather(self, forecast: Forecast) -> None:
        """Let things go wrong by chance from now on; ``Forecast()`` is calm."""
        self._ask("POST", "/stand-in/weather", forecast.model_dump(mode="json", by_alias=True))

    def weather_hits(self) -> dict[str, int]:
        """What went wrong by chance so far, and how often."""
        return dict(self._ask("GET", "/stand-in/weather")["hits"])

    def hold(self, target: str = "anthropic", *, times: int = 1, match: str = "") -> None:
        """Hold the next requests to ``target`` until ``release``."""
        body = {"target": target, "times": times, "match": match}
        self._ask("POST", "/stand-in/hold", body)

    def wait_until_held(self, count: int = 1, *, seconds: float = TIMEOUT_SECONDS) -> None:
        """Return as soon as ``count`` requests are held. Raises StandInError if they never are."""
        path = f"/stand-in/holds?atLeast={count}&timeoutSeconds={seconds}"
        held = self._ask("GET", path, timeout=seconds + TIMEOUT_SECONDS)["held"]
        if held < count:
            raise StandInError(f"{held} requests are held, not {count}, after {seconds} s.")

    def wait_until_quiet(self, *, calls: int = 0, seconds: float = TIMEOUT_SECONDS) -> None:
        """Return when ``calls`` model calls have begun and none is open. Raises StandInError."""
        path = f"/stand-in/quiet?calls={calls}&timeoutSeconds={seconds}"
        if not self._ask("GET", path, timeout=seconds + TIMEOUT_SECONDS)["quiet"]:
            raise StandInError(f"Model calls are open or missing after {seconds} s.")

    def release(self) -> int:
        """Let every held request go on; says how many there were."""
        return int(self._ask("POST", "/stand-in/release")["released"])

    def pay(self, payment_hash: str, *, amount_msats: int | None = None) -> bool:
        """Pay an invoice of the service, late or not. False = there is none. Safe to repeat."""
        query = "" if amount_msats is None else f"?amountMsat={amount_msats}"
        status, _ = self._send("POST", f"/stand-in/pay/{payment_hash}{query}")
        return status == 200

    def expire(self, payment_hash: str) -> None:
        """Let LNbits take an invoice as expired, without waiting for it."""
        self._ask("POST", f"/stand-in/expire/{payment_hash}")

    def take_fee(self, payment_hash: str, msats: int) -> None:
        """Let LNbits take a fee off an invoice, now if it is paid or else when it will be."""
        self._ask("POST", f"/stand-in/fee/{payment_hash}", {"feeMsat": msats})

    def payer_invoice(self, amount_sats: int, *, memo: str = "refund", expiry: int = 3600) -> str:
        """A BOLT11 of the payer, for the service to pay. ``expiry`` in seconds."""
        body = {"out": False, "amount": amount_sats, "memo": memo, "expiry": expiry}
        key = {"X-Api-Key": PAYER_INVOICE_KEY}
        return str(self._ask("POST", "/api/v1/payments", body, headers=key)["bolt11"])

    def effects(self, *kinds: str, since: int = 0) -> list[Effect]:
        """What happened, in order; only of these kinds, if any are named."""
        effects = [
            Effect(n=line.pop("n"), kind=line.pop("kind"), details=line)
            for line in self._ask("GET", f"/stand-in/effects?since={since}")["effects"]
        ]
        return [effect for effect in effects if not kinds or effect.kind in kinds]

    def counts(self) -> SeenCounts:
        seen = self._ask("GET", "/stand-in/counts")
        return SeenCounts(
            requests=seen["requests"],
            model_calls=seen["modelCalls"],
            open_model_calls=seen["openModelCalls"],
            model_calls_by_label=seen["modelCallsByLabel"],
            most_concurrent_model_calls_by_label=seen["mostConcurrentModelCallsByLabel"],
        )

    def set_btc_price(self, usd: Decimal, *, feed: str | None = None) -> None:
        self._ask("POST", "/stand-in/btc-price", {"usd": str(usd), "feed": feed})

    def top_up(self, sats: int) -> int:
        """Give the service's wallet money (or take it); returns its balance in millisats."""
        return int(self._ask("POST", "/stand-in/top-up", {"sats": sats})["balanceMsat"])

    def catalogue(self) -> list[Any]:
        """OpenRouter's list of models, as it stands."""
        return list(self._ask("GET", "/stand-in/catalogue")["models"])

    def set_catalogue(self, models: Sequence[Any]) -> None:
        """List exactly these at OpenRouter; they are not looked at."""
        self._ask("PUT", "/stand-in/catalogue", {"models": list(models)})

    def tell_of_a_key(self, key: str, state: KeyState) -> None:
        """From now on a creator's key, of whatever provider, is in this state."""
        self._ask("POST", "/stand-in/provider-keys", {"key": key, "state": state})

    def tokens_of(self, address: str, *, chain: int = BASE_SEPOLIA) -> int:
        """Micro-dollars on the stand-in's chain; whoever was given none has a million dollars."""
        return int(self._ask("GET", f"/stand-in/tokens/{address}?chain={chain}")["micros"])

    def set_tokens(self, address: str, micros: int, *, chain: int = BASE_SEPOLIA) -> None:
        self._ask("PUT", f"/stand-in/tokens/{address}", {"micros": micros, "chain": chain})

    def cancel_authorization(self, payer: str, nonce: str, *, chain: int = BASE_SEPOLIA) -> None:
        """The payer takes it back, on the chain."""
        body = {"payer": payer, "nonce": nonce, "chain": chain}
        self._ask("POST", "/stand-in/tokens/cancel", body)

    def use_authorization(
        self, payer: str, nonce: str, *, pay_to: str, micros: int, chain: int = BASE_SEPOLIA
    ) -> str:
        """Somebody else puts a transfer by this nonce on the chain; returns its transaction."""
        body = {"payer": payer, "nonce": nonce, "payTo": pay_to, "micros": micros, "chain": chain}
        return str(self._ask("POST", "/stand-in/tokens/use", body)["transaction"])

    def advance_chain(self, seconds: int) -> None:
        """The chain's clock runs ahead of ours by so much more; by less, if it is negative."""
        self._ask("POST", "/stand-in/tokens/advance", {"seconds": seconds})

    def reset(self) -> None:
        """A new world: no payments, no faults, no effects, the price as it was."""
        self._ask("POST", "/stand-in/reset")

    def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> dict[str, Any]:
        status, answer = self._send(method, path, body, headers=headers, timeout=timeout)
        if status >= 300:
            raise StandInError(f"{method} {path}: {status} {answer}")
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=timeout)
        try:
            text = None if body is None else simplejson.dumps(body)
            connection.request(method, path, text, headers or {})
            response = connection.getresponse()
            answer = simplejson.loads(response.read())
        finally:
            connection.close()
        return response.status, answer


@contextmanager
def running_stand_in(
    data_dir: Path, port: int = 0, *, more_options: Sequence[str] = ()
) -> Iterator[StandInClient]:
    """Run a stand-in in a process of its own, which also ends when this process dies in any way."""
    command = [sys.executable, "-m", "local.stand_in", "--until-stdin-closes"]
    command += ["--port", str(port), "--data-dir", str(data_dir), *more_options]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line.startswith(READY):
                raise StandInError(f"The stand-in did not start: {line or 'see its error above'}")
            yield StandInClient(line.removeprefix(READY))
        finally:
            process.kill()
