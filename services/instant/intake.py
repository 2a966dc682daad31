"""A payment comes in: which run it is, or what it buys. Nothing is stored before all is checked."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.x402 import Payment, PaymentKey, PaymentRefused, Reason
from gateways.x402.signatures import is_of_one_key
from models import run_moves
from models.money import Usd
from models.resource import Resource, ResourceVersion
from models.run import Run, RunState
from services.errors import Conflict, ErrorCode, Gone, Mismatch, NotFound
from services.instant import limits, offers, preflight, requirements, resources, templates
from services.instant.obstacles import Obstacle
from services.instant.preflight import CannotSell
from services.instant.resources import OnSale
from services.instant.templates import Inputs
from services.toolbox import Toolbox

MOST_MICROS = 2**62
"""Nothing costs as much, and more would not fit into a column."""


@dataclass(frozen=True, kw_only=True)
class CallerKey:
    """A caller's own name for a request, kept as a hash: whoever knows it may have the result."""

    hash: str
    is_identifier: bool
    """x402's ``payment-identifier``, not ``Idempotency-Key``."""


def find(tools: Toolbox, handle: str, slug: str) -> OnSale:
    """The resource at an address, on sale or not. Raises NotFound."""
    sale = resources.find(tools, handle, slug)
    if sale is None:
        raise resources.not_found()
    return sale


def require_shelved(sale: OnSale) -> None:
    """Raise NotFound for what its creator has put away."""
    if sale.resource.archived_at is not None:
        raise resources.not_found()


def check_sellable(tools: Toolbox, sale: OnSale) -> None:
    """Raise CannotSell unless the newest version could be bought now, and NotFound if archived."""
    require_shelved(sale)
    preflight.check(tools, sale, sale.version, None)


def caller_key(payment: Payment, idempotency_key: str | None) -> CallerKey | None:
    """The name that comes with the payment, else the one in the header."""
    if payment.payment_identifier is not None:
        return CallerKey(hash=_hash("id", payment.payment_identifier), is_identifier=True)
    if idempotency_key is not None:
        return CallerKey(hash=_hash("key", idempotency_key), is_identifier=False)
    return None


def bought_before(
    tools: Toolbox, sale: OnSale, payment: Payment, key: CallerKey | None
) -> Run | None:
    """The run that this payment has bought already, for whoever can show that it is theirs.

    Raises Conflict(payment_already_used): once settled, everybody can read the payment itself.
    """
    with tools.database.reading("runs.bought_before") as session:
        run = session.scalar(_with_payment(payment.key))
    return None if run is None else _theirs(run, sale, payment, key)


def _with_payment(key: PaymentKey) -> Select[Run]:
    return select(Run).where(
        Run.network == key.network,
        Run.asset == key.asset,
        Run.payer == key.payer,
        Run.nonce == key.nonce,
        Run.state != RunState.REFUSED,
    )


def _theirs(run: Run, sale: OnSale, payment: Payment, key: CallerKey | None) -> Run:
    offer_hash = None if payment.offer is None else _hash("offer", payment.offer)
    is_theirs = _same(run.offer_hash, offer_hash) or _same(
        run.caller_key, None if key is None else key.hash
    )
    if not is_theirs or run.resource_id != sale.resource.id:
        raise Conflict(
            "This payment was used before; nothing more was charged.",
            code=ErrorCode.PAYMENT_ALREADY_USED,
        )
    return run


def _same(kept: str | None, shown: str | None) -> bool:
    return kept is not None and shown is not None and hmac.compare_digest(kept, shown)


def _hash(of: str, text: str) -> str:
    return hashlib.sha256(f"{of}:{text}".encode()).hexdigest()


