"""Another vault key: everything is sealed anew, and a ring that opens not everything is refused."""

import pytest
from sqlalchemy import select, update

from config.settings import SettingsError
from gateways.vault import Vault, new_key
from models.creator import Provider, ProviderKey
from services.instant import keys, rotation
from services.operate import startup
from services.toolbox import Toolbox
from tests.support.creators import ANTHROPIC_KEY, OPENROUTER_KEY, VAULT_KEY, Someone, a_creator

NEW_KEY = new_key()


@pytest.fixture
def ada(tools: Toolbox) -> Someone:
    ada = a_creator(tools)
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)
    keys.put(tools, ada.id, Provider.ANTHROPIC, ANTHROPIC_KEY)
    return ada


def sealed(tools: Toolbox) -> list[str]:
    with tools.database.transaction("test.sealed") as session:
        return list(session.scalars(select(ProviderKey.sealed).order_by(ProviderKey.id)))


def test_after_a_rotation_the_newest_key_alone_opens_everything(
    tools: Toolbox, ada: Someone
) -> None:
    rotated = rotation.rotate(tools.with_(vault=Vault((NEW_KEY, VAULT_KEY))))

    assert (rotated.resealed, rotated.already, rotated.broken) == (2, 0, ())
    alone = tools.with_(vault=Vault((NEW_KEY,)))
    startup.check_stored(alone)
    opened = keys.open_key(alone, ada.id, Provider.OPENROUTER)
    assert opened is not None
    assert opened.secret == OPENROUTER_KEY


def test_a_second_rotation_changes_nothing(tools: Toolbox, ada: Someone) -> None:
    both = tools.with_(vault=Vault((NEW_KEY, VAULT_KEY)))
    rotation.rotate(both)
    before = sealed(tools)

    rotated = rotation.rotate(both)

    assert (rotated.resealed, rotated.already) == (0, 2)
    assert sealed(tools) == before


def test_what_does_not_open_is_named_and_left_as_it_is(tools: Toolbox, ada: Someone) -> None:
    before = sealed(tools)

    rotated = rotation.rotate(tools.with_(vault=Vault((NEW_KEY,))))

    assert (rotated.resealed, len(rotated.broken)) == (0, 2)
    assert sealed(tools) == before


def test_a_ring_without_the_old_key_does_not_start(tools: Toolbox, ada: Someone) -> None:
    with pytest.raises(SettingsError, match="VAULT_KEYS does not open 2 of 2"):
        startup.check_stored(tools.with_(vault=Vault((NEW_KEY,))))


def test_without_any_ring_what_is_stored_is_not_forgotten(tools: Toolbox, ada: Someone) -> None:
    with pytest.raises(SettingsError, match="VAULT_KEYS is not set, and 2 keys"):
        startup.check_stored(tools.with_(vault=None))


def test_a_changed_envelope_is_found_at_the_start(tools: Toolbox, ada: Someone) -> None:
    with tools.database.transaction("test.tamper") as session:
        of = update(ProviderKey).where(ProviderKey.provider == Provider.ANTHROPIC)
        session.execute(of.values(sealed=sealed(tools)[0]))

    with pytest.raises(SettingsError, match="1 of 2"):
        startup.check_stored(tools)


def test_where_nothing_is_stored_no_ring_is_needed(tools: Toolbox) -> None:
    startup.check_stored(tools.with_(vault=None))
    startup.check_stored(tools)


def test_a_key_saved_during_the_rotation_is_not_put_back(tools: Toolbox, ada: Someone) -> None:
    """What was read is sealed anew only if it is still what stands there."""
    both = tools.with_(vault=Vault((NEW_KEY, VAULT_KEY)))
    assert both.vault is not None
    with tools.database.transaction("test.read") as session:
        old = session.scalars(
            select(ProviderKey).where(ProviderKey.provider == Provider.OPENROUTER)
        ).one()
    keys.put(both, ada.id, Provider.OPENROUTER, "sk-or-v1-tests-saved-meanwhile")

    assert rotation._reseal(both, both.vault, old) is False

    opened = keys.open_key(both, ada.id, Provider.OPENROUTER)
    assert opened is not None
    assert opened.secret == "sk-or-v1-tests-saved-meanwhile"
