"""``workers.creators`` and ``workers.rotate_keys``, as an operator types them."""

import pytest

from gateways.vault import Vault, new_key
from models.creator import Provider
from services.instant import creators, keys
from services.toolbox import Toolbox
from tests.support.creators import ADDRESS, OPENROUTER_KEY, VAULT_KEY, a_creator
from tests.support.operator import Done, Operator


class Shell:
    """A shell with the environment of the web process."""

    def __init__(self, tools: Toolbox) -> None:
        self.operator = Operator(tools=tools)

    def __call__(self, *command: str, **more: str) -> Done:
        return self.operator(*command, **{"VAULT_KEYS": VAULT_KEY} | more)


@pytest.fixture
def shell(tools: Toolbox) -> Shell:
    return Shell(tools)


def test_a_creator_is_let_in_listed_and_given_another_key(tools: Toolbox, shell: Shell) -> None:
    registered = shell("workers.creators", "register", "ada", "--pay", f"eip155:8453={ADDRESS}")
    assert registered.returncode == 0, registered.stderr
    first = registered.stdout.strip()
    assert creators.authenticate(tools, first).handle == "ada"

    again = shell("workers.creators", "register", "ada")
    assert (again.returncode, again.stdout) == (1, "")
    assert "handle" in again.stderr

    renewed = shell("workers.creators", "renew", "ada").stdout.strip()
    assert creators.authenticate(tools, renewed).handle == "ada"

    listed = shell("workers.creators").stdout
    assert listed == f"ada  key …{renewed[-4:]}  eip155:8453={ADDRESS}  no keys\n"


def test_another_vault_key_is_printed_put_first_and_sealed_with(
    tools: Toolbox, shell: Shell
) -> None:
    ada = a_creator(tools)
    keys.put(tools, ada.id, Provider.OPENROUTER, OPENROUTER_KEY)

    printed = shell("workers.rotate_keys", "new").stdout.strip()
    ring = f"{printed},{VAULT_KEY}"
    rotated = shell("workers.rotate_keys", VAULT_KEYS=ring)

    assert (rotated.returncode, rotated.stdout) == (0, "1 sealed anew, 0 were already\n")
    opened = keys.open_key(tools.with_(vault=Vault((printed,))), ada.id, Provider.OPENROUTER)
    assert opened is not None
    assert opened.secret == OPENROUTER_KEY
    too_early = shell("workers.rotate_keys", VAULT_KEYS=new_key())
    assert too_early.returncode == 1
    assert "provider_keys" in too_early.stderr
