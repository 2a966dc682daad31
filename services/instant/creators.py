"""Who may publish: registering creators, knowing them by their key, their addresses and caps."""

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from gateways import evm_addresses as evm
from gateways.x402.networks import NETWORKS
from models.creator import Creator, PayoutAddress, ProviderKey
from models.slug import SLUG_CHARACTERS, is_slug
from services.errors import (
    Conflict,
    ErrorCode,
    InvalidRequest,
    NotFound,
    NotNow,
    Unauthorized,
    pointer_to,
)
from services.toolbox import Toolbox

API_KEY_PREFIX = "hwc_"
_API_KEY = re.compile(rf"{API_KEY_PREFIX}[\w-]{{43}}", re.ASCII)
KNOWN_NETWORKS = tuple(network.name for network in NETWORKS)
"""An address may be given before its network is switched on."""
_NO_NETWORK = "is no network that this service is paid on"
RESERVED_HANDLES = frozenset(
    {"api", "admin", "creator", "creators", "instant", "resources", "runs"}
)
CAPS = frozenset({"cost_cap_per_call_usd", "cost_cap_per_day_usd"})
NOT_HERE_RETRY = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class NewCreator:
    creator: Creator
    api_key: str
    """Shown this once; only its hash is kept."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A creator's own view of the account."""

    creator: Creator
    addresses: Mapping[str, str]
    """By network (CAIP-2), with checksum."""
    keys: tuple[ProviderKey, ...]


def require_instant(tools: Toolbox) -> None:
    """Raise NotNow (``instant_unavailable``) in a deployment without vault keys."""
    if tools.vault is None:
        raise NotNow(
            "This service has no instant resources.",
            code=ErrorCode.INSTANT_UNAVAILABLE,
            retry_after=NOT_HERE_RETRY,
        )


def register(tools: Toolbox, handle: str, addresses: Mapping[str, str]) -> NewCreator:
    """Make a creator. ``addresses`` by network. Raises InvalidRequest, or Conflict (the handle)."""
    require_instant(tools)
    _check_handle(handle)
    checked = _checked(tools, addresses)
    api_key = _new_api_key()
    with tools.database.transaction("creators.register") as session:
        creator = session.scalar(
            insert(Creator)
            .values(handle=handle, api_key_hash=_hash(api_key), api_key_last4=api_key[-4:])
            .on_conflict_do_nothing(index_elements=[Creator.handle])
            .returning(Creator)
        )
        if creator is None:
            raise Conflict("Another creator has this handle.", code=ErrorCode.HANDLE_TAKEN)
        _store(session, creator.id, checked)
    return NewCreator(creator=creator, api_key=api_key)


def authenticate(tools: Toolbox, api_key: str) -> Creator:
    """The creator whose key this is. Raises Unauthorized, for whatever reason alike.

    Looked up by hash: how long that takes says nothing about how much of a key was guessed.
    """
    require_instant(tools)
    creator = None
    if _API_KEY.fullmatch(api_key):
        with tools.database.reading("creators.authenticate") as session:
            creator = session.scalar(select(Creator).where(Creator.api_key_hash == _hash(api_key)))
    if creator is None or not secrets.compare_digest(creator.api_key_hash, _hash(api_key)):
        raise Unauthorized("This is no creator's key.", code=ErrorCode.UNAUTHORIZED)
    return creator


def renew_api_key(tools: Toolbox, handle: str) -> str:
    """Make another API key; the old one opens nothing from then on. Raises NotFound."""
    api_key = _new_api_key()
    with tools.database.transaction("creators.renew") as session:
        renewed = session.scalar(
            update(Creator)
            .where(Creator.handle == handle)
            .values(api_key_hash=_hash(api_key), api_key_last4=api_key[-4:])
            .returning(Creator.id)
        )
    if renewed is None:
        raise NotFound("There is no such creator.", code=ErrorCode.NOT_FOUND)
    return api_key


def every(tools: Toolbox) -> list[Account]:
    """All creators, by handle."""
    with tools.database.transaction("creators.every") as session:
        ids = session.scalars(select(Creator.id).order_by(Creator.handle)).all()
        return [_account(session, creator_id) for creator_id in ids]


def account(tools: Toolbox, creator_id: int) -> Account:
    """What a creator sees of the own account."""
    with tools.database.transaction("creators.account") as session:
        return _account(session, creator_id)


