"""Resources: versions that never change, one owner, and what is on sale at which price."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, inspect, text, update
from sqlalchemy.exc import SQLAlchemyError

from gateways.x402.networks import BASE
from local.stand_in.testing import StandInClient
from models.creator import Breaker, BreakerReason, PayoutAddress, Provider, ProviderKey
from models.resource import PauseReason, Resource, ResourceType, ResourceVersion
from services.errors import Conflict, ErrorCode, InvalidRequest, NotFound
from services.instant import catalogue, drafts, listing, resources
from services.instant.obstacles import Obstacle
from services.instant.resources import OnSale
from services.toolbox import Toolbox
from tests.support.publishing import ADDRESS, HAIKU, NETWORK, SMALL, Publisher, publisher
from tests.support.together import all_at_once

OPENROUTER = ResourceType.OPENROUTER_INSTANT
PROMPT_TEMPLATE = ResourceType.PROMPT_TEMPLATE
STATIC = ResourceType.STATIC
PROXY = ResourceType.PROXY


@pytest.fixture
def ann(tools: Toolbox) -> Publisher:
    return publisher(tools)


def give_key(who: Publisher, provider: Provider = Provider.OPENROUTER, **members: Any) -> int:
    with who.tools.database.transaction("test.key") as session:
        key = ProviderKey(
            creator_id=who.creator.id,
            provider=provider,
            sealed="sealed",
            last4="abcd",
            is_valid=True,
            **members,
        )
        session.add(key)
        session.flush()
        return key.id


def refused(who: Publisher, of: ResourceType, **members: Any) -> list[str]:
    """The pointers of what is wrong with it."""
    with pytest.raises(InvalidRequest) as caught:
        who.publish("refused", of, **members)
    return [error["pointer"] for error in caught.value.members["errors"]]


def found(who: Publisher, slug: str = "poem") -> OnSale:
    on_sale = resources.find(who.tools, who.creator.handle, slug)
    assert on_sale is not None
    return on_sale


def at_price(who: Publisher, usd: str, slug: str = "poem") -> int | None:
    """The number of the version that a payment of so much buys."""
    micros = int(Decimal(usd) * 1_000_000)
    with who.tools.database.transaction("test.at_price") as session:
        bought = resources.newest_at_price(session, found(who, slug).resource.id, micros)
    return None if bought is None else bought.number


def let_offers_expire(who: Publisher) -> None:
    """Every version came eleven minutes earlier."""
    with who.tools.database.transaction("test.age") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE resource_versions SET created_at = created_at - interval '11 minutes'")
        )


@pytest.mark.parametrize("of", ResourceType)
def test_each_type_can_be_published_with_what_it_needs(ann: Publisher, of: ResourceType) -> None:
    published = ann.publish("thing", of)

    assert published.version.number == 1
    assert published.resource.type is of


def test_what_a_type_does_not_have_is_empty(ann: Publisher) -> None:
    model, static = ann.publish("model", OPENROUTER).version, ann.publish("static").version

    assert (model.content, model.content_type, model.upstream_url) == (None, None, None)
    assert (static.model, static.system_prompt, static.parameters) == (None, None, None)
    assert (static.content_type, static.allows_user_message) == (drafts.DEFAULT_CONTENT_TYPE, None)


@pytest.mark.parametrize("of", ResourceType)
def test_the_members_of_other_types_are_refused_by_name(ann: Publisher, of: ResourceType) -> None:
    foreign = drafts.ALL_MEMBERS - drafts.MEMBERS[of]
    for name in foreign:
        wire = drafts.on_the_wire(name)

        assert refused(ann, of, **{name: "x"}) == [f"/{wire}"]


@pytest.mark.parametrize(
    ("of", "missing"),
    [
        (OPENROUTER, {"/name", "/priceUsd", "/model", "/systemPrompt"}),
        (PROMPT_TEMPLATE, {"/name", "/priceUsd", "/model", "/systemPrompt"}),
        (STATIC, {"/name", "/priceUsd", "/content"}),
        (PROXY, {"/name", "/priceUsd", "/upstreamUrl"}),
    ],
)
def test_what_a_type_cannot_do_without_is_asked_for(
    ann: Publisher, of: ResourceType, missing: set[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resources.create(ann.tools, ann.creator.id, "bare", of, {})

    assert {error["pointer"] for error in caught.value.members["errors"]} == missing


@pytest.mark.parametrize("price", ["0.0009", "0", "-1", "1.000001", "0.0000001", "5"])
def test_a_price_out_of_bounds_or_finer_than_a_micro_dollar_is_refused(
    ann: Publisher, price: str
) -> None:
    assert refused(ann, STATIC, price_usd=Decimal(price)) == ["/priceUsd"]


@pytest.mark.parametrize("price", ["0.001", "0.123456", "1"])
def test_a_price_is_kept_to_the_micro_dollar(ann: Publisher, price: str) -> None:
    version = ann.publish(price_usd=Decimal(price)).version

    assert version.price_usd_micros == Decimal(price) * 1_000_000


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"model": "nobody/knows"}, "/model"),
        ({"system_prompt": "{nobody}{/nobody}"}, "/systemPrompt"),
        ({"system_prompt": "nothing to put in"}, "/parameters"),
        ({"parameters": [{"name": "Bad", "required": True}]}, "/parameters/0/name"),
        ({"max_tokens": 64_001}, "/maxTokens"),
        ({"model": SMALL, "max_tokens": 8_000}, "/maxTokens"),
        ({"model": SMALL, "system_prompt": "é" * 4000, "parameters": []}, "/systemPrompt"),
        ({"system_prompt": "é" * 24_577, "parameters": []}, "/systemPrompt"),
    ],
)
def test_a_prompt_that_could_not_run_is_not_published(
    ann: Publisher, members: Mapping[str, Any], pointer: str
) -> None:
    assert pointer in refused(ann, OPENROUTER, **members)


def test_an_anthropic_key_runs_anthropics_models_as_anthropic_lets_them_run(
    ann: Publisher,
) -> None:
    assert refused(ann, PROMPT_TEMPLATE, model=SMALL) == ["/model"]
    assert refused(ann, PROMPT_TEMPLATE, temperature=Decimal("0.9")) == ["/temperature"]
    assert refused(ann, PROMPT_TEMPLATE, top_p=Decimal("0.9")) == ["/topP"]
    assert refused(ann, PROMPT_TEMPLATE, presence_penalty=Decimal(1)) == ["/presencePenalty"]
    assert ann.publish("fine", PROMPT_TEMPLATE, temperature=Decimal(1)).version.model == HAIKU
    assert ann.publish("hot", OPENROUTER, temperature=Decimal(2)).version.model == HAIKU


@pytest.mark.parametrize(
    "url",
    [
        *("http://upstream.example/", "https://127.0.0.1/", "https://10.0.0.1/", "ftp://a.example"),
        *("https://user:pw@upstream.example/", "https://[::1]/", "https://localhost/", "", "x"),
        "https://upstream.example:8443/",
    ],
)
def test_a_server_that_nobody_may_be_sent_to_is_refused(ann: Publisher, url: str) -> None:
    assert refused(ann, PROXY, upstream_url=url) == ["/upstreamUrl"]


@pytest.mark.parametrize(
    "content_type", ["", "text", "text/html\r\nX: y", "text/plain; x", "a b/c", "/", "text/\u00e9"]
)
def test_what_is_no_media_type_is_refused(ann: Publisher, content_type: str) -> None:
    assert refused(ann, STATIC, content_type=content_type) == ["/contentType"]


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "application/json", "image/svg+xml", 'text/csv; charset="utf-8";header=present'],
)
def test_a_media_type_is_kept(ann: Publisher, content_type: str) -> None:
    assert ann.publish(content_type=content_type).version.content_type == content_type


def test_content_larger_than_can_be_sold_is_refused(ann: Publisher) -> None:
    assert refused(ann, STATIC, content="é" * (drafts.MAX_CONTENT_BYTES // 2 + 1)) == ["/content"]


def test_a_slug_is_one_resource_of_its_creator_also_when_it_is_archived(
    tools: Toolbox, ann: Publisher
) -> None:
    ann.publish()
    resources.archive(tools, ann.creator.id, "poem")

    with pytest.raises(Conflict) as caught:
        ann.publish()

    assert caught.value.code is ErrorCode.SLUG_TAKEN
    assert Publisher(tools, "bob").publish().version.number == 1


def test_of_many_who_take_a_slug_at_once_one_has_it(ann: Publisher) -> None:
    outcomes = all_at_once(ann.publish)

    lost = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(lost) == len(outcomes) - 1
    assert {type(outcome) for outcome in lost} == {Conflict}


def test_an_edit_is_a_new_version_and_the_old_one_stays_as_it_was(ann: Publisher) -> None:
    ann.publish("poem", OPENROUTER)

    edited = ann.edit(price_usd=Decimal("0.02"), temperature=Decimal("0.5")).version

    first = resources.version(ann.tools, edited.resource_id, 1)
    assert first is not None
    assert (edited.number, edited.price_usd_micros) == (2, 20_000)
    assert (first.price_usd_micros, first.temperature) == (10_000, None)
    assert (edited.system_prompt, edited.parameters) == (first.system_prompt, first.parameters)
    assert resources.version(ann.tools, edited.resource_id, 3) is None


def test_an_edit_that_changes_nothing_makes_no_version(ann: Publisher) -> None:
    before = ann.publish("poem", OPENROUTER, temperature=Decimal("0.7")).version

    same = ann.edit(
        temperature=Decimal("0.7"), price_usd=Decimal("0.01"), parameters=before.parameters
    )

    assert same.version.number == 1


def test_an_edit_can_take_a_sampling_parameter_back(ann: Publisher) -> None:
    ann.publish("poem", OPENROUTER, temperature=Decimal("0.7"))

    assert ann.edit(temperature=None).version.temperature is None


def test_an_edit_is_judged_with_what_it_leaves_as_it_is(ann: Publisher) -> None:
    ann.publish("poem", OPENROUTER)

    with pytest.raises(InvalidRequest) as caught:
        ann.edit(parameters=[])

    assert [error["pointer"] for error in caught.value.members["errors"]] == ["/systemPrompt"] * 2
    assert ann.read().version.number == 1


def test_edits_at_once_are_versions_one_after_the_other(ann: Publisher) -> None:
    ann.publish()
    prices = iter([Decimal(n) / 1000 for n in range(2, 12)])

    outcomes = all_at_once(lambda: ann.edit(price_usd=next(prices)))

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert ann.read().version.number == 1 + len(outcomes)


def test_a_version_can_be_neither_changed_nor_deleted(ann: Publisher) -> None:
    ann.publish()
    for change in (
        update(ResourceVersion).values(name="another"),
        delete(ResourceVersion),
    ):
        with (
            pytest.raises(SQLAlchemyError),
            ann.tools.database.transaction("test.change") as session,
        ):
            session.execute(change)


@pytest.mark.parametrize("slug", ["nothing", "Poem", "poem\x00", "../poem", "p" * 61, ""])
def test_what_a_creator_does_not_have_is_not_found(ann: Publisher, slug: str) -> None:
    ann.publish()
    for act in (resources.pause, resources.resume, resources.archive, resources.restore):
        with pytest.raises(NotFound):
            act(ann.tools, ann.creator.id, slug)
    with pytest.raises(NotFound):
        ann.edit(slug, name="mine")
    with pytest.raises(NotFound):
        ann.read(slug)
    assert resources.find(ann.tools, "ann", slug) is None


def test_nobody_moves_what_is_anothers(tools: Toolbox, ann: Publisher) -> None:
    ann.publish()
    bob = Publisher(tools, "bob")
    for act in (resources.pause, resources.resume, resources.archive, resources.restore):
        with pytest.raises(NotFound):
            act(tools, bob.creator.id, "poem")
    with pytest.raises(NotFound):
        bob.edit(name="mine now")
    with pytest.raises(NotFound):
        bob.read()
    assert ann.read().obstacles == ()


def test_pausing_and_resuming_twice_is_the_same_as_once(ann: Publisher) -> None:
    ann.publish()

    for _ in range(2):
        resources.pause(ann.tools, ann.creator.id, "poem")
        assert ann.read().resource.pause_reason is PauseReason.CREATOR
    for _ in range(2):
        resources.resume(ann.tools, ann.creator.id, "poem")
        assert ann.read().resource.paused_at is None


def test_the_creators_own_pause_outlasts_that_of_a_deleted_key(ann: Publisher) -> None:
    ann.publish()
    with ann.tools.database.transaction("test.pause") as session:
        session.execute(
            update(Resource).values(
                paused_at=text("now() - interval '1 hour'"), pause_reason=PauseReason.KEY_DELETED
            )
        )

    resources.pause(ann.tools, ann.creator.id, "poem")

    assert ann.read().resource.pause_reason is PauseReason.CREATOR


def test_a_restored_resource_is_as_it_was(ann: Publisher) -> None:
    ann.publish()
    resources.pause(ann.tools, ann.creator.id, "poem")
    resources.archive(ann.tools, ann.creator.id, "poem")
    archived_at = ann.read().resource.archived_at
    resources.archive(ann.tools, ann.creator.id, "poem")
    assert ann.read().resource.archived_at == archived_at

    resources.restore(ann.tools, ann.creator.id, "poem")

    assert ann.read().obstacles == (Obstacle.PAUSED,)


def test_a_buyer_finds_the_newest_version_and_where_to_pay(ann: Publisher) -> None:
    ann.publish()
    ann.edit(price_usd=Decimal("0.5"))

    on_sale = found(ann)

    assert on_sale.version.number == 2
    assert on_sale.addresses == {NETWORK: ADDRESS}
    assert on_sale.creator.handle == "ann"


def test_a_buyer_also_finds_what_is_archived_or_has_no_address(tools: Toolbox) -> None:
    bob = Publisher(tools, "bob", is_paid=False)
    bob.publish()
    resources.archive(tools, bob.creator.id, "poem")

    on_sale = found(bob)

    assert on_sale.addresses == {}
    assert on_sale.resource.archived_at is not None
    assert resources.find(tools, "nobody", "poem") is None


def test_a_payment_that_names_no_version_buys_the_newest_at_its_price(ann: Publisher) -> None:
    ann.publish(price_usd=Decimal("0.01"))
    ann.edit(name="Better")
    ann.edit(price_usd=Decimal("0.02"))

    assert at_price(ann, "0.02") == 3
    assert at_price(ann, "0.01") == 2
    assert at_price(ann, "0.03") is None


def test_an_old_price_is_nobodys_for_ever(ann: Publisher) -> None:
    ann.publish(price_usd=Decimal("0.01"))
    ann.edit(price_usd=Decimal("0.02"))
    let_offers_expire(ann)

    assert at_price(ann, "0.01") is None
    assert at_price(ann, "0.02") == 2


def test_what_keeps_a_resource_from_selling_is_told_to_its_owner(
    ann: Publisher, stand_in: StandInClient
) -> None:
    assert ann.publish("poem", OPENROUTER).obstacles == (Obstacle.KEY_MISSING,)
    key_id = give_key(ann)
    assert ann.read().obstacles == ()

    with ann.tools.database.transaction("test.break") as session:
        session.execute(update(ProviderKey).values(is_valid=False))
        session.execute(delete(PayoutAddress))
        for model in (HAIKU, "*"):
            session.add(
                Breaker(
                    provider_key_id=key_id,
                    model=model,
                    reason=BreakerReason.CREDITS,
                    opened_at=text("now()"),
                    due_at=text("now()"),
                )
            )
    resources.pause(ann.tools, ann.creator.id, "poem")
    stand_in.set_catalogue([e for e in stand_in.catalogue() if e["id"] != HAIKU])
    assert catalogue.sync(ann.tools)

    seen = ann.read()
    assert list(seen.obstacles) == [
        Obstacle.PAUSED,
        Obstacle.NO_ADDRESS,
        Obstacle.MODEL_GONE,
        Obstacle.KEY_INVALID,
        Obstacle.BREAKER_OPEN,
    ]
    assert seen.resting_because is BreakerReason.CREDITS
    assert listing.on_sale(ann.tools, handle=None, after=None, limit=9).items == []


def test_a_breaker_of_another_model_and_a_closed_one_keep_nothing_from_selling(
    ann: Publisher,
) -> None:
    key_id = give_key(ann)
    ann.publish("poem", OPENROUTER)
    with ann.tools.database.transaction("test.break") as session:
        now = text("now()")
        other = Breaker(provider_key_id=key_id, model=SMALL, opened_at=now, due_at=now)
        other.reason = BreakerReason.TIMEOUT
        session.add_all([other, Breaker(provider_key_id=key_id, model=HAIKU)])

    assert ann.read().obstacles == ()


def test_an_address_on_a_network_that_is_not_asked_for_does_not_help(ann: Publisher) -> None:
    ann.publish()

    there = listing.read(ann.tools.with_(networks=(BASE,)), ann.creator.id, "poem")

    assert there.obstacles == (Obstacle.NO_ADDRESS,)


def test_a_key_of_another_provider_does_not_help(ann: Publisher) -> None:
    give_key(ann, Provider.ANTHROPIC)

    assert ann.publish("openrouter", OPENROUTER).obstacles == (Obstacle.KEY_MISSING,)
    assert ann.publish("anthropic", PROMPT_TEMPLATE).obstacles == ()


def test_everybody_sees_what_sells_newest_first_page_by_page(
    tools: Toolbox, ann: Publisher
) -> None:
    bob = Publisher(tools, "bob")
    slugs = [f"thing-{n}" for n in range(5)]
    for n, slug in enumerate(slugs):
        (ann if n % 2 else bob).publish(slug)
    resources.pause(tools, ann.creator.id, "thing-1")

    seen: list[str] = []
    after = None
    while True:
        page = listing.on_sale(tools, handle=None, after=after, limit=2)
        seen += [item.resource.slug for item in page.items]
        after = page.after
        if after is None:
            break

    assert seen == ["thing-4", "thing-3", "thing-2", "thing-0"]
    of_ann = listing.on_sale(tools, handle="ann", after=None, limit=9)
    assert [item.resource.slug for item in of_ann.items] == ["thing-3"]
    owned = listing.of_owner(tools, ann.creator.id, after=None, limit=9)
    assert [item.resource.slug for item in owned.items] == ["thing-3", "thing-1"]


def test_what_is_sold_is_not_even_read_for_the_list_of_everybody(ann: Publisher) -> None:
    give_key(ann)
    ann.publish("poem", OPENROUTER)

    (listed,) = listing.on_sale(ann.tools, handle=None, after=None, limit=9).items

    assert inspect(listed.version).unloaded >= {"system_prompt", "content", "upstream_url"}
