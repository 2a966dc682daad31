"""Creators who publish as over the API, on the catalogue that the stand-in lists."""

import base64
from decimal import Decimal
from typing import Any

from gateways.vault import Vault
from models.creator import Creator
from models.resource import ResourceType
from services.instant import catalogue, creators, listing, resources
from services.instant.listing import Listed
from services.toolbox import Toolbox

VAULT = Vault((base64.urlsafe_b64encode(bytes(range(32))).decode(),))
ADDRESS = "0x52908400098527886e0f7030069857d2e4169ee7"
NETWORK = "eip155:84532"
HAIKU = "anthropic/claude-haiku-5.5"
SMALL = "example/small-8b"
FREE = "example/small-8b:free"
PROMPT = "Write a poem about {topic}{/topic} in the manner of {poet}{/poet}."
PARAMETERS = [
    {"name": "topic", "description": "Of what?", "required": True},
    {"name": "poet", "description": "", "required": False, "default": "nobody"},
]

MODEL_MEMBERS: dict[str, Any] = {
    "name": "Poems",
    "description": "Short ones.",
    "price_usd": Decimal("0.01"),
    "model": HAIKU,
    "system_prompt": PROMPT,
    "parameters": PARAMETERS,
}
STATIC_MEMBERS: dict[str, Any] = {
    "name": "A fact",
    "price_usd": Decimal("0.001"),
    "content": "what is sold, word for word",
}
PROXY_MEMBERS: dict[str, Any] = {
    "name": "A server",
    "price_usd": Decimal("0.25"),
    "upstream_url": "https://upstream.example/run?key=upstream-canary",
}
MEMBERS_OF = {
    ResourceType.OPENROUTER_INSTANT: MODEL_MEMBERS,
    ResourceType.PROMPT_TEMPLATE: MODEL_MEMBERS,
    ResourceType.STATIC: STATIC_MEMBERS,
    ResourceType.PROXY: PROXY_MEMBERS,
}


class Publisher:
    """A creator who is paid on Base Sepolia, with the key of nobody."""

    def __init__(self, tools: Toolbox, handle: str = "ann", *, is_paid: bool = True) -> None:
        self.tools = tools if tools.vault is not None else tools.with_(vault=VAULT)
        new = creators.register(self.tools, handle, {NETWORK: ADDRESS} if is_paid else {})
        self.creator: Creator = new.creator
        self.api_key = new.api_key

    def publish(
        self, slug: str = "poem", of: ResourceType = ResourceType.STATIC, **members: Any
    ) -> Listed:
        resources.create(self.tools, self.creator.id, slug, of, {**MEMBERS_OF[of], **members})
        return self.read(slug)

    def edit(self, slug: str = "poem", **members: Any) -> Listed:
        resources.edit(self.tools, self.creator.id, slug, members)
        return self.read(slug)

    def read(self, slug: str = "poem") -> Listed:
        return listing.read(self.tools, self.creator.id, slug)


def publisher(tools: Toolbox, handle: str = "ann") -> Publisher:
    """One in a world whose catalogue has been fetched."""
    assert catalogue.sync(tools)
    return Publisher(tools, handle)
