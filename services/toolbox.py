"""Every collaborator, built once per process and handed down: only here gateways have names."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cache, partial
from urllib.parse import urlsplit

from config.broker import make_celery
from config.settings import (
    STAND_IN_ADMIN_KEY,
    STAND_IN_INVOICE_KEY,
    STAND_IN_MODEL_KEY,
    AppEnv,
    Settings,
    SettingsError,
    is_anthropic,
)
from gateways.http import HttpClient, PublicHttpClient
from gateways.lightning import BenchPayer, Income, Payouts
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from gateways.lightning.stand_in import StandInPayer
from gateways.llms import LanguageModel
from gateways.lnurl import Receivers
from gateways.lnurl.receivers import LnurlReceivers
from gateways.model_lists import ModelList
from gateways.model_lists.openrouter import OpenRouterModels
from gateways.prices import ModelRates, PriceFeed, TokenRates
from gateways.prices.feeds import known_feeds
from gateways.prices.model_rates import LibraryRates
from gateways.provider_keys import ProviderKeys
from gateways.provider_keys.checks import HttpProviderKeys
from gateways.proxied import Upstreams
from gateways.proxied.upstreams import PublicUpstreams
from gateways.vault import Vault
from gateways.x402 import Chain, Facilitator, Network
from gateways.x402.chain import RpcChain
from gateways.x402.networks import BASE_SEPOLIA, NETWORKS, by_name
from models.creator import Provider
from models.database import Database
from services.doorbell import CeleryDoorbell, Doorbell
from services.leases import Leases
from services.proof import Proof
from services.resting_feed import RestingFeed


class Role(StrEnum):
    """Which process this is; only the money worker may hold the key that pays."""

    WEB = "web"
    MONEY = "money"
    MODELS = "models"


WEBHOOK_PATH = "/api/hooks/lnbits/"
CONNECTIONS = {Role.WEB: 16, Role.MONEY: 24, Role.MODELS: 24}


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """What a use case may need. Tests hand in others by ``with_``."""

    settings: Settings
    database: Database
    doorbell: Doorbell
    leases: Leases
    income: Income
    payouts: Payouts | None
    """Only in the money worker."""
    receivers: Receivers
    """Whom callers want to be refunded at."""
    upstreams: Upstreams
    """Servers of creators, whose answers are sold."""
    proof: Proof
    language_model: Callable[[str], LanguageModel]
    """By model name; also for a model that an older quote was made with."""
    model_rates: ModelRates
    price_feeds: tuple[PriceFeed, ...]
    webhook_token: str
    bench_payer: BenchPayer | None
    """Only beside the Lightning stand-in."""
    vault: Vault | None
    """None = VAULT_KEYS is not set: there are no instant resources."""
    provider_keys: ProviderKeys
    model_list: ModelList
    """What creators may build on."""
    creator_model: Callable[[Provider, str], LanguageModel]
    """By provider and the creator's own key, opened: keep neither longer than the call."""

    networks: tuple[Network, ...]
    """Where creators can be paid."""
    facilitator: Facilitator | None
    """None = nothing verifies payments: nothing is sold."""
    chain: Chain | None
    """None = doubts about settlements are the operator's."""

    def with_(self, **changes: object) -> "Toolbox":
        """The same toolbox with some collaborators exchanged."""
        return replace(self, **changes)  # type: ignore[arg-type]


def build(settings: Settings, role: Role) -> Toolbox:
    """Build everything this process needs; connects to nothing yet. Raises SettingsError."""
    http = HttpClient()
    return Toolbox(
        settings=settings,
        database=Database(settings.database_url, connections=CONNECTIONS[role]),
        doorbell=CeleryDoorbell(make_celery(settings)),
        leases=Leases(settings.lease),
        income=_income(settings, http),
        payouts=payouts_of(settings, http) if role is Role.MONEY else None,
        proof=Proof(),
        receivers=_receivers(settings),
        upstreams=PublicUpstreams(_for_strangers(settings)),
        language_model=cache(partial(_language_model, settings)),
        model_rates=_model_rates(settings),
        price_feeds=feeds_of(settings, http),
        webhook_token=webhook_token(settings.lnbits_invoice_key or STAND_IN_INVOICE_KEY),
        bench_payer=_bench_payer(settings, http),
        vault=_vault(settings),
        provider_keys=HttpProviderKeys(
            http,
            openrouter_url=openrouter_url(settings),
            anthropic_url=_creators_anthropic_url(settings),
        ),
        model_list=OpenRouterModels(openrouter_url(settings), http),
        creator_model=partial(_creator_model, settings),
        networks=_networks(settings),
        facilitator=_facilitator(settings, http),
        chain=_chain(settings, http),
    )


