"""Names in addresses: the handles of creators, and what they call each resource."""

import re

SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"
"""As JSON Schema and PostgreSQL read it too; to be matched as a whole."""
SLUG_CHARACTERS = 60
"""At most."""
_SLUG = re.compile(SLUG, re.ASCII)


def is_slug(text: str) -> bool:
    """Whether it can be a handle or a slug."""
    return len(text) <= SLUG_CHARACTERS and _SLUG.fullmatch(text) is not None
