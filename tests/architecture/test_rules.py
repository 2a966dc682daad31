"""The rules of the house hold, and each of them finds a violation that was planted."""

import pytest

from tests.architecture import rules
from tests.architecture.rules import Rule
from tests.architecture.source import PACKAGES, PRODUCTION, ROOT, module, modules
from tests.architecture.transactions import (
    COLLABORATORS,
    PROTOCOLS,
    outside_calls_in_transactions,
    transactions_in_transactions,
)
from tests.matrix.failpoints import NOT_OUTSIDE

OF_PRODUCTION: list[Rule] = [
    rules.states_written_elsewhere,
    rules.environment_read,
    rules.retries_left_to_celery,
    rules.calls_past_the_gateways,
    rules.hosts_clocks,
    rules.floats_near_money,
    outside_calls_in_transactions,
    transactions_in_transactions,
]
OF_ALL: list[Rule] = [rules.environment_read, rules.vague_names]


@pytest.mark.parametrize("rule", OF_PRODUCTION, ids=lambda rule: rule.__name__)
def test_production_keeps_the_rule(rule: Rule) -> None:
    assert rule(modules(*PRODUCTION)) == [], rule.__doc__


@pytest.mark.parametrize("rule", OF_ALL, ids=lambda rule: rule.__name__)
def test_the_bench_keeps_the_rule_too(rule: Rule) -> None:
    assert rule(modules(*PACKAGES)) == [], rule.__doc__


def test_every_test_holds_what_our_doors_answer_against_the_document() -> None:
    rule = rules.answers_nobody_judges

    assert rule(modules("tests")) == [], rule.__doc__


@pytest.mark.parametrize("path", rules.ASK_OTHERS)
def test_whoever_is_said_to_ask_others_is_there(path: str) -> None:
    assert (ROOT / path).exists()


