"""The catalogue: fetched daily, never emptied by a bad answer, and what a run can cost by it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from config.queues import TaskName
from gateways.model_lists import ListedModel
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models import schema
from models.catalogue import CatalogueModel
from models.creator import Provider
from services.instant import catalogue, keys
from services.operate import health, ticks
from services.toolbox import Toolbox
from tests.support.publishing import FREE, HAIKU, SMALL, VAULT, Publisher

ASKED = "GET /openrouter/api/v1/models"


@pytest.fixture
def selling(tools: Toolbox) -> Toolbox:
    return tools.with_(vault=VAULT)


def stored(tools: Toolbox) -> dict[str, CatalogueModel]:
    with tools.database.transaction("test.catalogue") as session:
        return {model.id: model for model in session.query(CatalogueModel)}


def on_offer(tools: Toolbox) -> list[str]:
    return [model.id for model in catalogue.on_offer(tools)]


def times_asked(stand_in: StandInClient) -> int:
    return stand_in.counts().requests.get(ASKED, 0)


def let_time_pass(tools: Toolbox, interval: str) -> None:
    """As far as the duty and its tick can tell."""
    with tools.database.transaction("test.age") as session:
        session.execute(
            text(
                "UPDATE ticks SET due_at = now(),"
                " cursor = to_char(cursor::timestamptz - CAST(:age AS interval),"
                """ 'YYYY-MM-DD"T"HH24:MI:SSOF')"""
                " WHERE name = 'catalogue.sync'"
            ),
            {"age": interval},
        )


def do_duty(tools: Toolbox) -> None:
    assert ticks.run(tools, TaskName.SYNC_CATALOGUE)


def entries(stand_in: StandInClient, *ids: str) -> list[Any]:
    return [entry for entry in stand_in.catalogue() if entry["id"] in ids]


def test_the_list_is_kept_with_exact_prices_per_million_tokens(tools: Toolbox) -> None:
    assert catalogue.sync(tools)

    haiku, free = stored(tools)[HAIKU], stored(tools)[FREE]
    assert haiku.input_usd_per_million == 1
    assert haiku.output_usd_per_million == 5
    assert (haiku.context_tokens, haiku.max_output_tokens) == (200_000, 64_000)
    assert stored(tools)[SMALL].input_usd_per_million == Decimal("0.02")
    assert free.input_usd_per_million == free.request_usd == 0
    assert on_offer(tools) == sorted(stored(tools))


def test_a_new_price_and_a_new_name_are_kept(tools: Toolbox, stand_in: StandInClient) -> None:
    catalogue.sync(tools)
    listed = stand_in.catalogue()
    for entry in listed:
        entry["name"] = "Another name"
        entry["pricing"]["prompt"] = "0.000009"
    stand_in.set_catalogue(listed)

    assert catalogue.sync(tools)

    assert {(m.name, m.input_usd_per_million) for m in stored(tools).values()} == {
        ("Another name", Decimal(9))
    }


def test_a_vanished_model_is_marked_and_one_that_comes_back_is_on_offer_again(
    tools: Toolbox, stand_in: StandInClient
) -> None:
    catalogue.sync(tools)
    everything = stand_in.catalogue()
    stand_in.set_catalogue([entry for entry in everything if entry["id"] != SMALL])

    assert catalogue.sync(tools)
    first = stored(tools)[SMALL].vanished_at
    assert first is not None
    assert SMALL not in on_offer(tools)
    assert catalogue.sync(tools)
    assert stored(tools)[SMALL].vanished_at == first

    stand_in.set_catalogue(everything)
    assert catalogue.sync(tools)
    assert SMALL in on_offer(tools)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target="openrouter.models", kind=FaultKind.STATUS, status=503),
        Fault(target="openrouter.models", kind=FaultKind.STATUS, status=404),
        Fault(target="openrouter.models", kind=FaultKind.RESET, times=2),
        Fault(target="openrouter.models", kind=FaultKind.TRUNCATED),
        Fault(target="openrouter.models", kind=FaultKind.BODY),
        Fault(target="openrouter.models", kind=FaultKind.BODY, text="{}"),
        Fault(target="openrouter.models", kind=FaultKind.BODY, text='{"data": {}}'),
        Fault(target="openrouter.models", kind=FaultKind.BODY, text='{"data": []}'),
        Fault(target="openrouter.models", kind=FaultKind.BODY, text='{"data": [null, 7, {}]}'),
    ],
    ids=lambda fault: f"{fault.kind} {fault.text or fault.status}",
)
def test_an_answer_that_is_no_list_changes_nothing(
    tools: Toolbox, stand_in: StandInClient, fault: Fault
) -> None:
    catalogue.sync(tools)
    before = on_offer(tools)
    stand_in.arm(fault)

    assert not catalogue.sync(tools)

    assert on_offer(tools) == before


def test_a_list_that_lost_more_than_half_is_refused_and_one_that_lost_half_is_not(
    tools: Toolbox, stand_in: StandInClient
) -> None:
    stand_in.set_catalogue(stand_in.catalogue()[:4])
    catalogue.sync(tools)
    listed = stand_in.catalogue()

    stand_in.set_catalogue(listed[:1])
    assert not catalogue.sync(tools)
    assert len(on_offer(tools)) == 4

    stand_in.set_catalogue(listed[:2])
    assert catalogue.sync(tools)
    assert len(on_offer(tools)) == 2


def test_a_list_of_other_models_is_no_new_list_of_ours(
    tools: Toolbox, stand_in: StandInClient
) -> None:
    catalogue.sync(tools)
    before = on_offer(tools)
    others = stand_in.catalogue() * 2
    others = [entry | {"id": f"other/model-{n}"} for n, entry in enumerate(others)]
    stand_in.set_catalogue(others)

    assert not catalogue.sync(tools)

    assert on_offer(tools) == before


def test_what_cannot_be_read_is_left_out_and_the_rest_is_kept(
    tools: Toolbox, stand_in: StandInClient
) -> None:
    listed = stand_in.catalogue()
    stand_in.set_catalogue([*listed, None, 7, "x", {}, {"id": "a/b"}, *broken(listed[0])])

    assert catalogue.sync(tools)

    assert on_offer(tools) == sorted(entry["id"] for entry in listed)


def broken(entry: dict[str, Any]) -> Sequence[dict[str, Any]]:
    def but(**members: Any) -> dict[str, Any]:
        return {**entry, "id": "bad/model", **members}

    pricing = entry["pricing"]
    return [
        *(but(id=wrong) for wrong in ("", "no-slash", "a/b c", "a/<b>", "a/" + "b" * 200, 7)),
        *(but(name=wrong) for wrong in ("", " ", None, "a\x00b", "a\u202eb")),
        *(but(context_length=wrong) for wrong in (0, -1, None, "8192", True, 10**12)),
        *(but(top_provider={"max_completion_tokens": wrong}) for wrong in (0, -1, "x")),
        *(
            but(pricing={**pricing, "prompt": wrong})
            for wrong in ("-1", "NaN", "Infinity", "", None, "x", True, "1e30", "1")
        ),
        but(pricing={**pricing, "completion": "-1"}),
        but(pricing={}),
        but(pricing=None),
        but(architecture={"input_modalities": ["text"], "output_modalities": ["image"]}),
        but(architecture={"input_modalities": ["audio"], "output_modalities": ["text"]}),
    ]


def test_it_is_fetched_at_the_start_and_then_once_a_day(
    selling: Toolbox, stand_in: StandInClient
) -> None:
    do_duty(selling)
    assert times_asked(stand_in) == 1

    let_time_pass(selling, "23 hours")
    do_duty(selling)
    assert times_asked(stand_in) == 1

    let_time_pass(selling, "61 minutes")
    do_duty(selling)
    assert times_asked(stand_in) == 2


def test_it_is_fetched_at_once_when_the_clock_was_set_back_by_days(
    selling: Toolbox, stand_in: StandInClient
) -> None:
    do_duty(selling)

    let_time_pass(selling, "-2 days")
    do_duty(selling)

    assert times_asked(stand_in) == 2


def test_after_an_outage_it_is_tried_again_soon_but_not_at_once(
    selling: Toolbox, stand_in: StandInClient
) -> None:
    stand_in.arm(Fault(target="openrouter.models", kind=FaultKind.STATUS, status=503))
    do_duty(selling)

    let_time_pass(selling, "9 minutes")
    do_duty(selling)
    assert times_asked(stand_in) == 1

    let_time_pass(selling, "61 seconds")
    do_duty(selling)
    assert times_asked(stand_in) == 2
    assert on_offer(selling)


def test_a_list_that_was_asked_for_before_the_kept_one_was_kept_changes_nothing(
    selling: Toolbox, stand_in: StandInClient
) -> None:
    """Whoever slept over its answer wakes with the prices of back then."""

    class Sleeper:
        def fetch(self) -> list[ListedModel]:
            old = selling.model_list.fetch()
            stand_in.set_catalogue(entries(stand_in, HAIKU, SMALL))
            with selling.database.transaction("test.due") as session:
                session.execute(text("UPDATE ticks SET due_at = now(), cursor = NULL"))
            do_duty(selling)
            return old

    do_duty(selling.with_(model_list=Sleeper()))

    assert times_asked(stand_in) == 2
    assert on_offer(selling) == sorted([HAIKU, SMALL])


def test_without_instant_resources_nobody_is_asked(tools: Toolbox, stand_in: StandInClient) -> None:
    do_duty(tools.with_(vault=None))

    assert times_asked(stand_in) == 0


def test_a_list_that_is_two_days_old_is_a_persons_business(selling: Toolbox) -> None:
    def is_well(tools: Toolbox) -> bool:
        return bool(health.check(tools, schema_revision=schema.HEAD).parts["catalogue"]["ok"])

    assert is_well(selling)
    who = Publisher(selling)
    keys.put(selling, who.creator.id, Provider.OPENROUTER, "sk-or-v1-of-a-creator")
    assert not is_well(selling)
    assert is_well(selling.with_(vault=None))
    assert catalogue.sync(selling)
    assert is_well(selling)
    with selling.database.transaction("test.age") as session:
        session.execute(text("UPDATE catalogue_models SET synced_at = now() - interval '49 hours'"))
    assert not is_well(selling)
