"""Lives of runs of instant resources: a price, one payment for it, and what comes of it."""

from decimal import Decimal
from typing import Any

from config.queues import TaskName
from gateways.x402 import Payment, wire
from local.stand_in.faults import FaultKind
from models.creator import Provider
from models.resource import ResourceType
from models.run import RunState
from services.instant import catalogue, creators, intake, keys, requirements, resources
from services.instant.resources import OnSale
from tests.matrix import operators
from tests.matrix.acts import arm, disarm, later, work
from tests.matrix.stage import Act, Stage
from tests.support.market import KEY, MODEL, NETWORK, PAYEE
from tests.support.x402_payer import Payer, encoded, wallet_of

CREATOR, SLUG = "ada", "haiku"
URL = f"https://matrix.example/api/instant/{CREATOR}/{SLUG}"
PRICE = {"name": "For the matrix", "price_usd": Decimal("0.012")}
HAIKU: dict[str, Any] = PRICE | {"model": MODEL, "system_prompt": "Write a haiku."}
PAYER = Payer(wallet_of(b"\x07" * 32))


def shop(of: ResourceType, **members: Any) -> Act:
    """A creator sells one thing. What is done before the life begins passes no point."""

    def open_it(stage: Stage) -> None:
        tools = stage.tools
        assert catalogue.sync(tools)
        creator = creators.register(tools, CREATOR, {NETWORK: PAYEE}).creator
        keys.put(tools, creator.id, Provider.OPENROUTER, KEY)
        told = {
            name: value.replace("WORLD", stage.world.url) if isinstance(value, str) else value
            for name, value in members.items()
        }
        resources.create(tools, creator.id, SLUG, of, told)

    return open_it


def _sale(stage: Stage) -> OnSale:
    return intake.find(stage.tools, CREATOR, SLUG)


def sign(stage: Stage) -> None:
    """Ask the price and sign for it; who got no answer asks again."""
    with stage.action("price"):
        sale = _sale(stage)
        intake.check_sellable(stage.tools, sale)
        accepts = [asked.v2() for asked in requirements.offered(stage.tools, sale)]
    payment = PAYER.v2({"accepts": accepts, "resource": {"url": URL}})
    stage.memory["payment"] = encoded(payment)


def _payment(stage: Stage) -> Payment:
    payment = wire.payment_of(stage.memory["payment"], None)
    assert payment is not None
    return payment


def buy(stage: Stage) -> None:
    """Show the payment; who got no answer shows the same one again."""
    payment = _payment(stage)
    with stage.action("buy"):
        sale = _sale(stage)
        known = intake.bought_before(stage.tools, sale, payment, None)
        run = known or intake.buy(stage.tools, sale, payment, {}, key=None, url=URL)
        stage.memory["run"] = run.id


def settle_elsewhere(stage: Stage) -> None:
    """Another shop, where the creator is paid the same, has settled the payment a minute ago."""
    signed = _payment(stage).authorization
    stage.world.advance_chain(-60)
    stage.world.use_authorization(
        signed.payer, signed.nonce, pay_to=signed.pay_to, micros=signed.amount
    )
    stage.world.advance_chain(60)


def try_out(stage: Stage) -> None:
    with stage.action("try out"):
        stage.memory["run"] = intake.try_out(stage.tools, _sale(stage), {}).id


def look(stage: Stage) -> None:
    with stage.action("look at run"):
        intake.look(stage.tools, stage.memory["run"])


def lapse(stage: Stage) -> None:
    stage.lapse_payments()


def ended(stage: Stage) -> None:
    """The run has come to its end, maybe only after more patience."""
    stage.tend()


def look_after_keys(stage: Stage) -> None:
    """What is done for creators whether or not anybody buys."""
    stage.pass_time()
    for name in (TaskName.VERIFY_KEYS, TaskName.PROBE_BREAKERS, TaskName.PRUNE_RUNS):
        stage.duty(name)


HAIKUS = shop(ResourceType.OPENROUTER_INSTANT, **HAIKU)
TEXTS = shop(ResourceType.STATIC, **PRICE, content="What is sold, letter by letter.")
ECHOES = shop(ResourceType.PROXY, **PRICE, upstream_url="WORLD/upstream/echo")
BOUGHT = (HAIKUS, sign, buy)
CHAT, SETTLE, CHAIN = "openrouter.chat", "x402.settle", "x402.rpc"


