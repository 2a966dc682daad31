"""Every setting of a deployment: read once at an entry point, frozen, all problems at once."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

STAND_IN_INVOICE_KEY = "stand-in-invoice-key"
STAND_IN_ADMIN_KEY = "stand-in-admin-key"
STAND_IN_MODEL_KEY = "stand-in-model-key"
DEVELOPMENT_BTC_PRICE_USD = Decimal(100_000)
LONGEST_RUN_SECONDS = 3600
"""A payment is good for two hours at most, and the chain is searched for no longer."""


class AppEnv(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class LightningNetwork(StrEnum):
    BITCOIN = "bitcoin"
    TESTNET = "testnet"
    SIGNET = "signet"
    REGTEST = "regtest"


class SettingsError(Exception):
    """The environment describes no deployment that may run; the message says all that is wrong."""


TokenRate = Annotated[Decimal, Field(ge=0, allow_inf_nan=False, max_digits=20, decimal_places=10)]
"""As fine as the database keeps it: a charge is recomputed from what was kept."""


class ModelPrice(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input: TokenRate
    output: TokenRate


class OutputTokens(BaseModel):
    """The output cap by size of the request: the first tier that fits, else ``otherwise``."""

    model_config = ConfigDict(frozen=True)
    tiers: tuple[tuple[int, int], ...] = ((500, 1024), (2000, 2048))
    """(characters up to which it holds, tokens), ascending."""
    otherwise: int = 4096

    def cap_for(self, characters: int) -> int:
        """Tokens that a request of this many characters may produce, thinking included."""
        return next(
            (tokens for limit, tokens in self.tiers if characters <= limit),
            self.otherwise,
        )


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_float=Decimal)
    except ValueError as error:
        raise ValueError("is not valid JSON") from error


def _output_tokens(value: object) -> object:
    """Read ``{"500": 1024, "2000": 2048, "*": 4096}``."""
    table = _from_json(value)
    if not isinstance(table, dict):
        return table
    if "*" not in table or any(type(tokens) is not int or tokens < 1 for tokens in table.values()):
        raise ValueError(
            'wants positive tokens by character limit, with a "*" for all larger requests'
        )
    otherwise = table.pop("*")
    tiers = sorted((int(limit), tokens) for limit, tokens in table.items())
    return {"tiers": tiers, "otherwise": otherwise}


def _comma_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def psycopg2_url(url: str) -> str:
    """Name the driver: SQLAlchemy 2.1 reads a bare ``postgresql://`` as psycopg 3."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


_OF_POSTGRESQL = re.compile(
    r"postgresql\+psycopg2://(?:[^:/]*(?::[^@]*)?@)?(?:\[[^/?]+\]|[^/:?]*)(?::\d*)?(?:[/?].*)?"
)
"""As SQLAlchemy reads an address; a password may hold anything but ``@``."""
_NOWHERE = {"database_url": "postgresql://", "redis_url": "redis://"}
"""In place of what makes no sense, so that all else can be judged."""


def _database(url: str) -> str:
    address = psycopg2_url(url)
    if not _OF_POSTGRESQL.fullmatch(address):
        raise ValueError("wants the address of a PostgreSQL database, postgresql://…")
    return address


def _broker(url: str) -> str:
    if not _is_of_redis(url):
        raise ValueError(
            "wants the address of a Redis or Valkey, redis://… or rediss://…,"
            " with what is special in its password percent-encoded"
        )
    return url


def _is_of_redis(url: str) -> bool:
    try:
        address = urlsplit(url)
        _ = address.port  # whether it is one
    except ValueError:
        return False
    is_socket = address.scheme == "unix" and address.path != ""
    return is_socket or address.scheme in {"redis", "rediss"}


Secret = Annotated[str | None, Field(repr=False)]
Seconds = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Dollars = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


SHORTEST_TOKEN = 16
MOST_MARGIN_PCT = 1000
MARGIN_DECIMALS = 2


def _margin(percent: Decimal) -> Decimal:
    """Few digits: whoever recomputes a price multiplies by exactly what is shown."""
    if not 0 <= percent <= MOST_MARGIN_PCT or percent != round(percent, MARGIN_DECIMALS):
        raise ValueError(
            f"wants a percentage from 0 to {MOST_MARGIN_PCT} with at most"
            f" {MARGIN_DECIMALS} decimals, such as 25 or 12.5"
        )
    return percent


def _fee(percent: Decimal) -> Decimal:
    if not 0 <= percent <= 100 or percent != round(percent, MARGIN_DECIMALS):
        raise ValueError(
            f"wants a percentage from 0 to 100 with at most {MARGIN_DECIMALS} decimals"
        )
    return percent