def _lightning_url(settings: Settings) -> str:
    url = settings.lnbits_url or settings.stand_in_url
    assert url is not None  # Settings.load refuses to run without either
    return url


def _income(settings: Settings, http: HttpClient) -> Income:
    key = settings.lnbits_invoice_key or STAND_IN_INVOICE_KEY
    base = settings.lnbits_webhook_base_url
    webhook = f"{base.rstrip('/')}{WEBHOOK_PATH}{webhook_token(key)}" if base else None
    return LnbitsIncome(_lightning_url(settings), key, http, webhook=webhook)


def webhook_token(invoice_key: str) -> str:
    """What LNbits' webhook must know: 128 bits that follow from the invoice key, stored nowhere."""
    return hmac.new(invoice_key.encode(), b"lnbits webhook", hashlib.sha256).hexdigest()[:32]


def payouts_of(settings: Settings, http: HttpClient) -> Payouts:
    """The gateway that pays. Raises SettingsError when it has no key."""
    key = settings.lnbits_admin_key
    if key is None and not settings.lightning_is_stand_in:
        raise SettingsError(
            "LNBITS_URL is set but LNBITS_ADMIN_KEY is not: nothing could be refunded."
        )
    return LnbitsPayouts(_lightning_url(settings), key or STAND_IN_ADMIN_KEY, http)


def _receivers(settings: Settings) -> Receivers:
    """Beside the Lightning stand-in, and nowhere else, its own LNURL receivers may be asked."""
    return LnurlReceivers(_for_strangers(settings), bench_origins=bench_origins(settings))


def _for_strangers(settings: Settings) -> PublicHttpClient:
    return PublicHttpClient(bench_origins=bench_origins(settings), own_hosts=_own_hosts(settings))


def bench_origins(settings: Settings) -> tuple[str, ...]:
    """Addresses that strangers may name although they are ours: none in production."""
    is_bench = settings.lightning_is_stand_in and settings.app_env is not AppEnv.PRODUCTION
    return (settings.stand_in_url.rstrip("/"),) if is_bench and settings.stand_in_url else ()


def _own_hosts(settings: Settings) -> set[str]:
    """Hosts that we reach by names of our own, and that no stranger may make us ask."""
    ours = (
        *(settings.lnbits_url, settings.lnbits_webhook_base_url, settings.stand_in_url),
        *(settings.public_url, settings.x402_facilitator_url),
        *(settings.x402_rpc_urls or {}).values(),
    )
    return {(urlsplit(url).hostname or "").lower() for url in ours if url}


def _bench_payer(settings: Settings, http: HttpClient) -> BenchPayer | None:
    if not settings.lightning_is_stand_in or settings.stand_in_url is None:
        return None
    return StandInPayer(settings.stand_in_url, http)


def _language_model(settings: Settings, model: str) -> LanguageModel:
    """Import the provider's SDK only here: it takes seconds, and most processes need none."""
    key = settings.model_key(model)
    if is_anthropic(model):
        from gateways.llms.anthropic import AnthropicModel

        return AnthropicModel(
            api_key=key or STAND_IN_MODEL_KEY,
            base_url=settings.anthropic_base_url if key else settings.stand_in_url,
            timeout_seconds=settings.model_timeout_seconds,
        )
    stand_in = f"{settings.stand_in_url}/v1" if settings.stand_in_url else None
    from gateways.llms.openai_compatible import OpenAiCompatibleModel

    return OpenAiCompatibleModel(
        api_key=key or STAND_IN_MODEL_KEY,
        base_url=settings.openai_base_url if key else stand_in,
        timeout_seconds=settings.model_timeout_seconds,
    )