def _answer_lost(*more: Act) -> tuple[Act, ...]:
    """The money moves at the first request, the answer to which is lost; then ``more``."""
    lost = arm(SETTLE, FaultKind.RESET, after_effect=True)
    return (*BOUGHT, lost, *more, work, disarm, later, ended)


LIVES: tuple[tuple[str, tuple[Act, ...], RunState], ...] = (
    ("bought, made, settled", (*BOUGHT, work, look, buy), RunState.SUCCEEDED),
    ("a text is bought", (TEXTS, sign, buy, work), RunState.SUCCEEDED),
    ("a server's answer is bought", (ECHOES, sign, buy, work), RunState.SUCCEEDED),
    ("tried out by its creator", (HAIKUS, try_out, work, look), RunState.SUCCEEDED),
    ("settled, and the answer is lost", _answer_lost(), RunState.SUCCEEDED),
    (
        "settled, the answer is lost, and no node can be asked",
        _answer_lost(arm(CHAIN, FaultKind.STATUS, status=503), work, later),
        RunState.SUCCEEDED,
    ),
    (
        "settled, no node can ever be asked, and a person names the transaction",
        _answer_lost(
            arm(CHAIN, FaultKind.STATUS, status=503),
            work,
            operators.lapse_for_good,
            later,
            operators.say_that_it_was_settled,
        ),
        RunState.SUCCEEDED,
    ),
    (
        "never settled, no node can ever be asked, and a person says so",
        (
            *BOUGHT,
            arm(SETTLE, FaultKind.STATUS, status=503),
            arm(CHAIN, FaultKind.STATUS, status=503),
            work,
            operators.lapse_for_good,
            later,
            operators.say_that_it_was_not_settled,
            disarm,
            ended,
        ),
        RunState.FAILED,
    ),
    (
        "settled by another shop before it was asked for, and a person says so",
        (
            *BOUGHT,
            arm(CHAT, FaultKind.STATUS, status=429),
            work,
            later,  # verified by now, whatever went wrong
            settle_elsewhere,
            disarm,
            arm(CHAIN, FaultKind.STATUS, status=503),
            later,
            later,
            disarm,
            later,
            later,
            operators.say_that_it_was_not_settled,
            ended,
        ),
        RunState.FAILED,
    ),
    (
        "called failed, and moved",
        (
            *BOUGHT,
            arm(SETTLE, FaultKind.DECLINED, after_effect=True, text="transaction_failed"),
            work,
            disarm,
            ended,
        ),
        RunState.SUCCEEDED,
    ),
    (
        "never settled before the payment lapses",
        (*BOUGHT, arm(SETTLE, FaultKind.STATUS, status=503), work, lapse, later, ended),
        RunState.FAILED,
    ),
    (
        "the wallet is empty when it comes to paying",
        # Of a request that may have been made before it, a refusal proves nothing: then it lapses.
        (
            *BOUGHT,
            arm(SETTLE, FaultKind.DECLINED, text="insufficient_funds"),
            work,
            lapse,
            later,
            ended,
        ),
        RunState.FAILED,
    ),
    (
        "refused, and shown again",
        (
            *BOUGHT,
            arm("x402.verify", FaultKind.DECLINED, text="insufficient_funds"),
            work,
            disarm,
            buy,
            work,
        ),
        RunState.SUCCEEDED,
    ),
    (
        "facilitator away for a while",
        (*BOUGHT, arm("x402.verify", FaultKind.STATUS, status=503), work, disarm, later),
        RunState.SUCCEEDED,
    ),
    (
        "model overloaded for a while",
        (*BOUGHT, arm(CHAT, FaultKind.STATUS, status=429, times=1), work, disarm, later),
        RunState.SUCCEEDED,
    ),
    (
        "the model says nothing",
        (*BOUGHT, arm(CHAT, FaultKind.EMPTY), work, disarm),
        RunState.FAILED,
    ),
    (
        "the creator's key is spent, and good again",
        (
            *BOUGHT,
            arm(CHAT, FaultKind.STATUS, status=402),
            work,
            disarm,
            look_after_keys,
        ),
        RunState.FAILED,
    ),
)
