"""What must hold before a process serves anybody: known prices, a fee that pays for itself."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from config.settings import STAND_IN_INVOICE_KEY, AppEnv, ModelPrice, Settings, SettingsError
from gateways.errors import Refused
from gateways.http import HttpClient
from gateways.lnurl import NotAReceiver
from models.money import Sats
from services import toolbox
from services.operate import startup
from services.toolbox import Role, Toolbox


def _built(tools: Toolbox, role: Role = Role.WEB, **settings: Any) -> Toolbox:
    """A toolbox as a process builds it, with other settings; it connects to nothing."""
    return toolbox.build(tools.settings.model_copy(update=settings), role)


def _problems(built: Toolbox) -> str:
    with pytest.raises(SettingsError) as refused:
        startup.check(built)
    return str(refused.value)


def test_the_defaults_start(tools: Toolbox) -> None:
    startup.check(_built(tools))


def test_models_without_a_known_price_are_named_all_at_once(tools: Toolbox) -> None:
    problems = _problems(_built(tools, eval_model="llama-x", work_model="llama-y")).splitlines()

    assert ["EVAL_MODEL=llama-x" in problems[0], "WORK_MODEL=llama-y" in problems[1]] == [True] * 2


def test_a_model_with_a_price_of_our_own_starts(tools: Toolbox) -> None:
    price = ModelPrice(input=Decimal("0.1"), output=Decimal("0.2"))

    startup.check(_built(tools, work_model="llama-y", model_prices={"llama-y": price}))


def test_an_evaluation_fee_below_the_worst_evaluation_is_refused(tools: Toolbox) -> None:
    problems = _problems(_built(tools, eval_fee_sats=1))

    assert "EVAL_FEE_SATS=1" in problems
    assert "ALLOW_EVAL_LOSS" in problems


def test_the_same_fee_starts_when_the_loss_is_wanted(tools: Toolbox) -> None:
    startup.check(_built(tools, eval_fee_sats=1, allow_eval_loss=True))


def test_a_model_that_costs_nothing_can_be_evaluated_for_the_smallest_fee(tools: Toolbox) -> None:
    free = ModelPrice(input=Decimal(0), output=Decimal(0))

    startup.check(_built(tools, eval_fee_sats=1, eval_model="mine", model_prices={"mine": free}))


def test_a_longer_request_makes_the_same_fee_too_small(tools: Toolbox) -> None:
    assert "EVAL_FEE_SATS" in _problems(_built(tools, request_max_chars=100_000))


def test_a_work_model_that_is_dearer_for_the_longest_request_than_for_a_short_one_is_refused(
    tools: Toolbox,
) -> None:
    """It is charged by the rates of its bound in bytes, and uses far fewer tokens."""
    dear_past_200k: dict[str, Any] = {"work_model": "claude-sonnet-4-5", "allow_eval_loss": True}

    startup.check(_built(tools, request_max_chars=49_000, **dear_past_200k))
    problems = _problems(_built(tools, request_max_chars=50_000, **dear_past_200k))

    assert "WORK_MODEL=claude-sonnet-4-5" in problems
    assert "REQUEST_MAX_CHARS=50000" in problems
    one_rate = {"claude-sonnet-4-5": ModelPrice(input=Decimal(6), output=Decimal("22.5"))}
    startup.check(_built(tools, request_max_chars=50_000, model_prices=one_rate, **dear_past_200k))


@pytest.mark.parametrize("role", [Role.WEB, Role.MODELS])
def test_only_the_money_worker_holds_the_key_that_pays(tools: Toolbox, role: Role) -> None:
    assert _built(tools, role).payouts is None
    assert _built(tools, Role.MONEY).payouts is not None


def test_the_money_worker_does_not_start_without_the_key_that_pays(tools: Toolbox) -> None:
    real = {"lnbits_url": "https://lnbits.example", "lnbits_invoice_key": "canary-key"}

    _built(tools, Role.WEB, **real)
    with pytest.raises(SettingsError, match="LNBITS_ADMIN_KEY"):
        _built(tools, Role.MONEY, **real)


def test_a_price_feed_that_nobody_knows_is_refused(tools: Toolbox) -> None:
    environ = {
        "DATABASE_URL": tools.settings.database_url,
        "REDIS_URL": tools.settings.redis_url,
        "STAND_IN_URL": tools.settings.stand_in_url or "",
        "PRICE_FEEDS": "kraken,crystal-ball",
    }

    with pytest.raises(SettingsError, match=r"PRICE_FEEDS.*crystal-ball"):
        toolbox.build(Settings.load(environ), Role.WEB)


def test_nobody_pays_our_invoices_for_us_beside_a_real_lightning(tools: Toolbox) -> None:
    real = {"lnbits_url": "https://lnbits.example", "lnbits_invoice_key": "canary-key"}

    assert _built(tools, Role.WEB).bench_payer is not None
    assert _built(tools, Role.WEB, **real).bench_payer is None


@pytest.mark.parametrize("base", ["https://honest.example", "https://honest.example/"])
def test_lnbits_is_told_to_nudge_us_at_the_address_that_we_listen_at(
    tools: Toolbox, base: str
) -> None:
    built = _built(tools, lnbits_webhook_base_url=base)

    issued = built.income.create_invoice(Sats(7), memo="test", lifetime=timedelta(hours=1))

    row = HttpClient().get(
        f"{tools.settings.stand_in_url}/api/v1/payments/{issued.payment_hash}",
        seconds=10,
        headers={"X-Api-Key": STAND_IN_INVOICE_KEY},
    )
    told = row.object()["details"]["webhook"]
    assert told == f"https://honest.example/api/hooks/lnbits/{tools.webhook_token}"


BENCH_URL = "http://127.0.0.1:8001"


def _production(**more: str) -> Settings:
    return Settings.load(
        {
            "DATABASE_URL": "postgresql://nowhere",
            "REDIS_URL": "redis://nowhere",
            "APP_ENV": "production",
            "LNBITS_URL": "https://lnbits.example",
            "LNBITS_INVOICE_KEY": "canary-invoice-key",
            "LNBITS_ADMIN_KEY": "canary-admin-key",
            "LNBITS_WEBHOOK_BASE_URL": "https://honest.example",
            "ANTHROPIC_API_KEY": "canary-anthropic-key",
            "BTC_PRICE_USD_FALLBACK": "",
            **more,
        }
    )


@pytest.mark.parametrize("bench_url", ["", BENCH_URL])
def test_in_production_no_stranger_can_name_an_address_of_the_bench(bench_url: str) -> None:
    settings = _production(STAND_IN_URL=bench_url)

    assert toolbox.bench_origins(settings) == ()
    receivers = toolbox.build(settings, Role.MODELS).receivers
    for text in (BENCH_URL, "alice@127.0.0.1:8001", "https://127.0.0.1/"):
        with pytest.raises(NotAReceiver):
            receivers.check(text)
    receivers.check("alice@wallet.example")


def test_in_production_the_bench_stays_shut_whatever_else_the_settings_say(tools: Toolbox) -> None:
    settings = tools.settings.model_copy(update={"app_env": AppEnv.PRODUCTION})

    assert settings.lightning_is_stand_in
    assert toolbox.bench_origins(settings) == ()


def test_beside_a_real_lnbits_the_bench_is_shut_in_development_too(tools: Toolbox) -> None:
    settings = tools.settings.model_copy(update={"lnbits_url": "https://lnbits.example"})

    assert toolbox.bench_origins(tools.settings) == (tools.settings.stand_in_url,)
    assert toolbox.bench_origins(settings) == ()


@pytest.mark.parametrize("host", ["lnbits.example", "honest.example"])
def test_no_stranger_makes_us_ask_a_host_of_our_own(host: str) -> None:
    receivers = toolbox.build(_production(), Role.MODELS).receivers

    with pytest.raises(Refused) as refused:
        receivers.invoice(f"alice@{host}", Sats(10))

    assert refused.value.code == "own_host"