def _vault(settings: Settings) -> Vault | None:
    if not settings.vault_keys:
        return None
    try:
        return Vault(settings.vault_keys)
    except ValueError as error:
        raise SettingsError(f"VAULT_KEYS: {error}.") from error


def openrouter_url(settings: Settings) -> str:
    """Ours to choose; else the stand-in's, so that a bench tells no stranger about its keys."""
    beside_us = settings.stand_in_url if settings.lightning_is_stand_in else None
    played = f"{beside_us.rstrip('/')}/openrouter/api/v1" if beside_us else None
    return settings.openrouter_base_url or played or "https://openrouter.ai/api/v1"


def _creators_anthropic_url(settings: Settings) -> str:
    beside_us = settings.stand_in_url if settings.lightning_is_stand_in else None
    return beside_us or settings.anthropic_base_url or "https://api.anthropic.com"


def _creator_model(settings: Settings, provider: Provider, secret: str) -> LanguageModel:
    """Made for one call: a creator's key stays in no cache."""
    if provider is Provider.ANTHROPIC:
        from gateways.llms.anthropic import AnthropicModel

        return AnthropicModel(
            api_key=secret,
            base_url=_creators_anthropic_url(settings),
            timeout_seconds=settings.instant_run_seconds,
        )
    from gateways.llms.openai_compatible import OpenAiCompatibleModel

    return OpenAiCompatibleModel(
        api_key=secret,
        base_url=openrouter_url(settings),
        timeout_seconds=settings.instant_run_seconds,
        headers={
            "HTTP-Referer": settings.attribution_url,
            "X-Title": settings.attribution_title,
        },
    )


def _model_rates(settings: Settings) -> ModelRates:
    return LibraryRates(
        {
            model: TokenRates(input=Decimal(price.input), output=Decimal(price.output))
            for model, price in settings.model_prices.items()
        }
    )


def feeds_of(settings: Settings, http: HttpClient) -> tuple[PriceFeed, ...]:
    """With Lightning played by the stand-in, it plays the feeds as well, unless some are named."""
    names = settings.price_feeds
    if settings.lightning_is_stand_in and "price_feeds" not in settings.model_fields_set:
        names = tuple(f"{name}={settings.stand_in_url}/feeds/{name}" for name in names)
    try:
        return tuple(RestingFeed(feed) for feed in known_feeds(names, http))
    except ValueError as error:
        raise SettingsError(f"PRICE_FEEDS: {error}") from error


def facilitator_url(settings: Settings) -> str | None:
    """Ours to choose, else the stand-in's where Lightning is played as well."""
    return settings.x402_facilitator_url or _played_x402(settings)


def _played_x402(settings: Settings) -> str | None:
    """Where the stand-in plays facilitator and chain: never beside a real facilitator."""
    is_bench = settings.lightning_is_stand_in and settings.x402_facilitator_url is None
    beside_us = settings.stand_in_url if is_bench else None
    return f"{beside_us.rstrip('/')}/x402" if beside_us else None


def _networks(settings: Settings) -> tuple[Network, ...]:
    """Beside the stand-in only play money is asked for, unless some networks are named."""
    if _played_x402(settings) and "x402_networks" not in settings.model_fields_set:
        return (BASE_SEPOLIA,)
    return tuple(_network("X402_NETWORKS", name) for name in settings.x402_networks)


def _network(variable: str, name: str) -> Network:
    network = by_name(name)
    if network is None:
        known = ", ".join(network.name for network in NETWORKS)
        raise SettingsError(f"{variable}: {name} is none of the known networks ({known}).")
    return network


def _facilitator(settings: Settings, http: HttpClient) -> Facilitator | None:
    url = facilitator_url(settings)
    if url is None:
        return None
    from gateways.x402.facilitator import HttpFacilitator

    return HttpFacilitator(url, http)


def _chain(settings: Settings, http: HttpClient) -> Chain | None:
    """By the nodes that are named; beside the stand-in by its own."""
    played = _played_x402(settings)
    urls = settings.x402_rpc_urls
    if urls is None and played is not None:
        urls = {network.name: f"{played}/rpc/{network.chain_id}" for network in NETWORKS}
    if not urls:
        return None
    return RpcChain({_network("X402_RPC_URLS", name).name: urls[name] for name in urls}, http)
