"""Creators' keys of model providers: sealed, write-only, and asked about before anybody pays.

One row is one secret: a key saved anew is a new row, so that what was in flight with the old one
says nothing about it.
"""

import re
import time
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, true, update
from sqlalchemy.orm import Session

from gateways.errors import OutsideError
from gateways.provider_keys import KeyVerdict
from gateways.vault import SealBroken, Vault
from models import due
from models.creator import EVERY_MODEL, Breaker, BreakerReason, Creator, Provider, ProviderKey
from models.database import ago
from models.resource import PauseReason, Resource, types_on
from services import retry
from services.errors import ErrorCode, InvalidRequest, NotFound, NotNow
from services.instant import breakers, creators
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

_SECRET = re.compile(r"[\x21-\x7e]{12,512}")
VERIFIED_EVERY = timedelta(days=1)
INVALID_ASKED_EVERY = timedelta(hours=1)
ASKED_AT_LEAST_EVERY = timedelta(minutes=1)
PROVIDER_RETRY = timedelta(seconds=30)
VERIFIED_AT_ONCE = 20
SWEEP_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class OpenedKey:
    id: int
    """Of the row: what breakers count by."""
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SavedKey:
    key: ProviderKey
    resumed: tuple[str, ...]
    """Slugs that the deletion of an earlier key had paused, and that are on sale again."""


def bond(creator_id: int, provider: Provider, row_id: int) -> str:
    """What a sealed key is bound to."""
    return f"provider key {row_id} of creator {creator_id} at {provider.value}"


def put(tools: Toolbox, creator_id: int, provider: Provider, secret: str) -> SavedKey:
    """Ask the provider, then seal the key in place of any other.

    Raises InvalidRequest for one that the provider does not accept: the old one stays. While the
    provider cannot be asked, the key counts as good and is asked about soon.
    """
    vault = _vault(tools)
    if not _SECRET.fullmatch(secret):
        raise _not_accepted("key must be 12 to 512 printable ASCII characters without blanks.")
    verdict = _verdict_or_none(tools, provider, secret)
    if verdict is KeyVerdict.INVALID:
        raise _not_accepted("The provider does not accept this key; nothing was changed.")
    with tools.database.transaction("keys.put") as session:
        key = _replace(session, vault, creator_id, provider, secret)
        _write_down(session, key.id, verdict)
        resumed = _resume(session, creator_id, provider)
        session.refresh(key)
    return SavedKey(key=key, resumed=tuple(resumed))


def _replace(
    session: Session, vault: Vault, creator_id: int, provider: Provider, secret: str
) -> ProviderKey:
    """Of two at once the second waits here for the first."""
    session.execute(
        select(Creator.id).where(Creator.id == creator_id).with_for_update(key_share=True)
    )
    since = session.scalar(
        sql_delete(ProviderKey)
        .where(ProviderKey.creator_id == creator_id, ProviderKey.provider == provider)
        .returning(ProviderKey.created_at)
    )
    key = ProviderKey(
        creator_id=creator_id,
        provider=provider,
        sealed="",
        last4=secret[-4:],
        created_at=since or func.now(),
        replaced_at=func.now() if since else None,
    )
    session.add(key)
    session.flush()  # the row's number is part of what the seal is bound to
    key.sealed = vault.seal(secret, bound_to=bond(creator_id, provider, key.id))
    session.flush()
    return key


def delete(tools: Toolbox, creator_id: int, provider: Provider) -> list[str]:
    """Forget a key and pause what runs on it; returns those slugs. Raises NotFound."""
    with tools.database.transaction("keys.delete") as session:
        deleted = session.scalar(
            sql_delete(ProviderKey)
            .where(ProviderKey.creator_id == creator_id, ProviderKey.provider == provider)
            .returning(ProviderKey.id)
        )
        if deleted is None:
            raise _no_key()
        return _pause(session, creator_id, provider)


def test(tools: Toolbox, creator_id: int, provider: Provider) -> ProviderKey:
    """Ask the provider now and write down what it says. Raises NotFound, or NotNow.

    Whatever had stopped sales is probed again at once.
    """
    opened = open_key(tools, creator_id, provider)
    if opened is None:
        raise _no_key()
    verdict = _verdict_or_none(tools, provider, opened.secret)
    if verdict is None:
        raise NotNow(
            "The provider cannot be asked at the moment.",
            code=ErrorCode.MODEL_UNAVAILABLE,
            retry_after=PROVIDER_RETRY,
        )
    with tools.database.transaction("keys.test") as session:
        _write_down(session, opened.id, verdict)
        breakers.probe_soon(session, opened.id)
        key = session.get(ProviderKey, opened.id)
    if key is None:  # deleted or replaced meanwhile
        raise _no_key()
    return key


def open_key(tools: Toolbox, creator_id: int, provider: Provider) -> OpenedKey | None:
    """A creator's key, to be kept no longer than the call. None = there is none.

    One that the ring does not open counts as none, and a person must act.
    """
    with tools.database.reading("keys.open") as session:
        key = session.scalar(
            select(ProviderKey).where(
                ProviderKey.creator_id == creator_id, ProviderKey.provider == provider
            )
        )
    return None if key is None else _opened(tools, key)


def open_row(tools: Toolbox, key_id: int) -> tuple[ProviderKey, OpenedKey] | None:
    """As ``open_key``, by the row's number."""
    with tools.database.reading("keys.open_row") as session:
        key = session.get(ProviderKey, key_id)
    opened = None if key is None else _opened(tools, key)
    return None if key is None or opened is None else (key, opened)