def buy(
    tools: Toolbox,
    sale: OnSale,
    payment: Payment,
    body: Mapping[str, Any],
    *,
    key: CallerKey | None,
    url: str,
) -> Run:
    """Put a run on record for a payment, and wake a worker. Nothing is charged here.

    Raises InvalidRequest, CannotSell, TooManyRequests, Conflict, and PaymentRefused for a payment
    that is not what is asked for.
    """
    require_shelved(sale)
    version = _version(tools, sale, payment)
    inputs = templates.check_inputs(version, body)
    worst = preflight.check(tools, sale, version, inputs)
    asked = requirements.check(tools, sale, version, payment, url=url)
    new = Run(
        **_common(sale, version, inputs, worst),
        is_owner_test=False,
        x402_version=payment.version,
        network=payment.key.network,
        asset=payment.key.asset,
        payer=payment.key.payer,
        nonce=payment.key.nonce,
        valid_before=_instant(payment.authorization.valid_before),
        run_by=_instant(payment.authorization.valid_before) - requirements.TIME_BESIDE_THE_RUN,
        payment=requirements.for_facilitator(
            payment, asked, version, url, is_listed=tools.settings.public_url is not None
        ),
        requirement=dict(asked),
        offer_hash=None if payment.offer is None else _hash("offer", payment.offer),
        caller_key=None if key is None else key.hash,
        request_hash=_request_hash(sale, body),
    )
    try:
        run = _put_on_record(tools, sale, payment, key, new, worst)
    except IntegrityError:  # a copy that got past the lock; then it is on record
        known = bought_before(tools, sale, payment, key)
        if known is None:
            raise
        return known
    tools.doorbell.ring(TaskName.EXECUTE_RUN, run.id)
    return run


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _request_hash(sale: OnSale, body: Mapping[str, Any]) -> str:
    return _hash(str(sale.resource.id), json.dumps(body, sort_keys=True, separators=(",", ":")))


def _version(tools: Toolbox, sale: OnSale, payment: Payment) -> ResourceVersion:
    """What the payment buys: the version of its offer, or the newest one at its price.

    Raises PaymentRefused when there is none: nothing is charged, and the answer is a fresh price.
    """
    if payment.version == 1:
        price = payment.authorization.amount
        if price > MOST_MICROS:
            raise PaymentRefused(Reason.AMOUNT)
        with tools.database.reading("runs.version_at_price") as session:
            version = resources.newest_at_price(session, sale.resource.id, price)
    else:
        offer = offers.read(tools, payment.offer or "")
        is_here = offer.resource_id == sale.resource.id
        version = resources.version(tools, offer.resource_id, offer.version) if is_here else None
    if version is None:
        raise PaymentRefused(Reason.REQUIREMENTS)
    return version


def _common(
    sale: OnSale, version: ResourceVersion, inputs: Inputs, worst: Usd | None
) -> dict[str, Any]:
    return {
        "public_id": uuid.uuid4(),
        "creator_id": sale.creator.id,
        "resource_id": sale.resource.id,
        "version_id": version.id,
        "inputs": {"parameters": dict(inputs.values), "userMessage": inputs.user_message},
        "price_usd_micros": version.price_usd_micros,
        "worst_cost_usd": worst,
    }


def _put_on_record(
    tools: Toolbox,
    sale: OnSale,
    payment: Payment,
    key: CallerKey | None,
    new: Run,
    worst: Usd | None,
) -> Run:
    """One at a time for a payer: copies meet here, and limits are counted."""
    with tools.database.transaction("runs.create") as session:
        limits.hold_still(session, sale.creator, payment.key.payer)
        copy = session.scalar(_with_payment(payment.key))
        if copy is not None:
            return _theirs(copy, sale, payment, key)
        named = _with_caller_key(session, sale, payment, key)
        if named is not None:
            _require_proof(payment)
            return _same_request(named, new, key)
        require_still_on_sale(session, sale)
        _check_limits(session, tools, sale, worst)
        limits.check_payer(session, tools.settings, payment.key.payer, payment.signature)
        return run_moves.begin(session, new)


def _with_caller_key(
    session: Session, sale: OnSale, payment: Payment, key: CallerKey | None
) -> Run | None:
    if key is None:
        return None
    return session.scalar(
        select(Run).where(
            Run.resource_id == sale.resource.id,
            Run.payer == payment.key.payer,
            Run.caller_key == key.hash,
            # what was not charged is no answer to keep: the name may be used for another try
            Run.state != RunState.REFUSED,
            Run.state != RunState.FAILED,
        )
    )


