"""An LNbits of another age or mind: what it answers is changed on the way, the rest is the same."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests

from config.queues import TaskName
from models.invoice import InvoiceKind, Receipt
from models.job import Job
from models.lifecycle import JobState
from models.money import Sats
from models.payout import Payout, PayoutState
from services.errors import ErrorCode, NotNow
from services.money import refunds
from services.toolbox import Toolbox
from tests.conformance.scripted_server import Heard, Say, ScriptedServer, json_answer
from tests.support.life import Life
from tests.support.rows import all_of, only
from tests.weather.conftest import Sky, at

POLL, SWEEP, INCOME = (
    TaskName.POLL_PAYMENTS,
    TaskName.SWEEP_INVOICES,
    TaskName.CHECK_INCOME,
)
LISTS = "/api/v1/payments/paginated"
HEALTH = "/api/v1/health"
LONGER_THAN_ANY_TEST = 60

Json = dict[str, Any]
Change = Callable[[Heard], Heard | Say]


@pytest.fixture
def behind(sky: Sky, between: ScriptedServer) -> Callable[..., Sky]:
    """The same sky, with requests changed on their way to LNbits, and answers on their way back."""

    def build(
        *, ask: Change = lambda heard: heard, answer: Callable[[Json], Json] = lambda body: body
    ) -> Sky:
        def respond(heard: Heard) -> Say:
            changed = ask(heard)
            return changed if isinstance(changed, Say) else forward(sky, changed, answer)

        between.respond = respond
        tools = at(sky.tools, between.url)
        return replace(sky, life=Life(tools, sky.life.doorbell, sky.life.stand_in))

    return build


def forward(sky: Sky, heard: Heard, answer: Callable[[Json], Json]) -> Say:
    with requests.Session() as session:
        said = session.request(
            heard.method,
            sky.life.stand_in.url + heard.path,
            params={name: values[0] for name, values in heard.query.items()},
            headers={"X-Api-Key": heard.headers.get("x-api-key")},
            data=heard.body,
            timeout=LONGER_THAN_ANY_TEST,
        )
    return json_answer(answer(said.json()), said.status_code)


def without(name: str) -> Callable[[Json], Json]:
    """Take one member out of every object of an answer."""

    def strip(value: Any) -> Any:
        if isinstance(value, list):
            return [strip(item) for item in value]
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key != name}
        return value

    return strip


def ignoring(*names: str) -> Change:
    """Lists are made as if these parameters had not been given."""

    def ask(heard: Heard) -> Heard:
        if heard.path != LISTS:
            return heard
        kept = {name: values for name, values in heard.query.items() if name not in names}
        return replace(heard, query={**kept, "limit": ["0"]})

    return ask


def refusing(name: str, say: Say) -> Change:
    """A list that is asked for with this parameter is answered like this."""
    return lambda heard: say if heard.path == LISTS and name in heard.query else heard


def finds_a_payment(sky: Sky, *, with_the_feed: bool) -> bool:
    """Whether of two invoices, beside one of somebody else, the paid one is found as paid."""
    sky.tools.income.create_invoice(Sats(1), memo="somebody else's", lifetime=timedelta(hours=1))
    paid, unpaid = sky.life.create(), sky.life.create()
    sky.life.pay(paid, InvoiceKind.EVAL)
    if with_the_feed:
        sky.come_round(POLL, tools=sky.life.tools)
    else:
        sky.let_invoices_age(31)
        sky.come_round(SWEEP, tools=sky.life.tools)
    assert sky.life.state(unpaid) is JobState.AWAITING_EVAL_PAYMENT
    return sky.life.state(paid) is JobState.EVALUATING


@pytest.mark.parametrize("name", ["bolt11", "payment_request"])
def test_given_an_lnbits_with_one_name_for_the_invoice_then_a_job_goes_from_request_to_refund(
    behind: Callable[..., Sky], name: str
) -> None:
    sky = behind(answer=without(name))

    view = sky.life.complete()
    owed = refunds.owed(view.debts)
    refunds.claim(sky.life.tools, view.job, sky.life.stand_in.payer_invoice(owed))
    sky.life.work()

    assert only(sky.life.tools, Payout).state is PayoutState.PAID


def test_given_an_lnbits_that_ignores_our_filters_then_only_what_was_paid_counts(
    behind: Callable[..., Sky],
) -> None:
    sky = behind(ask=ignoring("status", "amount[gt]", "sortby", "direction", "offset"))

    assert finds_a_payment(sky, with_the_feed=True)
    assert len(all_of(sky.tools, Receipt)) == 1


def test_given_filters_ignored_and_a_page_full_of_other_things_then_readyz_says_so(
    behind: Callable[..., Sky], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.money.payments.FEED_PAGE", 2)
    sky = behind(ask=ignoring("status", "amount[gt]", "sortby", "direction", "offset"))
    sky.life.create()
    sky.life.create()

    sky.come_round(POLL, tools=sky.life.tools)

    assert sky.error_of(POLL) == "filters_ignored"
    assert all_of(sky.tools, Receipt) == []


TOO_OLD = {
    "ignores the hashes": ignoring("payment_hash[in]", "recheck_pending"),
    "refuses the hashes": refusing("payment_hash[in]", json_answer({"detail": "bad"}, 400)),
    "shows its SQL": refusing(
        "payment_hash[in]", json_answer({"detail": "SELECT … WHERE payment_hash in"}, 500)
    ),
}


@pytest.mark.parametrize("ask", TOO_OLD.values(), ids=TOO_OLD.keys())
def test_given_an_lnbits_before_1_4_then_the_safety_net_asks_one_by_one(
    behind: Callable[..., Sky], between: ScriptedServer, ask: Change
) -> None:
    sky = behind(ask=ask)

    assert finds_a_payment(sky, with_the_feed=False)

    asked = [heard.path for heard in between.heard if heard.method == "GET"]
    assert len([path for path in asked if path not in {LISTS, HEALTH}]) == 2


def test_given_an_lnbits_that_cannot_sort_then_readyz_says_too_old_and_the_net_finds_payments(
    behind: Callable[..., Sky],
) -> None:
    sky = behind(ask=refusing("sortby", json_answer({"detail": "Invalid sortby field."}, 400)))
    sky.come_round(POLL, tools=sky.life.tools)

    assert sky.error_of(POLL) == "too_old"
    assert finds_a_payment(sky, with_the_feed=False)


def test_given_an_lnbits_too_old_then_a_wallet_of_others_is_still_noticed(
    behind: Callable[..., Sky],
) -> None:
    sky = behind(ask=TOO_OLD["refuses the hashes"])
    sky.life.create()
    sky.come_round(INCOME, tools=sky.life.tools)
    assert sky.check("lightningIncome")["ok"]

    sky.life.stand_in.reset()
    sky.come_round(INCOME, tools=sky.life.tools)

    assert sky.check("lightningIncome")["error"] == "other_wallet"


def test_given_an_invoice_for_another_amount_than_asked_for_then_it_is_shown_to_nobody(
    behind: Callable[..., Sky],
) -> None:
    def one_more(heard: Heard) -> Heard:
        if heard.method != "POST":
            return heard
        return replace(heard, body=heard.body.replace(b'"amount": 10', b'"amount": 11'))

    sky = behind(ask=one_more)

    with pytest.raises(NotNow) as refused:
        sky.life.create()

    assert refused.value.code is ErrorCode.LIGHTNING_UNAVAILABLE
    assert all_of(sky.tools, Job) == []


def test_given_connections_that_are_reset_after_an_error_then_the_next_poll_is_served(
    behind: Callable[..., Sky],
) -> None:
    broken = replace(json_answer({"detail": "Unexpected error! ID: 1"}, 500), then="reset")
    errors = [broken]
    sky = behind(ask=lambda heard: errors.pop() if errors and heard.path == LISTS else heard)
    view = sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL)

    sky.come_round(POLL, tools=sky.life.tools)
    assert sky.error_of(POLL) in {"http_500", "connection"}
    sky.come_round(POLL, tools=sky.life.tools)

    assert sky.error_of(POLL) is None
    assert sky.life.state(view) is JobState.EVALUATING


def test_given_an_lnbits_that_moves_to_another_address_then_the_same_books_go_on(
    sky: Sky, between: ScriptedServer, behind: Callable[..., Sky]
) -> None:
    view = sky.life.awaiting_work_payment()

    moved: Toolbox = behind().life.tools
    sky.life.pay(view, InvoiceKind.WORK)
    sky.come_round(POLL, INCOME, TaskName.CHECK_PAYOUTS, tools=moved)

    assert sky.life.state(view) is JobState.EXECUTING
    assert sky.check("lightningIncome")["ok"]
    assert sky.check("lightningPayouts")["ok"]