def _opened(tools: Toolbox, key: ProviderKey) -> OpenedKey | None:
    try:
        secret = _vault(tools).open(key.sealed, bound_to=bond(key.creator_id, key.provider, key.id))
    except SealBroken as error:
        logger.error("a provider key does not open", provider_key=key.id, why=str(error))  # noqa: TRY400
        return None
    return OpenedKey(id=key.id, secret=secret)


def verify_due(tools: Toolbox) -> int:
    """The duty: ask the providers about keys whose time has come; returns how many."""
    if tools.vault is None:
        return 0
    began = time.monotonic()
    with tools.database.reading("keys.due") as session:
        ids = due.due_ids(session, ProviderKey, where=true(), limit=VERIFIED_AT_ONCE)
    asked = 0
    for key_id in ids:
        if time.monotonic() - began > SWEEP_SECONDS:
            break
        asked += _verify(tools, key_id)
    return asked


def _verify(tools: Toolbox, key_id: int) -> bool:
    """Claim, ask, record. False = somebody else was first."""
    with tools.database.transaction("keys.claim") as session:
        claimed = due.claim(session, ProviderKey, key_id, lease=tools.leases.lease, where=true())
    if claimed is None:
        return False
    claim = claimed.number
    verdict = _verdict_of_row(tools, key_id, claim)
    with tools.database.transaction("keys.verified") as session:
        key = session.scalar(
            select(ProviderKey)
            .where(ProviderKey.id == key_id, ProviderKey.claim == claim)
            .with_for_update()
        )
        if key is None:
            return True
        if verdict is None:
            unknown_for = session.scalar(
                select(
                    ago(func.coalesce(ProviderKey.last_verified_at, ProviderKey.created_at))
                ).where(ProviderKey.id == key_id)
            )
            delay = retry.patience(
                unknown_for or timedelta(0),
                at_least=ASKED_AT_LEAST_EVERY,
                at_most=INVALID_ASKED_EVERY,
            )
            due.put_off(session, ProviderKey, key_id, claim, delay=delay)
            return True
        _write_down(session, key_id, verdict)
    return True


def _verdict_of_row(tools: Toolbox, key_id: int, claim: int) -> KeyVerdict | None:
    found = open_row(tools, key_id)
    if found is None:
        return None
    key, opened = found
    with tools.leases.hold(ProviderKey, key_id, claim):
        return _verdict_or_none(tools, key.provider, opened.secret)


def verdict(tools: Toolbox, provider: Provider, secret: str) -> KeyVerdict:
    """Ask the provider. Raises OutsideError."""
    if provider is Provider.OPENROUTER:
        return tools.provider_keys.check_openrouter(secret)
    return tools.provider_keys.check_anthropic(secret)


def _verdict_or_none(tools: Toolbox, provider: Provider, secret: str) -> KeyVerdict | None:
    """None = the provider said nothing about the key."""
    try:
        return verdict(tools, provider, secret)
    except OutsideError as error:
        logger.warning("a key could not be verified", provider=provider.value, code=error.code)
        return None


def _write_down(session: Session, key_id: int, verdict: KeyVerdict | None) -> None:
    """What the provider said: on the key, and for the sales that depend on it."""
    if verdict is None:
        _due_in(session, key_id, ASKED_AT_LEAST_EVERY)
        return
    is_valid = verdict is not KeyVerdict.INVALID
    session.execute(
        update(ProviderKey)
        .where(ProviderKey.id == key_id)
        .values(
            is_valid=is_valid,
            last_verified_at=func.now(),
            last_error_code=None if verdict is KeyVerdict.VALID else verdict.value,
        )
    )
    _due_in(session, key_id, VERIFIED_EVERY if is_valid else INVALID_ASKED_EVERY)
    if verdict is KeyVerdict.VALID:
        of_this = Breaker.provider_key_id == key_id
        breakers.close(session, of_this, Breaker.reason == BreakerReason.KEY_INVALID)
        return
    reason = BreakerReason(verdict.value)
    breakers.record_failure(session, key_id, EVERY_MODEL, reason)


def _due_in(session: Session, key_id: int, span: timedelta) -> None:
    session.execute(
        update(ProviderKey)
        .where(ProviderKey.id == key_id)
        .values(due_at=func.now() + retry.jittered(span), claim=ProviderKey.claim + 1)
    )


def _pause(session: Session, creator_id: int, provider: Provider) -> list[str]:
    paused = session.scalars(
        update(Resource)
        .where(
            Resource.creator_id == creator_id,
            Resource.type.in_(types_on(provider)),
            Resource.paused_at.is_(None),
            Resource.archived_at.is_(None),
        )
        .values(paused_at=func.now(), pause_reason=PauseReason.KEY_DELETED)
        .returning(Resource.slug)
    )
    return sorted(paused)


def _resume(session: Session, creator_id: int, provider: Provider) -> list[str]:
    """Only what the deletion of a key had paused; the creator's own pauses stay."""
    resumed = session.scalars(
        update(Resource)
        .where(
            Resource.creator_id == creator_id,
            Resource.type.in_(types_on(provider)),
            Resource.pause_reason == PauseReason.KEY_DELETED,
        )
        .values(paused_at=None, pause_reason=None)
        .returning(Resource.slug)
    )
    return sorted(resumed)


def _vault(tools: Toolbox) -> Vault:
    creators.require_instant(tools)
    assert tools.vault is not None
    return tools.vault


def _no_key() -> NotFound:
    return NotFound("There is no key of this provider.", code=ErrorCode.NOT_FOUND)


def _not_accepted(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, code=ErrorCode.PROVIDER_KEY_REFUSED)
