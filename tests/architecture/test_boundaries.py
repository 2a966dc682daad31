"""Every way to the database and outside has failpoints, by construction."""

from dataclasses import fields

import pytest

from services.toolbox import Toolbox
from tests.architecture.boundaries import (
    databases_entered_past_the_transaction,
    gateways_past_the_toolbox,
    unnamed_transactions,
)
from tests.architecture.rules import Rule
from tests.architecture.source import PRODUCTION, module, modules
from tests.matrix.failpoints import NOT_OUTSIDE, Failpoints, OutOfOrder, Point, watched

RULES: list[Rule] = [
    databases_entered_past_the_transaction,
    gateways_past_the_toolbox,
    unnamed_transactions,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_production_goes_only_where_a_failpoint_can_stand(rule: Rule) -> None:
    assert rule(modules(*PRODUCTION)) == [], rule.__doc__


PLANTS: list[tuple[Rule, str]] = [
    (databases_entered_past_the_transaction, "tools.database.engine.connect()"),
    (databases_entered_past_the_transaction, "create_engine(url)"),
    (databases_entered_past_the_transaction, "sqlalchemy.orm.Session(engine)"),
    (databases_entered_past_the_transaction, "Database(url)"),
    (gateways_past_the_toolbox, "from gateways.http import HttpClient"),
    (gateways_past_the_toolbox, "from gateways import http"),
    (unnamed_transactions, "with tools.database.transaction() as session: pass"),
]


@pytest.mark.parametrize(("rule", "text"), PLANTS)
def test_a_way_past_the_failpoints_is_found(rule: Rule, text: str) -> None:
    assert rule([module("services/x.py", text)]) != []


def test_what_is_said_to_be_no_gateway_is_a_member_of_the_toolbox() -> None:
    assert {field.name for field in fields(Toolbox)} >= NOT_OUTSIDE


class Gateway:
    """Not one of ours: none of its methods is known to anybody."""

    name = "new"

    def pay(self) -> str:
        return "paid"


def _reached() -> tuple[Failpoints, list[str]]:
    reached: list[str] = []

    def note(point: Point, _: object) -> None:
        reached.append(point.name)

    return Failpoints(note), reached


@pytest.mark.parametrize(
    ("held", "name"), [("gateway", "lnurl.pay"), ("tuple", "lnurl.new.pay"), ("maker", "lnurl.pay")]
)
def test_any_method_of_any_new_gateway_has_points(held: str, name: str) -> None:
    failpoints, reached = _reached()
    members = {"gateway": Gateway(), "tuple": (Gateway(),), "maker": lambda model: Gateway()}
    handed_in = watched("lnurl", members[held], failpoints)
    gateway = {
        "gateway": lambda: handed_in,
        "tuple": lambda: handed_in[0],
        "maker": lambda: handed_in("model"),
    }[held]()

    with failpoints.action("test"):
        answer = gateway.pay()

    assert answer == "paid"
    assert reached == [f"{name}:before", f"{name}:after"]


def test_a_call_outside_while_a_transaction_is_open_is_refused() -> None:
    failpoints, _ = _reached()
    gateway = watched("lnurl", Gateway(), failpoints)

    with failpoints.inside("jobs.offer"), pytest.raises(OutOfOrder, match="inside the transaction"):
        gateway.pay()
