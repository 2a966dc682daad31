"""The weather of a chaos run: what LNbits, the models and the feeds do wrong by themselves."""

from local.stand_in.faults import Fault, FaultKind, PaymentEnd
from local.stand_in.weather import Chance, Forecast

CREATE, PAY, READ = "lnbits.create", "lnbits.pay", "lnbits.read"
WALLET, VERSION, HEALTH = "lnbits.wallet", "lnbits.version", "lnbits.health"
FEED, STATES, MODEL = "lnbits.feed", "lnbits.states", "anthropic"
VERIFY, SETTLE, CHAIN, CHAT = "x402.verify", "x402.settle", "x402.rpc", "openrouter.chat"


def forecast(seed: int, *, refunds_fail: bool = True) -> Forecast:
    """The kinds of trouble of RELIABILITY 5.3, in the shares of a bad day, each for one request.

    What lasts is left out: no delay is longer than a deadline, nobody hangs, no row is unknown or
    missing for seconds on end. Those meet each request to LNbits in tests/weather, whole lives in
    tests/stateful, and x402 in tests/x402; here only the nemesis makes anybody wait in vain.

    That a refund which has failed is proved to have failed takes as long as its invoice lives.
    """
    return Forecast(
        seed=seed,
        chances=(
            *(*_creating(), *_paying(), *(_failing() if refunds_fail else ())),
            *(*_reading(), *_proving(), *_models(), *_receivers()),
            *(*_verifying(), *_settling(), *_asking_the_chain(), *_creators_models()),
        ),
    )


def _chance(probability: float, target: str, kind: FaultKind, **more: object) -> Chance:
    fault = Fault.model_validate({"target": target, "kind": kind, **more})
    return Chance(probability=probability, fault=fault)


def _creating() -> list[Chance]:
    return [
        _chance(0.01, CREATE, FaultKind.RESET, after_effect=True),
        _chance(0.01, CREATE, FaultKind.STATUS, status=500),
        _chance(0.01, CREATE, FaultKind.STATUS, status=429, retry_after="1"),
        _chance(0.01, CREATE, FaultKind.TRUNCATED),
        _chance(0.01, CREATE, FaultKind.BODY),
        _chance(0.01, CREATE, FaultKind.DELAY, seconds=1.5),
    ]


def _paying() -> list[Chance]:
    """Whatever is said, or not, the refund is paid by the same invoice."""
    return [
        _chance(0.02, PAY, FaultKind.STATUS, status=500),
        _chance(0.06, PAY, FaultKind.RESET, after_effect=True),
        _chance(0.03, PAY, FaultKind.TRUNCATED),
        _chance(0.03, PAY, FaultKind.BODY, after_effect=True),
        _chance(0.04, PAY, FaultKind.STATUS, status=520, after_effect=True),
        _chance(0.03, PAY, FaultKind.DELAY, seconds=2.0, after_effect=True),
        _chance(0.03, PAY, FaultKind.PAYMENT_PENDING, reads=3, then=PaymentEnd.SUCCESS),
    ]


def _failing() -> list[Chance]:
    """The refund is not paid by this invoice."""
    return [
        _chance(0.01, PAY, FaultKind.PAYMENT_PENDING, reads=2, then=PaymentEnd.FAILED),
        _chance(0.01, PAY, FaultKind.PAYMENT_FAILED),
    ]


def _reading() -> list[Chance]:
    return [
        _chance(0.05, READ, FaultKind.STATUS, status=404),
        _chance(0.03, READ, FaultKind.STATUS, status=500),
        _chance(0.02, READ, FaultKind.TRUNCATED),
        _chance(0.04, FEED, FaultKind.DUPLICATED_ROWS),
        _chance(0.04, FEED, FaultKind.REORDERED_ROWS),
        _chance(0.04, FEED, FaultKind.MISSING_ROW),
        _chance(0.06, FEED, FaultKind.STALE_ROWS, seconds=6.0),
        _chance(0.02, FEED, FaultKind.STATUS, status=500),
        _chance(0.01, FEED, FaultKind.STATUS, status=429, retry_after="2"),
        _chance(0.02, FEED, FaultKind.TRUNCATED),
        _chance(0.02, FEED, FaultKind.DELAY, seconds=3.0),
        _chance(0.05, STATES, FaultKind.STATUS, status=500),
        _chance(0.05, "feed", FaultKind.STATUS, status=503),
    ]


def _proving() -> list[Chance]:
    """Whose wallet it is, and how old an LNbits: nothing is sent while that is not known."""
    return [
        _chance(0.02, WALLET, FaultKind.STATUS, status=500),
        _chance(0.01, WALLET, FaultKind.RESET),
        _chance(0.02, VERSION, FaultKind.STATUS, status=500),
        _chance(0.01, VERSION, FaultKind.RESET),
        _chance(0.01, HEALTH, FaultKind.STATUS, status=500),
        _chance(0.01, HEALTH, FaultKind.RESET),
    ]


