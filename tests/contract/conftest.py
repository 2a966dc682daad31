"""A deployment whose limits are wide, whose workers can be prompt, and a village of jobs in it."""

import pytest
from flask import Flask

from app.factory import create_app
from models import schema
from services.toolbox import Toolbox
from tests.contract.village import Village, Workers
from tests.support.life import Life
from tests.support.publishing import VAULT

OPS_TOKEN = "the-operator-of-the-village"
WIDE = {
    "demo_limit_per_hour": 1_000_000,
    "demo_daily_budget_usd": 1_000_000,
    "demo_wait_seconds": 0,
    "open_invoices_per_client": 1_000_000,
    "open_invoices_max": 1_000_000,
    "ops_token": OPS_TOKEN,
}


@pytest.fixture
def doorbell() -> Workers:
    """Overrides the one that only takes notes."""
    return Workers()


@pytest.fixture
def wide_tools(tools: Toolbox, doorbell: Workers) -> Toolbox:
    settings = tools.settings.model_copy(update=WIDE)
    doorbell.tools = tools.with_(settings=settings, vault=VAULT)
    return doorbell.tools


@pytest.fixture
def web(wide_tools: Toolbox) -> Flask:
    return create_app(wide_tools, schema_revision=schema.HEAD)


@pytest.fixture
def village(wide_tools: Toolbox, life: Life) -> Village:
    return Village(life, wide_tools)