def change(
    tools: Toolbox,
    creator_id: int,
    *,
    addresses: Mapping[str, str | None] | None = None,
    caps: Mapping[str, Decimal | None] | None = None,
) -> Account:
    """Set what is given and leave the rest; an address or a cap of None is taken away.

    ``caps`` by column: ``cost_cap_per_call_usd``, ``cost_cap_per_day_usd``, in dollars.

    Runs under way are paid to the address they were offered at. Raises InvalidRequest.
    """
    removed = [network for network, address in (addresses or {}).items() if address is None]
    kept = {network: given for network, given in (addresses or {}).items() if given is not None}
    checked = _checked(tools, kept)
    if unknown := set(caps or {}) - CAPS:
        raise TypeError(f"no caps: {unknown}")
    with tools.database.transaction("creators.change") as session:
        _store(session, creator_id, checked)
        _remove(session, creator_id, removed, known=_networks(tools))
        if caps:
            _cap(session, creator_id, caps)
        return _account(session, creator_id)


def _account(session: Session, creator_id: int) -> Account:
    of = session.scalars(
        select(PayoutAddress)
        .where(PayoutAddress.creator_id == creator_id)
        .order_by(PayoutAddress.network)
    )
    keys = session.scalars(
        select(ProviderKey)
        .where(ProviderKey.creator_id == creator_id)
        .order_by(ProviderKey.provider)
    )
    return Account(
        creator=session.get_one(Creator, creator_id, populate_existing=True),
        addresses={row.network: evm.checksummed(row.address) for row in of},
        keys=tuple(keys),
    )


def _check_handle(handle: str) -> None:
    if not is_slug(handle):
        raise InvalidRequest.at(
            "/handle",
            f"A handle is lower-case letters, digits and single hyphens,"
            f" {SLUG_CHARACTERS} characters at most.",
        )
    if handle in RESERVED_HANDLES:
        raise Conflict("This handle is reserved.", code=ErrorCode.HANDLE_TAKEN)


def _networks(tools: Toolbox) -> Set[str]:
    return {*KNOWN_NETWORKS, *tools.settings.x402_networks}


def _checked(tools: Toolbox, addresses: Mapping[str, str]) -> dict[str, str]:
    """In lower case. Raises InvalidRequest with everything that is wrong."""
    problems = []
    known = _networks(tools)
    for network, address in addresses.items():
        if network not in known:
            problems.append((network, _NO_NETWORK))
        elif (problem := evm.problem_of(address)) is not None:
            problems.append((network, problem))
    if problems:
        raise _invalid_addresses(problems)
    return {network: address.lower() for network, address in addresses.items()}


def _invalid_addresses(problems: list[tuple[str, str]]) -> InvalidRequest:
    errors = [
        {
            "pointer": pointer_to("payoutAddresses", network),
            "detail": f"payoutAddresses.{network[:60]} {problem}.",
        }
        for network, problem in problems
    ]
    return InvalidRequest(
        errors[0]["detail"], code=ErrorCode.INVALID_PAYOUT_ADDRESS, members={"errors": errors}
    )


def _store(session: Session, creator_id: int, addresses: Mapping[str, str]) -> None:
    for network, address in addresses.items():
        row = insert(PayoutAddress).values(creator_id=creator_id, network=network, address=address)
        session.execute(
            row.on_conflict_do_update(
                index_elements=[PayoutAddress.creator_id, PayoutAddress.network],
                set_={"address": address},
            )
        )


def _remove(
    session: Session, creator_id: int, networks: Collection[str], *, known: Set[str]
) -> None:
    """Nothing happens where there is none. Raises InvalidRequest for what is no network at all."""
    if not networks:
        return
    theirs = PayoutAddress.creator_id == creator_id
    stored = set(session.scalars(select(PayoutAddress.network).where(theirs)))
    unheard_of = [network for network in networks if network not in known | stored]
    if unheard_of:
        raise _invalid_addresses([(network, _NO_NETWORK) for network in unheard_of])
    taken_away = stored.intersection(networks)
    session.execute(delete(PayoutAddress).where(theirs, PayoutAddress.network.in_(taken_away)))


def _cap(session: Session, creator_id: int, caps: Mapping[str, Decimal | None]) -> None:
    session.execute(update(Creator).where(Creator.id == creator_id).values(**caps))


def _new_api_key() -> str:
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def _hash(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()
