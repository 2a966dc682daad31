"""Creators for tests: registered, and let in."""

from dataclasses import dataclass

from services.instant import creators
from services.toolbox import Toolbox

VAULT_KEY = "dGVzdHMnIHZhdWx0IGtleSB0aGF0IG5vYm9keSBoYXM"
OPS_TOKEN = "tests-ops-token-that-nobody-has"
OPERATOR = {"Authorization": f"Bearer {OPS_TOKEN}"}
OPENROUTER_KEY = "sk-or-v1-tests-provider-key-0001"
ANTHROPIC_KEY = "sk-ant-tests-provider-key-0002"
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""The first example of EIP-55; nobody's."""


@dataclass(frozen=True, kw_only=True)
class Someone:
    id: int
    handle: str
    api_key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


def a_creator(tools: Toolbox, handle: str = "ada", *, address: str | None = ADDRESS) -> Someone:
    """Register a creator, payable on both known networks unless ``address`` is None."""
    addresses = dict.fromkeys(creators.KNOWN_NETWORKS, address) if address else {}
    new = creators.register(tools, handle, addresses)
    return Someone(id=new.creator.id, handle=handle, api_key=new.api_key)
