"""The lives reach all that there is to reach: what they leave out is said here, and why."""

import pytest

from tests.architecture.source import module, modules
from tests.matrix.names import asked_outside, committed, not_reached
from tests.matrix.recordings import Recordings

COMMITTING = ("services", "workers", "tasks", "app")
SETTING = "a creator's setting: one row by one commit, and no money waits for it"
LOOKING = "writes nothing that decides anything: it looks"
COMES_ROUND = "only says when something is looked at next, which it is in any case"
OTHER_SETUP = "asked only by deployments that are set up otherwise, and changes nothing outside"
LEFT_OUT = {
    "creators.account:before_commit": SETTING,
    "creators.change:before_commit": SETTING,
    "creators.register:before_commit": SETTING,
    "creators.renew:before_commit": SETTING,
    "keys.delete:before_commit": SETTING,
    "keys.put:before_commit": SETTING,
    "keys.rotate:before_commit": SETTING,
    "keys.test:before_commit": SETTING,
    "resources.archive:before_commit": SETTING,
    "resources.create:before_commit": SETTING,
    "resources.edit:before_commit": SETTING,
    "resources.pause:before_commit": SETTING,
    "resources.restore:before_commit": SETTING,
    "resources.resume:before_commit": SETTING,
    "audit_trail.export:before_commit": LOOKING,
    "creators.every:before_commit": LOOKING,
    "health.check:before_commit": LOOKING,
    "invariants.all:before_commit": LOOKING,
    "ticks.hurry:before_commit": COMES_ROUND,
    "ticks.let_go:before_commit": COMES_ROUND,
    "ticks.rest:before_commit": COMES_ROUND,
    "returns.put_off:before_commit": COMES_ROUND,
    "runs.settle_later:before_commit": COMES_ROUND,
    "leases.renew:before_commit": "beats in every zombie as it wakes; nobody else holds a row",
    "keys.claim:before_commit": "a key's standing, which is asked for again in a while",
    "keys.verified:before_commit": "a key's standing, which is asked for again in a while",
    "wallet_moves.income:before_commit": OTHER_SETUP,
    "intake.withdraw:before_commit": "gives a seat back, which is free again by itself in a while",
    "income.balance:before": OTHER_SETUP,
    "provider_keys.check_anthropic:before": OTHER_SETUP,
    "bench_payer.pay:before": "plays the payer; in lives the world does",
}
"""What no life reaches, and why that will do."""


def test_whatever_the_product_commits_or_asks_outside_is_part_of_some_life(
    recordings: Recordings,
) -> None:
    wanted = committed(modules(*COMMITTING)) | asked_outside()

    missing = not_reached(wanted, recordings.reached())

    assert {name: missing[name] for name in missing.keys() - LEFT_OUT.keys()} == {}, "wants a life"
    assert LEFT_OUT.keys() - missing.keys() == set(), "is part of a life, or of nothing any more"


HANDED_IN = """
def note(tools, name):
    tools.database.transaction(name)

note(tools, "payouts.posting")
note(tools, "payouts.posted")
"""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('tools.database.transaction("jobs.offer")', ["jobs.offer"]),
        ('tools.database.transaction(f"jobs.claim.{step}")', ["jobs.claim.*"]),
        ('tools.database.reading("jobs.look")', []),
        (HANDED_IN, ["payouts.posting", "payouts.posted"]),
    ],
    ids=["said", "made up", "only read", "handed in"],
)
def test_the_name_of_a_transaction_is_found_however_it_is_said(text: str, names: list[str]) -> None:
    found = committed([module("services/x.py", text)])

    assert list(found) == [f"{name}:before_commit" for name in names]


def test_a_transaction_whose_name_nobody_can_tell_is_no_transaction_of_ours() -> None:
    with pytest.raises(ValueError, match=r"services/x\.py:1: nobody can tell"):
        committed([module("services/x.py", "tools.database.transaction(called())")])


def test_no_two_transactions_have_one_name() -> None:
    text = 'tools.database.transaction("jobs.offer")'

    with pytest.raises(ValueError, match=r"x\.py:1 and .*x\.py:2: one name for two"):
        committed([module("services/x.py", f"{text}\n{text}")])


def test_every_method_of_a_gateway_is_known_by_the_point_before_it() -> None:
    found = asked_outside()

    assert {"payouts.send:before", "language_model.ask:before"} <= found.keys()
    assert {name for name in found if name.startswith("price_feeds.*.")}


def test_what_was_put_into_a_name_is_any_of_it() -> None:
    wanted = {"jobs.claim.*:before_commit": "here", "jobs.offer:before_commit": "there"}

    missing = not_reached(wanted, ["jobs.claim.execute:before_commit", "jobs.offer:begin"])

    assert missing == {"jobs.offer:before_commit": "there"}
