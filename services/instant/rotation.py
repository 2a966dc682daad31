"""Creators' keys under another vault key, and whether the ring opens what is stored."""

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from gateways.vault import SealBroken, Vault
from models.creator import ProviderKey
from services.instant.keys import bond
from services.toolbox import Toolbox


@dataclass(frozen=True, kw_only=True)
class Rotated:
    resealed: int = 0
    already: int = 0
    """Sealed with the newest key before."""
    broken: tuple[int, ...] = ()
    """Rows that no key of the ring opens; left as they are."""


def rotate(tools: Toolbox) -> Rotated:
    """Seal every stored key with the newest vault key. Safe to repeat, and while creators save
    keys: what changes meanwhile is left alone, and is new itself.
    """
    vault = tools.vault
    if vault is None:
        return Rotated()
    resealed, already, broken = 0, 0, []
    for key in _stored(tools):
        if vault.is_newest(key.sealed):
            already += 1
            continue
        try:
            resealed += _reseal(tools, vault, key)
        except SealBroken:
            broken.append(key.id)
    return Rotated(resealed=resealed, already=already, broken=tuple(broken))


def _reseal(tools: Toolbox, vault: Vault, key: ProviderKey) -> bool:
    bound_to = bond(key.creator_id, key.provider, key.id)
    sealed = vault.seal(vault.open(key.sealed, bound_to=bound_to), bound_to=bound_to)
    with tools.database.transaction("keys.rotate") as session:
        changed = session.scalar(
            update(ProviderKey)
            .where(ProviderKey.id == key.id, ProviderKey.sealed == key.sealed)
            .values(sealed=sealed)
            .returning(ProviderKey.id)
        )
    return changed is not None


def problem_of_the_ring(tools: Toolbox) -> str | None:
    """A sentence when something that is stored could not be opened; None = all can.

    A database that cannot be asked, or has no such table yet, says nothing: readiness tells that.
    """
    try:
        stored = _stored(tools)
    except DBAPIError:
        return None
    shut = [key.id for key in stored if not _opens(tools.vault, key)]
    if not shut:
        return None
    if tools.vault is None:
        return (
            f"VAULT_KEYS is not set, and {len(shut)} keys of creators are stored sealed:"
            " set it to what they were sealed with."
        )
    return (
        f"VAULT_KEYS does not open {len(shut)} of {len(stored)} stored keys of creators"
        f" (the first is row {shut[0]}): add the vault key that they were sealed with at its end."
    )


def _opens(vault: Vault | None, key: ProviderKey) -> bool:
    if vault is None:
        return False
    try:
        vault.open(key.sealed, bound_to=bond(key.creator_id, key.provider, key.id))
    except SealBroken:
        return False
    return True


def _stored(tools: Toolbox) -> list[ProviderKey]:
    """Every row; there are a few a creator at most."""
    with tools.database.reading("keys.stored") as session:
        return list(session.scalars(select(ProviderKey).order_by(ProviderKey.id)))
