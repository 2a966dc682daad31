"""Making what a run sells: one outside call at most, and what came of it as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from gateways.errors import Billed, OutsideError
from gateways.llms import Answer, Stop
from models.catalogue import CatalogueModel
from models.money import Usd
from models.resource import MODEL_TYPES, PROVIDER_OF, ResourceType, ResourceVersion
from models.run import CallOutcome, Run
from services.errors import RuleBroken
from services.instant import asking, catalogue, deliveries, failures, journal, keys
from services.instant.failures import RunFailure
from services.instant.keys import OpenedKey
from services.instant.templates import Inputs
from services.toolbox import Toolbox

NOTHING = Usd(Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a call used up on the creator's key. ``usd`` None = nobody knows."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: Usd | None = NOTHING
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What can be sold."""

    result: Mapping[str, Any] = field(repr=False)
    """As ``runs.result`` keeps it."""
    cost: Cost = Cost()
    key_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class NotMade:
    """Why there is nothing to sell."""

    failure: RunFailure
    outcome: CallOutcome = CallOutcome.REFUSED
    code: str | None = None
    """The gateway's word for it."""
    may_pass: bool = False
    """Nothing was billed, and the same call may go better soon."""
    retry_after: timedelta | None = None
    cost: Cost = Cost()
    key_id: int | None = None


def make(
    tools: Toolbox,
    run: Run,
    of: ResourceType,
    version: ResourceVersion,
    *,
    seconds: float,
    calls_so_far: int,
) -> Made | NotMade:
    """Make the call, if the type has one, within ``seconds``. No transaction may be open.

    Never raises for what the outside does.
    """
    if of is ResourceType.STATIC:
        return Made(result=deliveries.static(version).as_result())
    if of in MODEL_TYPES:
        return _ask_model(tools, run, of, version, seconds=seconds, calls_so_far=calls_so_far)
    return _ask_upstream(tools, run, version, seconds=seconds)


def _ask_upstream(
    tools: Toolbox, run: Run, version: ResourceVersion, *, seconds: float
) -> Made | NotMade:
    try:
        delivery = deliveries.proxy(tools, run, version, seconds=seconds)
    except OutsideError as error:
        failure = RunFailure.TIMEOUT if error.code == "timeout" else RunFailure.UPSTREAM
        return NotMade(failure=failure, outcome=journal.outcome_of(error), code=error.code)
    return Made(result=delivery.as_result())


def _ask_model(
    tools: Toolbox,
    run: Run,
    of: ResourceType,
    version: ResourceVersion,
    *,
    seconds: float,
    calls_so_far: int,
) -> Made | NotMade:
    model = _model(tools, version)
    key = keys.open_key(tools, run.creator_id, PROVIDER_OF[of])
    if key is None:
        return NotMade(failure=RunFailure.KEY_MISSING)
    if model is None:
        return NotMade(failure=RunFailure.MODEL_GONE, key_id=key.id)
    try:
        asked = asking.question(of, version, inputs_of(run), model)
        answer = tools.creator_model(PROVIDER_OF[of], key.secret).ask(
            replace(asked, seconds=seconds)
        )
    except OutsideError as error:
        return _trouble(error, key, calls_so_far=calls_so_far)
    except RuleBroken:  # the context became smaller since it was paid for
        return NotMade(failure=RunFailure.BAD_REQUEST, key_id=key.id)
    return _sold(answer, model, key)


def inputs_of(run: Run) -> Inputs:
    """What the caller gave, as it was checked at the door."""
    kept = run.inputs or {}
    return Inputs(values=kept.get("parameters") or {}, user_message=kept.get("userMessage"))


def _model(tools: Toolbox, version: ResourceVersion) -> CatalogueModel | None:
    with tools.database.reading("runs.model") as session:
        model = catalogue.find(session, version.model or "")
    return None if model is None or model.vanished_at is not None else model


def _trouble(error: OutsideError, key: OpenedKey, *, calls_so_far: int) -> NotMade:
    return NotMade(
        failure=failures.of_error(error),
        outcome=journal.outcome_of(error),
        code=error.inside or error.code,
        may_pass=failures.may_pass(error, calls_so_far=calls_so_far),
        retry_after=error.retry_after,
        cost=Cost(usd=None) if error.billed is Billed.UNKNOWN else Cost(),
        key_id=key.id,
    )


def _sold(answer: Answer, model: CatalogueModel, key: OpenedKey) -> Made | NotMade:
    cost = Cost(
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        usd=catalogue.cost(
            model, input_tokens=answer.input_tokens, output_tokens=answer.output_tokens
        ),
        usage=answer.usage,
    )
    failure = failures.of_answer(answer)
    if failure is not None:
        answered = CallOutcome.ANSWERED
        return NotMade(failure=failure, outcome=answered, code=failure, cost=cost, key_id=key.id)
    truncated = {"truncated": True} if answer.stop is Stop.CUT else {}
    return Made(result={"response": answer.text} | truncated, cost=cost, key_id=key.id)
