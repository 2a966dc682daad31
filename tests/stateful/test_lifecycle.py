"""The whole lifecycle against a world that answers, loses answers, lies, hangs and kills."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from app.factory import create_app
from gateways.http import HttpClient
from gateways.prices.feeds import known_feeds
from local.stand_in.testing import StandInClient
from models import schema
from services import toolbox
from services.leases import Leases
from services.toolbox import Role, Toolbox
from tests.stateful.effort import ASKED_FOR
from tests.stateful.machine import OPENINGS, Bench, Lifecycle
from tests.stateful.world import HASTY_SECONDS
from tests.support.canary import Listener
from tests.support.confidential import keys_in

FEEDS = ("coingecko", "kraken", "coinbase")
LEASE = timedelta(seconds=60)


@pytest.fixture
def bench(built_tools: Toolbox, stand_in: StandInClient, log_listener: Listener) -> Iterator[Bench]:
    log_listener.lines.clear()
    given = built_tools.settings.model_copy(
        update={"btc_price_usd_fallback": None, "lease_seconds": LEASE.seconds}
    )
    named = tuple(f"{name}={stand_in.url}/feeds/{name}" for name in FEEDS)
    tools = built_tools.with_(
        settings=given,
        leases=Leases(LEASE),
        # not those of the toolbox, which rest for minutes of real time after an error
        price_feeds=known_feeds(named, HttpClient()),
    )
    hasty = given.model_copy(update={"model_timeout_seconds": HASTY_SECONDS})
    yield Bench(
        tools=tools,
        web=create_app(tools, schema_revision=schema.HEAD),
        stand_in=stand_in,
        hasty_models=toolbox.build(hasty, Role.MODELS).language_model,
        log=log_listener,
    )
    log_listener.judge(confidential=keys_in(given))


@pytest.mark.parametrize("begins", OPENINGS)
def test_given_a_job_that(begins: str, bench: Bench) -> None:
    """… then every promise to its caller and those after it is kept, in any weather, to the end."""

    class Job(Lifecycle):
        pass

    Job.bench, Job.begins = bench, begins
    run_state_machine_as_test(
        seed(ASKED_FOR.seed + list(OPENINGS).index(begins))(Job),
        settings=settings(
            max_examples=ASKED_FOR.examples,
            stateful_step_count=ASKED_FOR.steps,
            phases=ASKED_FOR.phases,
            database=None,
            deadline=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert bench.seen[OPENINGS[begins].leads_to], f"this example says nothing: {bench.seen}"