class Settings(BaseModel):
    """One deployment. Each member is the environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    app_env: AppEnv = AppEnv.DEVELOPMENT
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    data_dir: str = "./.data"
    log_format: str = Field(default="pretty", pattern="^(pretty|json)$")

    database_url: Annotated[str, AfterValidator(_database)] = Field(repr=False)
    redis_url: Annotated[str, AfterValidator(_broker)] = Field(repr=False)

    stand_in_url: str | None = None
    """Where ``local.stand_in`` listens: plays the part of whatever below has no key or address."""
    lnbits_url: str | None = None
    lnbits_invoice_key: Secret = None
    lnbits_admin_key: Secret = None
    lnbits_requests_per_minute: Count = 200
    """LNbits' own limit for our address (its default is 200); creating jobs may use half of it (one
    client alone a quarter), looking at refunds in doubt a quarter."""
    lnbits_webhook_base_url: str | None = None
    """Where LNbits reaches us; it only pulls the next poll forward."""
    lightning_network: LightningNetwork = LightningNetwork.BITCOIN

    anthropic_api_key: Secret = None
    anthropic_base_url: str | None = None
    openai_api_key: Secret = None
    openai_base_url: str | None = None
    eval_model: str = "claude-haiku-5-5"
    work_model: str = "claude-sonnet-5-5"
    model_prices: Annotated[dict[str, ModelPrice], BeforeValidator(_from_json)] = Field(
        default_factory=dict
    )
    model_timeout_seconds: Seconds = 300

    eval_fee_sats: Count = 10
    margin_pct: Annotated[Dollars, AfterValidator(_margin)] = Decimal(25)
    infra_monthly_cost_usd: Annotated[Dollars, Field(le=1_000_000)] = Decimal(50)
    infra_monthly_jobs: Count = 10_000
    output_tokens_by_tier: Annotated[OutputTokens, BeforeValidator(_output_tokens)] = OutputTokens()
    price_feeds: Annotated[tuple[str, ...], BeforeValidator(_comma_list)] = (
        "coingecko",
        "kraken",
        "coinbase",
        "bitstamp",
        "mempool",
    )
    """Names of known feeds, each optionally ``name=URL`` to ask it at another address."""
    btc_price_usd_fallback: Decimal | None = Field(
        default=None, ge=Decimal("0.01"), allow_inf_nan=False
    )
    """At least a cent: prices are rounded to the cent before anything is divided by them."""
    btc_price_max_stale_seconds: Seconds = 900

    eval_invoice_expiry_seconds: Seconds = 3600
    work_invoice_expiry_seconds: Seconds = 3600
    job_deadline_seconds: Seconds = 3600
    lease_seconds: int = Field(default=60, ge=2)
    refund_wait_seconds: int = Field(default=20, ge=0)

    request_max_chars: Count = 4000
    max_body_bytes: Count = 65_536
    demo_limit_per_hour: Count = 5
    demo_daily_budget_usd: Dollars = Decimal(5)
    demo_request_max_chars: Count = 1000
    demo_wait_seconds: Seconds = 60
    demo_max_output_tokens: Count = 300
    open_invoices_per_client: Count = 500
    open_invoices_max: Count = 5000
    trusted_proxy_hops: int = Field(default=0, ge=0)

    vault_keys: Annotated[
        tuple[str, ...] | None, BeforeValidator(_comma_list), Field(repr=False)
    ] = None
    """What seals creators' keys: 32 random bytes each as base64url, the newest first.

    Without one there are no instant resources.
    """
    ops_token: Secret = None
    """Opens what only the operator may do over HTTP; without one nobody may."""
    openrouter_base_url: str | None = None
    """Default: OpenRouter's own, or the stand-in beside the Lightning stand-in."""
    attribution_url: str = "https://honestwork.example"
    """``HTTP-Referer`` of calls on creators' keys: who the provider is told sent them."""
    attribution_title: str = "Honest Work"
    public_url: str | None = None
    """Where callers reach us, such as ``https://api.example``; default: as each request says."""
    x402_facilitator_url: str | None = None
    x402_networks: Annotated[tuple[str, ...], BeforeValidator(_comma_list)] = ("eip155:8453",)
    """CAIP-2 names. Beside the stand-in's facilitator Base Sepolia, unless some are named."""
    x402_rpc_urls: Annotated[
        dict[str, str] | None, BeforeValidator(_from_json), Field(repr=False)
    ] = None
    """``{"eip155:8453": "https://…"}``: settle doubts by the chain itself."""
    platform_fee_pct: Annotated[Dollars, AfterValidator(_fee)] = Decimal(0)
    max_resource_price_usd: Annotated[
        Decimal, Field(ge=Decimal("0.001"), le=1000, allow_inf_nan=False)
    ] = Decimal(1)
    """Default clients pay at most one dollar a call."""
    instant_wait_seconds: int = Field(default=25, ge=0)
    instant_run_seconds: Annotated[Seconds, Field(le=LONGEST_RUN_SECONDS)] = 240
    """How long the call of one run may take. Payments must stay valid for longer than that."""
    instant_retention_days: Count = 7
    """How long a result can be read; the log of runs is kept for ever."""
    max_unsettled_per_payer: Count = 2
    max_unsettled_per_resource: Count = 50

    allow_free_work: bool = False
    allow_eval_loss: bool = False

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment. Raises SettingsError with one line per problem.

        An empty variable counts as not set, except ``BTC_PRICE_USD_FALLBACK``, where empty means
        "refuse new invoices when no price is to be had".
        """
        values: dict[str, Any] = {
            name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())
        }
        if "BTC_PRICE_USD_FALLBACK" not in environ and values.get("app_env") != AppEnv.PRODUCTION:
            values["btc_price_usd_fallback"] = DEVELOPMENT_BTC_PRICE_USD
        if "lightning_network" not in values and "lnbits_url" not in values:
            values["lightning_network"] = LightningNetwork.REGTEST
        settings, problems = cls._read(values)
        problems += settings.contradictions()
        if settings.app_env is AppEnv.PRODUCTION and "BTC_PRICE_USD_FALLBACK" not in environ:
            problems.append(
                "BTC_PRICE_USD_FALLBACK must be set in production"
                " (empty: refuse new invoices without a live price)."
            )
        if problems:
            raise SettingsError("\n".join(problems))
        return settings

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> tuple[Self, list[str]]:
        """The settings, with defaults for what makes no sense, and a sentence on each of those."""
        try:
            return cls.model_validate(values), []
        except ValidationError as error:
            wrong = {str(problem["loc"][0]) for problem in error.errors(include_url=False)}
            nowhere = {name: url for name, url in _NOWHERE.items() if name in wrong}
            sound = {name: value for name, value in values.items() if name not in wrong}
            return cls.model_validate(sound | nowhere), _in_sentences(error)

    def contradictions(self) -> list[str]:
        """Everything that is valid by itself and wrong together, one sentence each."""
        rules = {
            (
                "Production never runs with the Lightning stand-in:"
                " set LNBITS_URL and LNBITS_INVOICE_KEY."
            ): (self.app_env is AppEnv.PRODUCTION and self.lightning_is_stand_in),
            (
                "Production never runs with the model stand-in:"
                " set ANTHROPIC_API_KEY or OPENAI_API_KEY."
            ): (self.app_env is AppEnv.PRODUCTION and self.has_stand_in_model),
            (
                "A real model key with the Lightning stand-in gives work away:"
                " set LNBITS_URL, or ALLOW_FREE_WORK=1."
            ): (self.lightning_is_stand_in and self.has_real_model and not self.allow_free_work),
            "LNBITS_URL is set but LNBITS_INVOICE_KEY is not.": (
                self.lnbits_url is not None and self.lnbits_invoice_key is None
            ),
            "LNBITS_INVOICE_KEY or LNBITS_ADMIN_KEY is set but LNBITS_URL is not.": (
                self.lnbits_url is None and bool(self.lnbits_invoice_key or self.lnbits_admin_key)
            ),
            (
                "No Lightning: set LNBITS_URL and its keys,"
                " or start with `make run`, which brings a stand-in."
            ): (self.lnbits_url is None and self.stand_in_url is None),
            f"OPS_TOKEN is shorter than {SHORTEST_TOKEN} characters: use 32 random bytes.": (
                self.ops_token is not None and len(self.ops_token) < SHORTEST_TOKEN
            ),
            (
                "No model: set ANTHROPIC_API_KEY or OPENAI_API_KEY,"
                " or start with `make run`, which brings a stand-in."
            ): (self.has_stand_in_model and self.stand_in_url is None),
        }
        return [sentence for sentence, is_broken in rules.items() if is_broken]

    @property
    def lightning_is_stand_in(self) -> bool:
        return self.lnbits_url is None

    def model_key(self, model: str) -> str | None:
        """The key of the provider that serves this model; None = the stand-in plays it."""
        return self.anthropic_api_key if is_anthropic(model) else self.openai_api_key

    @property
    def has_stand_in_model(self) -> bool:
        return any(self.model_key(model) is None for model in (self.eval_model, self.work_model))

    @property
    def has_real_model(self) -> bool:
        return any(
            self.model_key(model) is not None for model in (self.eval_model, self.work_model)
        )

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def job_deadline(self) -> timedelta:
        return timedelta(seconds=self.job_deadline_seconds)


def is_anthropic(model: str) -> bool:
    """Claude models go through the anthropic SDK, all others to the OpenAI-compatible server."""
    return model.startswith("claude-")


def _in_sentences(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}."
        for problem in error.errors(include_url=False, include_input=False)
    ]