PLANTS: list[tuple[Rule, str, str]] = [
    (rules.states_written_elsewhere, "services/x.py", "job.state = JobState.COMPLETE"),
    (rules.states_written_elsewhere, "services/x.py", "a, job.state = 1, 2"),
    (rules.states_written_elsewhere, "services/x.py", "update(Job).where(x).values(state=new)"),
    (rules.states_written_elsewhere, "services/x.py", "update(Job).values({'state': new})"),
    (rules.states_written_elsewhere, "services/x.py", "update(Job).values({Job.state: new})"),
    (rules.states_written_elsewhere, "services/x.py", "insert(Debt).values(state=new)"),
    (rules.states_written_elsewhere, "services/x.py", "Payout(job_id=1, state=new)"),
    (rules.states_written_elsewhere, "services/x.py", "demo_run.DemoRun(state=new)"),
    (rules.states_written_elsewhere, "services/instant/x.py", "Run(creator_id=1, state=new)"),
    (rules.states_written_elsewhere, "app/x.py", "setattr(job, 'state', new)"),
    (rules.states_written_elsewhere, "models/debt.py", "self.state = new"),
    (rules.states_written_elsewhere, "services/x.py", "update(Job).values(**{'state': new})"),
    (rules.states_written_elsewhere, "services/x.py", "update(Job).values(dict(state=new))"),
    (rules.states_written_elsewhere, "services/x.py", "insert(Debt).values([{'state': new}])"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "insert(Debt).values([{'job_id': 1}, {Debt.state: new}])",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "insert(X).on_conflict_do_update(set_={'state': new})",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "insert(X).on_conflict_do_update(set_=dict(state=new))",
    ),
    (rules.states_written_elsewhere, "services/x.py", "update(Job).ordered_values(('state', new))"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "update(Job).ordered_values((Job.version, 1), (Job.state, new))",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "insert(Job).from_select(['id', 'state'], old)",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "session.execute(update(Job), [{'id': 1, 'state': new}])",
    ),
    (rules.states_written_elsewhere, "services/x.py", "session.execute(statement, {'state': new})"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "session.execute(update(Job).where(text('id = 1')), params={'state': new})",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "session.bulk_update_mappings(Job, [{'state': new}])",
    ),
    (rules.states_written_elsewhere, "services/x.py", "session.query(Job).update({'state': new})"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "text('UPDATE jobs SET version = 2, state = :new WHERE id = 1')",
    ),
    (rules.states_written_elsewhere, "services/x.py", "text(f'update {table} set state = :new')"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "text('INSERT INTO debts (id, state) VALUES (1, :new)')",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "text('INSERT INTO debts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET state = :new')",
    ),
    (rules.states_written_elsewhere, "services/x.py", "WalletMove(state=new)"),
    (rules.states_written_elsewhere, "services/x.py", "Job(**{'state': new})"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "from models.job import Job as J\nJ(state=new)",
    ),
    (rules.states_written_elsewhere, "services/x.py", "import models.job as j\nj.Job(state=new)"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "from builtins import setattr as put\nput(job, 'state', new)",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "attributes.set_attribute(job, 'state', new)",
    ),
    (rules.states_written_elsewhere, "services/x.py", "for job.state in states: pass"),
    (rules.states_written_elsewhere, "services/x.py", "del job.state"),
    (rules.environment_read, "services/x.py", "import os\nos.environ['HOME']"),
    (rules.environment_read, "services/x.py", "import os\nos.getenv('HOME')"),
    (rules.environment_read, "config/settings.py", "from os import environ"),
    (rules.retries_left_to_celery, "tasks/x.py", "raise self.retry(exc=error)"),
    (rules.retries_left_to_celery, "tasks/x.py", "task.apply_async(args=[1])"),
    (rules.retries_left_to_celery, "app/x.py", "evaluate_job.delay(1)"),
    (rules.retries_left_to_celery, "services/x.py", "celery.send_task('x', countdown=60)"),
    (rules.retries_left_to_celery, "services/x.py", "celery.send_task('x', eta=then)"),
    (
        rules.retries_left_to_celery,
        "tasks/x.py",
        "@shared_task(name='x', acks_late=True)\ndef x(): ...",
    ),
    (rules.retries_left_to_celery, "tasks/x.py", "@shared_task(bind=True)\ndef x(self): ..."),
    (rules.calls_past_the_gateways, "services/x.py", "import requests"),
    (rules.calls_past_the_gateways, "services/x.py", "from urllib.request import urlopen"),
    (rules.calls_past_the_gateways, "app/x.py", "from urllib import request"),
    (rules.calls_past_the_gateways, "app/x.py", "def f():\n    import http.client"),
    (rules.calls_past_the_gateways, "models/x.py", "import socket"),
    (rules.hosts_clocks, "services/x.py", "datetime.now(UTC)"),
    (rules.hosts_clocks, "models/x.py", "time.time()"),
    (rules.hosts_clocks, "tasks/x.py", "time.sleep(1)"),
    (rules.hosts_clocks, "services/x.py", "from time import time\ntime()"),
    (rules.hosts_clocks, "services/x.py", "from time import time_ns as clock\nclock()"),
    (rules.hosts_clocks, "services/x.py", "import time as t\nt.time()"),
    (rules.hosts_clocks, "services/x.py", "import datetime\ndatetime.datetime.now(z)"),
    (rules.hosts_clocks, "services/x.py", "import datetime as dt\ndt.date.today()"),
    (rules.hosts_clocks, "services/x.py", "from datetime import datetime as dt\ndt.now(z)"),
    (rules.floats_near_money, "services/money/x.py", "sats * 1.25"),
    (rules.floats_near_money, "models/money.py", "float(usd)"),
    (rules.floats_near_money, "models/x.py", "mapped_column(Float())"),
    (rules.answers_nobody_judges, "tests/app/test_x.py", "web.test_client().get('/api')"),
    (rules.answers_nobody_judges, "tests/app/test_x.py", "FlaskClient(web).get('/api')"),
    (rules.answers_nobody_judges, "tests/x.py", "import requests\nrequests.get(url)"),
    (rules.answers_nobody_judges, "tests/x.py", "import requests as r\nr.request('GET', url)"),
    (rules.answers_nobody_judges, "tests/x.py", "from requests import post\npost(url)"),
    (rules.answers_nobody_judges, "tests/x.py", "import requests\nrequests.Session()"),
    (rules.answers_nobody_judges, "tests/x.py", "import httpx\nhttpx.Client()"),
    (
        rules.answers_nobody_judges,
        "tests/x.py",
        "from http.client import HTTPConnection\nHTTPConnection(host)",
    ),
    (
        rules.answers_nobody_judges,
        "tests/x.py",
        "import urllib.request\nurllib.request.urlopen(url)",
    ),
    (rules.vague_names, "services/utils.py", ""),
    (rules.vague_names, "app/helpers/dates.py", ""),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTS)