def _models() -> list[Chance]:
    return [
        _chance(0.03, MODEL, FaultKind.STATUS, status=529),
        _chance(0.01, MODEL, FaultKind.STATUS, status=429, retry_after="2"),
        _chance(0.01, MODEL, FaultKind.RESET, after_effect=True),
        _chance(0.03, MODEL, FaultKind.DELAY, seconds=3.0),
        _chance(0.005, MODEL, FaultKind.DELAY, seconds=9.0),
        _chance(0.01, MODEL, FaultKind.TRUNCATED),
        _chance(0.01, MODEL, FaultKind.UNREADABLE, structured=True),
        _chance(0.005, MODEL, FaultKind.REFUSAL),
        _chance(0.005, MODEL, FaultKind.EMPTY),
        _chance(0.005, MODEL, FaultKind.MAX_TOKENS, structured=False),
    ]


def _receivers() -> list[Chance]:
    """A receiver that is definitely wrong leaves the money to be claimed."""
    return [
        _chance(0.08, "lnurl", FaultKind.STATUS, status=503),
        _chance(0.03, "lnurl", FaultKind.TRUNCATED),
        _chance(0.03, "lnurl", FaultKind.DELAY, seconds=2.0),
        _chance(0.02, "lnurl", FaultKind.DECLINED),
        _chance(0.02, "lnurl.terms", FaultKind.LIMITS),
        _chance(0.01, "lnurl.invoice", FaultKind.WRONG_AMOUNT),
    ]


def _verifying() -> list[Chance]:
    return [
        _chance(0.04, VERIFY, FaultKind.STATUS, status=503),
        _chance(0.02, VERIFY, FaultKind.RESET),
        _chance(0.02, VERIFY, FaultKind.BODY),
        _chance(0.02, VERIFY, FaultKind.DELAY, seconds=3.0),
        _chance(0.04, VERIFY, FaultKind.DECLINED, text="insufficient_funds"),
    ]


def _settling() -> list[Chance]:
    """Half of it after the money has moved.

    No success that is none: a facilitator that lies while no node can be asked is believed.
    """
    return [
        _chance(0.06, SETTLE, FaultKind.RESET, after_effect=True),
        _chance(0.03, SETTLE, FaultKind.RESET),
        _chance(0.04, SETTLE, FaultKind.STATUS, status=502, after_effect=True),
        _chance(0.03, SETTLE, FaultKind.STATUS, status=503),
        _chance(0.03, SETTLE, FaultKind.TRUNCATED),
        _chance(0.03, SETTLE, FaultKind.BODY, after_effect=True),
        _chance(0.03, SETTLE, FaultKind.DELAY, seconds=4.0, after_effect=True),
        _chance(0.04, SETTLE, FaultKind.SETTLEMENT_PENDING, after_effect=True),
        _chance(0.02, SETTLE, FaultKind.SETTLEMENT_PENDING),
        _chance(0.04, SETTLE, FaultKind.DECLINED, text="transaction_failed", after_effect=True),
        _chance(0.03, SETTLE, FaultKind.DECLINED, text="transaction_failed"),
        _chance(0.03, SETTLE, FaultKind.DECLINED, text="insufficient_funds"),
    ]


def _asking_the_chain() -> list[Chance]:
    return [
        _chance(0.04, CHAIN, FaultKind.STATUS, status=503),
        _chance(0.02, CHAIN, FaultKind.TRUNCATED),
        _chance(0.02, CHAIN, FaultKind.DELAY, seconds=1.5),
    ]


def _creators_models() -> list[Chance]:
    return [
        _chance(0.03, CHAT, FaultKind.STATUS, status=502),
        _chance(0.02, CHAT, FaultKind.STATUS, status=429, retry_after="1"),
        _chance(0.02, CHAT, FaultKind.ERROR_INSIDE, status=502),
        _chance(0.01, CHAT, FaultKind.RESET, after_effect=True),
        _chance(0.01, CHAT, FaultKind.ERROR_IN_CHOICE),
        _chance(0.01, CHAT, FaultKind.TRUNCATED),
        _chance(0.03, CHAT, FaultKind.DELAY, seconds=6.0),
        _chance(0.01, CHAT, FaultKind.EMPTY),
        _chance(0.01, CHAT, FaultKind.REFUSAL),
        _chance(0.01, "upstream", FaultKind.STATUS, status=500),
        _chance(0.02, "upstream", FaultKind.RESET, after_effect=True),
    ]
