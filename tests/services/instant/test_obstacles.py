"""A creator reads why a resource does not sell: for what buyers are turned away, in one word."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from flask.testing import FlaskClient

from local.stand_in.testing import StandInClient
from models.resource import ResourceType
from services.instant import catalogue, creators, listing, preflight
from services.instant.obstacles import Obstacle
from services.instant.preflight import CannotSell
from services.toolbox import Toolbox
from tests.support.market import MODEL, Buyer, Market, open_market


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


def told_to_its_owner(tools: Toolbox, market: Market, slug: str = "haiku") -> list[Obstacle]:
    return list(listing.read(tools, market.creator.id, slug).obstacles)


def met_by_a_buyer(tools: Toolbox, market: Market, slug: str = "haiku") -> list[Obstacle]:
    """Who asks for the price: the first reason, if there is one."""
    sale = market.sale(slug)
    try:
        preflight.check(tools, sale, sale.version, None)
    except CannotSell as turned_away:
        return [turned_away.obstacle]
    return []


def _too_dear_a_call(market: Market) -> Toolbox:
    caps = {"cost_cap_per_call_usd": Decimal("0.000001")}
    creators.change(market.tools, market.creator.id, caps=caps)
    return market.tools


def _too_dear_a_day(market: Market) -> Toolbox:
    caps = {"cost_cap_per_day_usd": Decimal("0.000001")}
    creators.change(market.tools, market.creator.id, caps=caps)
    return market.tools


def _a_context_that_shrank(market: Market) -> Toolbox:
    listed = market.stand_in.catalogue()
    for entry in listed:
        if entry["id"] == MODEL:
            entry["context_length"] = 40
    market.stand_in.set_catalogue(listed)
    assert catalogue.sync(market.tools)
    return market.tools


def _nobody_to_verify(market: Market) -> Toolbox:
    return market.tools.with_(facilitator=None)


@pytest.mark.parametrize(
    ("hinder", "obstacle"),
    [
        (_too_dear_a_call, Obstacle.COST_CAP),
        (_too_dear_a_day, Obstacle.COST_CAP),
        (_a_context_that_shrank, Obstacle.NO_ROOM),
        (_nobody_to_verify, Obstacle.NO_FACILITATOR),
    ],
)
def test_the_owner_reads_what_buyers_meet(
    market: Market, hinder: Callable[[Market], Toolbox], obstacle: Obstacle
) -> None:
    market.publish()
    assert told_to_its_owner(market.tools, market) == met_by_a_buyer(market.tools, market) == []

    tools = hinder(market)

    assert told_to_its_owner(tools, market) == met_by_a_buyer(tools, market) == [obstacle]


def test_as_many_unsettled_runs_as_may_be_are_told_of_that_resource_only(
    market: Market, client: FlaskClient
) -> None:
    path = market.publish()
    market.publish("other")
    full = market.tools.settings.model_copy(update={"max_unsettled_per_resource": 2})
    tools = market.tools.with_(settings=full)
    Buyer(client).buy(path)
    assert told_to_its_owner(tools, market) == met_by_a_buyer(tools, market) == []

    Buyer(client).buy(path)

    crowded = [Obstacle.CROWDED]
    assert told_to_its_owner(tools, market) == met_by_a_buyer(tools, market) == crowded
    assert told_to_its_owner(tools, market, "other") == []
    listed = listing.on_sale(tools, handle=None, after=None, limit=9).items
    assert {item.resource.slug for item in listed} == {"haiku", "other"}


def test_what_is_left_of_a_creators_day_is_enough_for_the_cheaper_call(
    market: Market, client: FlaskClient
) -> None:
    path = market.publish(max_tokens=100)
    market.publish("long", max_tokens=4000)
    market.publish("text", ResourceType.STATIC)
    Buyer(client).buy(path)
    market.age_runs(created_at=-timedelta(hours=1))  # of today all the same if midnight comes now
    worst = market.run().worst_cost_usd
    assert worst is not None
    # the run that was sold, and one more like it; what callers say makes a call a little dearer
    caps = {"cost_cap_per_day_usd": 2 * worst}
    creators.change(market.tools, market.creator.id, caps=caps)

    page = listing.of_owner(market.tools, market.creator.id, after=None, limit=9)

    seen = {item.resource.slug: list(item.obstacles) for item in page.items}
    assert seen == {"haiku": [], "long": [Obstacle.COST_CAP], "text": []}
    assert met_by_a_buyer(market.tools, market, "long") == [Obstacle.COST_CAP]