def test_a_planted_violation_is_found(rule: Rule, path: str, text: str) -> None:
    assert rule([module(path, text)]) != []


INNOCENT: list[tuple[Rule, str, str]] = [
    (rules.states_written_elsewhere, "models/moves.py", "job.state = new"),
    (rules.states_written_elsewhere, "models/run_moves.py", "run.state = new"),
    (rules.states_written_elsewhere, "models/money_moves.py", "payout.state = new"),
    (rules.states_written_elsewhere, "models/return_moves.py", "destination.state = new"),
    (rules.states_written_elsewhere, "services/x.py", "select(Job).where(Job.state == old)"),
    (rules.states_written_elsewhere, "services/x.py", "Claim(state=payout.state)"),
    (rules.states_written_elsewhere, "services/x.py", "counts[job.state] = 1"),
    (rules.states_written_elsewhere, "services/x.py", "wanted = {Run.state: status}"),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "update(Job).where(Job.state == old).values(version=2)",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "insert(X).on_conflict_do_update(set_={'note': n}, where=WalletMove.state.in_((A, B)))",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "session.execute(text('SELECT 1 WHERE state = :state'), {'state': old})",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "text('UPDATE jobs SET version = 2 WHERE state = :old')",
    ),
    (
        rules.states_written_elsewhere,
        "services/x.py",
        "from models.claim import Claim as Job\nJob(state=new)",
    ),
    (rules.environment_read, "workers/beat.py", "import os\nos.environ"),
    (rules.environment_read, "app/x.py", "request.environ"),
    (rules.calls_past_the_gateways, "gateways/http.py", "import requests"),
    (rules.calls_past_the_gateways, "services/x.py", "from urllib.parse import urlsplit"),
    (rules.hosts_clocks, "services/x.py", "time.monotonic()"),
    (rules.hosts_clocks, "services/x.py", "from time import monotonic\nmonotonic()"),
    (rules.hosts_clocks, "services/x.py", "from sqlalchemy import func\nfunc.now()"),
    (rules.retries_left_to_celery, "services/x.py", "retry.backoff(3)"),
    (rules.answers_nobody_judges, "tests/x.py", "client_of(web).get('/api')"),
    (rules.answers_nobody_judges, "tests/x.py", "from tests.support import wire\nwire.get(url)"),
    (rules.answers_nobody_judges, "tests/x.py", "stand_in.counts().requests.get(FEED, 0)"),
    (rules.answers_nobody_judges, "tests/x.py", "import requests\nrequests.ConnectionError()"),
    (rules.answers_nobody_judges, "tests/stand_in/x.py", "import requests\nrequests.get(url)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), INNOCENT)
def test_what_is_allowed_is_not_found(rule: Rule, path: str, text: str) -> None:
    assert rule([module(path, text)]) == []


def test_every_table_with_a_state_is_watched() -> None:
    """Or the rule could be kept because nothing was derived."""
    known = {"Job", "Payout", "Debt", "DemoRun", "RefundDestination", "Run", "WalletMove"}

    assert known <= rules.STATEFUL
    assert "Receipt" not in rules.STATEFUL


HELPER = module(
    "services/far.py",
    """
def near(tools):
    return tools.income.settled_payments()

def further(tools):
    return near(tools)

def writes(tools):
    with tools.database.transaction("x") as session:
        session.flush()

def writes_further(tools):
    writes(tools)

def pure(tools):
    return 1

def pays(lightning: Payouts):
    lightning.send("x")
""",
)


def opened(body: str, imports: str = "from services import far") -> str:
    header = "def f(tools):\n    with tools.database.transaction('x') as s:"
    return f"{imports}\n{header}\n        {body}\n"


OUTSIDE = [
    opened("tools.income.create_invoice(1)"),
    opened("tools.income.create_invoice(1)").replace("transaction", "reading"),
    opened("tools.language_model('m').ask(q)"),
    opened("for feed in tools.price_feeds: pass"),
    opened("self.tools.payouts.send(p)"),
    opened("tools.doorbell.ring(task, 1)"),
    opened("far.near(tools)"),
    opened("far.further(tools)"),
    opened("x = [far.further(tools) for _ in s]"),
    opened("near(tools)", "from services.far import near"),
    opened("n(tools)", "from services.far import near as n"),
    opened("far.pays(x)"),
    opened("g(tools)") + "def g(tools):\n    far.near(tools)\n",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_outside_call_in_a_transaction_is_found(text: str) -> None:
    assert outside_calls_in_transactions([HELPER, module("services/x.py", text)]) != []


@pytest.mark.parametrize("member", sorted(COLLABORATORS))
def test_no_member_of_the_toolbox_that_goes_outside_is_used_in_a_transaction(member: str) -> None:
    at_once = opened(f"x = tools.{member}")
    further = opened("g(tools)") + f"def g(tools):\n    return tools.{member}\n"

    assert outside_calls_in_transactions([module("services/x.py", at_once)]) != []
    assert outside_calls_in_transactions([module("services/x.py", further)]) != []


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_no_gateway_that_was_handed_in_is_used_in_a_transaction(protocol: str) -> None:
    text = opened("g(x)") + f"def g(gateway: {protocol} | None):\n    gateway.ask()\n"

    assert outside_calls_in_transactions([module("services/x.py", text)]) != []


def test_what_goes_outside_is_known_by_the_toolbox() -> None:
    """Or the walk could be blind because nothing was derived."""
    assert {"income", "receivers", "creator_model", "price_feeds"} <= COLLABORATORS.keys()
    assert {"Payouts", "Receivers", "LanguageModel", "PriceFeed", "Chain"} <= PROTOCOLS
    assert not NOT_OUTSIDE & COLLABORATORS.keys()


@pytest.mark.parametrize("text", [opened("far.writes(tools)"), opened("far.writes_further(tools)")])
def test_a_transaction_in_a_transaction_is_found(text: str) -> None:
    assert transactions_in_transactions([HELPER, module("services/x.py", text)]) != []


@pytest.mark.parametrize(
    "text",
    [
        opened("s.add(far.pure(tools))"),
        opened("s.flush()")
        + "    far.near(tools)\n    far.writes(tools)\n    tools.doorbell.ring(1)\n",
        "from services import far\ndef f(tools):\n    far.near(tools)\n",
    ],
)
def test_claim_call_record_is_fine(text: str) -> None:
    found = [HELPER, module("services/x.py", text)]

    assert outside_calls_in_transactions(found) == []
    assert transactions_in_transactions(found) == []


def test_the_walk_knows_the_outside_calls_of_the_house() -> None:
    """Or the rule could be kept because nothing was recognised."""
    from tests.architecture.transactions import _functions, _is_outside, _reaching

    functions = _functions(modules(*PRODUCTION))
    reaching = _reaching(functions, {f.name for f in functions if _is_outside(f)})

    assert {
        "services.jobs.intake.create",
        "services.jobs.evaluation.evaluate",
        "services.money.payments.poll",
        "services.money.payouts.send",
        "services.jobs.expiry.sweep",
        "app.api.jobs.create_job",
    } <= reaching
