"""A deployment that must not run does not start, and says why: everything at once, no secrets."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from config.settings import AppEnv, LightningNetwork, Settings, SettingsError

SERVERS = {"DATABASE_URL": "postgresql://db/honest", "REDIS_URL": "redis://cache/0"}
BENCH = {**SERVERS, "STAND_IN_URL": "http://127.0.0.1:8001"}
PRODUCTION = {
    **SERVERS,
    "APP_ENV": "production",
    "LNBITS_URL": "https://lnbits.example",
    "LNBITS_INVOICE_KEY": "canary-invoice-key",
    "LNBITS_ADMIN_KEY": "canary-admin-key",
    "ANTHROPIC_API_KEY": "canary-anthropic-key",
    "OPENAI_API_KEY": "canary-openai-key",
    "BTC_PRICE_USD_FALLBACK": "",
}


def _without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def _problems(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.load(environ)
    return str(refused.value)


def test_with_servers_and_a_stand_in_alone_there_is_a_development_deployment() -> None:
    settings = Settings.load(BENCH)

    assert settings.app_env is AppEnv.DEVELOPMENT
    assert settings.lightning_is_stand_in
    assert settings.has_stand_in_model
    assert settings.lightning_network is LightningNetwork.REGTEST
    assert settings.btc_price_usd_fallback == 100_000


def test_a_whole_production_environment_is_taken() -> None:
    settings = Settings.load(PRODUCTION)

    assert settings.app_env is AppEnv.PRODUCTION
    assert not settings.lightning_is_stand_in
    assert not settings.has_stand_in_model
    assert settings.lightning_network is LightningNetwork.BITCOIN
    assert settings.btc_price_usd_fallback is None


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings.load(BENCH)

    assert settings.eval_fee_sats == 10
    assert settings.margin_pct == 25
    assert settings.infra_monthly_cost_usd == 50
    assert settings.infra_monthly_jobs == 10_000
    assert settings.request_max_chars == 4000
    assert settings.max_body_bytes == 65_536
    assert settings.job_deadline_seconds == 3600
    assert settings.eval_invoice_expiry_seconds == 3600
    assert settings.work_invoice_expiry_seconds == 3600
    assert settings.lease_seconds == 60
    assert settings.refund_wait_seconds == 20
    assert settings.btc_price_max_stale_seconds == 900
    assert (settings.open_invoices_per_client, settings.open_invoices_max) == (500, 5000)
    assert settings.demo_limit_per_hour == 5
    assert settings.demo_daily_budget_usd == 5
    assert (settings.demo_request_max_chars, settings.demo_wait_seconds) == (1000, 60)
    assert settings.trusted_proxy_hops == 0


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        pytest.param(
            {
                **_without(PRODUCTION, "LNBITS_URL", "LNBITS_INVOICE_KEY", "LNBITS_ADMIN_KEY"),
                "STAND_IN_URL": "http://127.0.0.1:8001",
                "ALLOW_FREE_WORK": "1",
            },
            "Production never runs with the Lightning stand-in",
            id="production with the Lightning stand-in",
        ),
        pytest.param(
            {
                **_without(PRODUCTION, "ANTHROPIC_API_KEY"),
                "STAND_IN_URL": "http://127.0.0.1:8001",
            },
            "Production never runs with the model stand-in",
            id="production with the model stand-in",
        ),
        pytest.param(
            {**PRODUCTION, "WORK_MODEL": "gpt-nine", "OPENAI_API_KEY": ""},
            "Production never runs with the model stand-in",
            id="production with one model of two played",
        ),
        pytest.param(
            {**BENCH, "ANTHROPIC_API_KEY": "canary-anthropic-key"},
            "ALLOW_FREE_WORK",
            id="a real model paid with play money",
        ),
        pytest.param(
            {**BENCH, "LNBITS_URL": "https://lnbits.example"},
            "LNBITS_URL is set but LNBITS_INVOICE_KEY is not",
            id="an LNbits without its key",
        ),
        pytest.param(
            {**BENCH, "LNBITS_INVOICE_KEY": "canary-invoice-key"},
            "LNBITS_URL is not",
            id="an invoice key without an LNbits",
        ),
        pytest.param(
            {**BENCH, "LNBITS_ADMIN_KEY": "canary-admin-key"},
            "LNBITS_URL is not",
            id="an admin key without an LNbits",
        ),
        pytest.param(SERVERS, "No Lightning", id="no Lightning at all"),
        pytest.param(SERVERS, "No model", id="no model at all"),
        pytest.param(
            _without(PRODUCTION, "BTC_PRICE_USD_FALLBACK"),
            "BTC_PRICE_USD_FALLBACK must be set in production",
            id="production that has not decided about the price",
        ),
        pytest.param(_without(BENCH, "DATABASE_URL"), "DATABASE_URL", id="no database"),
        pytest.param(_without(BENCH, "REDIS_URL"), "REDIS_URL", id="no Redis"),
        *(
            pytest.param({**BENCH, "REDIS_URL": url}, "REDIS_URL", id=f"the Redis {url}")
            for url in ("localhost:6379", "http://h/0", "redis://:pa/ss@h/0", "unix:", "amqp://h")
        ),
        *(
            pytest.param({**BENCH, "DATABASE_URL": url}, "DATABASE_URL", id=f"the database {url}")
            for url in ("no address", "localhost/x", "mysql://h/x", "postgresql://h:port/x")
        ),
        pytest.param({**BENCH, "APP_ENV": "prod"}, "APP_ENV", id="an environment that is none"),
        pytest.param({**BENCH, "PORT": "http"}, "PORT", id="a port that is no number"),
        pytest.param({**BENCH, "PORT": "70000"}, "PORT", id="a port that is none"),
        pytest.param({**BENCH, "EVAL_FEE_SATS": "0"}, "EVAL_FEE_SATS", id="a fee of nothing"),
        pytest.param({**BENCH, "EVAL_FEE_SATS": "1.5"}, "EVAL_FEE_SATS", id="half a sat"),
        pytest.param(
            {**BENCH, "INFRA_MONTHLY_COST_USD": "1000001"},
            "INFRA_MONTHLY_COST_USD",
            id="a cost that no column holds",
        ),
        pytest.param({**BENCH, "MARGIN_PCT": "-1"}, "MARGIN_PCT", id="a margin below zero"),
        pytest.param({**BENCH, "MARGIN_PCT": "NaN"}, "MARGIN_PCT", id="a margin of nothing known"),
        pytest.param({**BENCH, "INFRA_MONTHLY_JOBS": "0"}, "INFRA_MONTHLY_JOBS", id="no jobs"),
        pytest.param(
            {**BENCH, "INFRA_MONTHLY_COST_USD": "Infinity"},
            "INFRA_MONTHLY_COST_USD",
            id="endless infrastructure",
        ),
        pytest.param(
            {**BENCH, "BTC_PRICE_USD_FALLBACK": "0"}, "BTC_PRICE_USD_FALLBACK", id="a free bitcoin"
        ),
        pytest.param(
            {**BENCH, "BTC_PRICE_USD_FALLBACK": "0.004"},
            "BTC_PRICE_USD_FALLBACK",
            id="a bitcoin that rounds to nothing",
        ),
        pytest.param({**BENCH, "LEASE_SECONDS": "1"}, "LEASE_SECONDS", id="a lease too short"),
        pytest.param(
            {**BENCH, "INSTANT_RUN_SECONDS": "3601"},
            "INSTANT_RUN_SECONDS: Input should be less than or equal to 3600.",
            id="a run that takes longer than its payment may be good for",
        ),
        pytest.param({**BENCH, "LIGHTNING_NETWORK": "mainnet"}, "LIGHTNING_NETWORK", id="mainnet"),
        pytest.param({**BENCH, "MODEL_PRICES": "{"}, "MODEL_PRICES", id="prices that are no JSON"),
        pytest.param({**BENCH, "MODEL_PRICES": "[1]"}, "MODEL_PRICES", id="prices in a list"),
        pytest.param(
            {**BENCH, "MODEL_PRICES": '{"m": {"input": 1}}'}, "MODEL_PRICES", id="half a price"
        ),
        pytest.param(
            {**BENCH, "MODEL_PRICES": '{"m": {"input": -1, "output": 1}}'},
            "MODEL_PRICES",
            id="a price below zero",
        ),
        pytest.param(
            {**BENCH, "MODEL_PRICES": '{"m": {"input": 0.12345678901, "output": 1}}'},
            "MODEL_PRICES",
            id="a price finer than the ledger can keep",
        ),
        pytest.param(
            {**BENCH, "OUTPUT_TOKENS_BY_TIER": '{"500": 1024}'},
            "OUTPUT_TOKENS_BY_TIER",
            id="tiers without an end",
        ),
        pytest.param(
            {**BENCH, "OUTPUT_TOKENS_BY_TIER": '{"short": 1, "*": 2}'},
            "OUTPUT_TOKENS_BY_TIER",
            id="tiers that are no numbers",
        ),
        pytest.param(
            {**BENCH, "OUTPUT_TOKENS_BY_TIER": '{"*": 0}'}, "OUTPUT_TOKENS_BY_TIER", id="no tokens"
        ),
        pytest.param(
            {**BENCH, "OUTPUT_TOKENS_BY_TIER": '{"*": true}'},
            "OUTPUT_TOKENS_BY_TIER",
            id="tokens that are a yes",
        ),
        pytest.param(
            {**BENCH, "OUTPUT_TOKENS_BY_TIER": "[]"}, "OUTPUT_TOKENS_BY_TIER", id="tiers in a list"
        ),
        pytest.param(
            {**BENCH, "OUTPUT_TOKENS_BY_TIER": '"*"'}, "OUTPUT_TOKENS_BY_TIER", id="a bare star"
        ),
    ],
)
def test_a_deployment_that_must_not_run_does_not_start(environ: dict[str, str], named: str) -> None:
    assert named in _problems(environ)


def test_a_real_model_with_play_money_is_allowed_when_asked_for() -> None:
    settings = Settings.load({**BENCH, "ANTHROPIC_API_KEY": "key", "ALLOW_FREE_WORK": "1"})

    assert settings.has_real_model
    assert settings.lightning_is_stand_in


def test_a_process_that_never_pays_starts_without_the_admin_key() -> None:
    assert Settings.load(_without(PRODUCTION, "LNBITS_ADMIN_KEY")).lnbits_admin_key is None


def test_everything_that_is_wrong_is_said_at_once_each_in_a_line_of_its_own() -> None:
    problems = _problems(
        {
            **SERVERS,
            "APP_ENV": "production",
            "PORT": "x",
            "MARGIN_PCT": "lots",
            "LNBITS_INVOICE_KEY": "canary-invoice-key",
        }
    ).splitlines()

    for named in ("PORT", "MARGIN_PCT", "LNBITS_URL is not", "No model", "BTC_PRICE_USD_FALLBACK"):
        assert sum(named in line for line in problems) == 1, named
    assert all(line.endswith(".") for line in problems)


def test_an_empty_variable_counts_as_not_set() -> None:
    empty = dict.fromkeys(
        ["PORT", "LNBITS_URL", "LNBITS_INVOICE_KEY", "ANTHROPIC_API_KEY", "MODEL_PRICES"], ""
    )

    settings = Settings.load({**BENCH, **empty, "MARGIN_PCT": ""})

    assert settings == Settings.load(BENCH)


def test_an_empty_fallback_price_means_refuse_rather_than_guess() -> None:
    assert Settings.load({**BENCH, "BTC_PRICE_USD_FALLBACK": ""}).btc_price_usd_fallback is None


def test_no_infrastructure_cost_and_no_margin_are_allowed() -> None:
    settings = Settings.load({**BENCH, "INFRA_MONTHLY_COST_USD": "0", "MARGIN_PCT": "0"})

    assert settings.infra_monthly_cost_usd == settings.margin_pct == 0


def test_money_is_read_exactly() -> None:
    prices = '{"m": {"input": 0.1, "output": 0.30}}'
    settings = Settings.load({**BENCH, "MODEL_PRICES": prices, "MARGIN_PCT": "12.1"})

    assert settings.model_prices["m"].input == Decimal("0.1")
    assert settings.model_prices["m"].output == Decimal("0.30")
    assert settings.margin_pct == Decimal("12.1")


def test_tiers_are_read_in_the_order_of_their_size() -> None:
    tiers = '{"2000": 20, "*": 40, "0500": 10}'

    caps = Settings.load({**BENCH, "OUTPUT_TOKENS_BY_TIER": tiers}).output_tokens_by_tier

    assert [caps.cap_for(size) for size in (500, 501, 2000, 2001)] == [10, 20, 20, 40]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_the_database_gets_the_driver_that_we_have(scheme: str) -> None:
    settings = Settings.load({**BENCH, "DATABASE_URL": f"{scheme}://u:p@db:5432/x"})

    assert settings.database_url == "postgresql+psycopg2://u:p@db:5432/x"


def test_no_secret_is_shown_by_what_holds_it() -> None:
    environ = {
        **PRODUCTION,
        "DATABASE_URL": "postgresql://user:canary-password@db/honest",
        "REDIS_URL": "redis://:canary-password@cache/0",
    }
    settings = Settings.load(environ)

    assert "canary" not in repr(settings)
    assert "canary" not in str(settings)
    assert "canary" not in f"{settings}"


@pytest.mark.parametrize("name", ["PORT", "MODEL_PRICES", "EVAL_FEE_SATS", "APP_ENV"])
def test_no_error_repeats_what_was_in_a_variable(name: str) -> None:
    """A key that was pasted into the wrong variable must not end up in a log."""
    problems = _problems({**PRODUCTION, name: "canary-pasted-key", "LNBITS_URL": ""})

    assert "canary" not in problems


def test_settings_cannot_be_changed_after_the_start() -> None:
    settings = Settings.load(BENCH)

    with pytest.raises(ValidationError):
        settings.margin_pct = Decimal(0)  # type: ignore[misc]


@pytest.mark.parametrize("margin", ["0", "25", "12.5", "33.33", "25.000", "1000"])
def test_a_margin_that_can_be_shown_is_taken_as_it_is(margin: str) -> None:
    assert Settings.load({**BENCH, "MARGIN_PCT": margin}).margin_pct == Decimal(margin)


@pytest.mark.parametrize(
    "margin",
    ["33.333", "1000.01", f"1.{30 * '0'}1", f"0.{40 * '3'}", "1e9", "1e-9", "-1", "NaN", "sNaN"],
)
def test_a_margin_that_nobody_could_recompute_with_is_refused(margin: str) -> None:
    assert "MARGIN_PCT" in _problems({**BENCH, "MARGIN_PCT": margin})


def test_the_refusal_of_a_margin_says_what_is_wanted() -> None:
    problems = _problems({**BENCH, "MARGIN_PCT": "33.333"})

    assert "a percentage from 0 to 1000 with at most 2 decimals" in problems


def test_a_token_of_the_operator_that_could_be_guessed_is_refused_and_not_repeated() -> None:
    problems = _problems({**BENCH, "OPS_TOKEN": "hunter2hunter2"})

    assert "OPS_TOKEN is shorter than 16 characters" in problems
    assert "hunter2" not in problems
