"""Whether a key of a model provider works, asked without spending anything."""

from enum import StrEnum
from typing import Protocol


class KeyVerdict(StrEnum):
    """What a provider says of a key; the value is the error code the creator is shown."""

    VALID = "valid"
    INVALID = "key_invalid"
    """Unknown, revoked, or not allowed to be used."""
    NO_CREDITS = "credits"
    """Good, and nothing may be spent with it at the moment."""


class ProviderKeys(Protocol):
    def check_openrouter(self, secret: str) -> KeyVerdict:
        """One request with a total deadline of 10 seconds. Raises Unavailable when the provider
        says nothing about the key, and never puts the key into a message.
        """

    def check_anthropic(self, secret: str) -> KeyVerdict:
        """As ``check_openrouter``. Anthropic does not say whether there are credits."""