def _require_proof(payment: Payment) -> None:
    """Raise Conflict for a signature that only the facilitator can judge: anybody can make one up,
    and would read the result of whoever chose a name that can be guessed.
    """
    if not is_of_one_key(payment.signature):
        raise Conflict(
            "This name was used before; show the payment that it was used with.",
            code=ErrorCode.PAYMENT_IDENTIFIER_USED,
        )


def _same_request(known: Run, new: Run, key: CallerKey | None) -> Run:
    """The run that this payer has named so, paid for with another payment: this one is not used."""
    if known.request_hash == new.request_hash:
        return known
    if key is not None and key.is_identifier:
        raise Conflict(
            "This payment-identifier was used with another request; nothing was charged.",
            code=ErrorCode.PAYMENT_IDENTIFIER_USED,
        )
    raise Mismatch(
        "This Idempotency-Key was used with another request; nothing was charged.",
        code=ErrorCode.IDEMPOTENCY_MISMATCH,
    )


def require_still_on_sale(session: Session, sale: OnSale) -> None:
    """Once more, and until the commit: who has paused a resource, or deleted its key, sells no more
    of it. Raises CannotSell or NotFound.
    """
    paused_at, archived_at = session.execute(
        select(Resource.paused_at, Resource.archived_at)
        .where(Resource.id == sale.resource.id)
        .with_for_update(read=True)
    ).one()
    if archived_at is not None:
        raise resources.not_found()
    if paused_at is not None:
        raise CannotSell(Obstacle.PAUSED)


def _check_limits(session: Session, tools: Toolbox, sale: OnSale, worst: Usd | None) -> None:
    """Once more: others may have begun runs since the preflight."""
    if limits.is_crowded(session, tools.settings, sale.resource.id):
        raise CannotSell(Obstacle.CROWDED)
    if worst is not None and not limits.is_within_caps(session, sale.creator, worst):
        raise CannotSell(Obstacle.COST_CAP)


def try_out(tools: Toolbox, sale: OnSale, body: Mapping[str, Any]) -> Run:
    """The creator's own run of the newest version: no payment, and no part of any statistics.

    Also of a paused resource. Raises InvalidRequest, CannotSell, NotFound, TooManyRequests.
    """
    require_shelved(sale)
    inputs = templates.check_inputs(sale.version, body)
    with tools.database.transaction("runs.try_out") as session:
        limits.hold_still(session, sale.creator, None)
        limits.check_tests(session, sale.creator.id)
        worst = preflight.check_key(session, sale, sale.version, inputs, is_test=True)
        _check_limits(session, tools, sale, worst)
        seconds = (
            timedelta(seconds=tools.settings.instant_run_seconds) + requirements.TIME_BESIDE_THE_RUN
        )
        run = run_moves.begin(
            session,
            Run(
                **_common(sale, sale.version, inputs, worst),
                is_owner_test=True,
                run_by=func.now() + seconds,
            ),
        )
    tools.doorbell.ring(TaskName.EXECUTE_RUN, run.id)
    return run


def look(tools: Toolbox, run_id: int) -> Run:
    """Read how a run stands."""
    with tools.database.reading("runs.look") as session:
        return session.scalars(select(Run).where(Run.id == run_id)).one()


def by_public_id(tools: Toolbox, sale: OnSale, public_id: uuid.UUID) -> Run:
    """A run of this resource, by the id that opens it. Raises NotFound."""
    with tools.database.reading("runs.read") as session:
        run = session.scalar(
            select(Run).where(Run.public_id == public_id, Run.resource_id == sale.resource.id)
        )
    if run is None:
        raise NotFound("There is no such run.", code=ErrorCode.RUN_NOT_FOUND)
    return run


def require_kept(run: Run) -> None:
    """Raise Gone once a run's result is kept no longer; one that failed has none to lose."""
    if run.state is RunState.SUCCEEDED and run.pruned_at is not None:
        raise Gone("The result is no longer kept.", code=ErrorCode.RESULT_GONE)
