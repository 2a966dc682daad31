"""Defects around creators and keys: each lets somebody in, tells a secret, or sells for nothing."""

from tests.mutants.catalogue import Change, Mutant

VAULT, AUTH = "gateways/vault.py", "app/auth.py"
KEYS, BREAKERS = "services/instant/keys.py", "services/instant/breakers.py"
ROTATION, CHECKS = "services/instant/rotation.py", "gateways/provider_keys/checks.py"
OF_THE_VAULT = ("tests/rules/test_vault.py",)
OF_KEYS = ("tests/services/instant/test_keys.py",)
OF_BREAKERS = ("tests/services/instant/test_breakers.py",)
OF_ROTATION = ("tests/services/instant/test_rotation.py",)
OF_ROUTES = ("tests/architecture/test_routes.py",)
OF_CREATORS = ("tests/app/test_creators.py",)
OF_PROVIDERS = ("tests/conformance/test_provider_keys.py",)


def _one(name: str, file: str, old: str, new: str, caught_by: tuple[str, ...]) -> Mutant:
    change = Change(file=file, old=old, new=new)
    return Mutant(name=f"keys: {name}", changes=(change,), caught_by=caught_by)


CREATOR_KEY_MUTANTS = (
    _one(
        "an envelope opens in any place",
        VAULT,
        'return f"{VERSION}\\0{key_id}\\0{bound_to}".encode()',
        'return f"{VERSION}\\0{key_id}".encode()',
        OF_THE_VAULT,
    ),
    _one(
        "the oldest key seals",
        VAULT,
        "self._newest = _key_id(raw[0])",
        "self._newest = _key_id(raw[-1])",
        OF_THE_VAULT,
    ),
    _one(
        "one nonce for all",
        VAULT,
        "nonce = secrets.token_bytes(_NONCE_BYTES)",
        "nonce = bytes(_NONCE_BYTES)",
        OF_THE_VAULT,
    ),
    _one(
        "one derived key for all purposes",
        VAULT,
        '_derived(master, f"purpose {purpose}")',
        '_derived(master, "purpose")',
        OF_THE_VAULT,
    ),
    _one(
        "the seal knows no row",
        KEYS,
        'return f"provider key {row_id} of creator {creator_id} at {provider.value}"',
        'return f"a provider key at {provider.value}"',
        OF_KEYS,
    ),
    _one(
        "a key is stored as it is",
        KEYS,
        "key.sealed = vault.seal(secret, bound_to=bond(creator_id, provider, key.id))",
        "key.sealed = secret",
        OF_KEYS,
    ),
    _one(
        "a refused key takes the place of a good one",
        KEYS,
        "    if verdict is KeyVerdict.INVALID:\n        raise",
        "    if verdict is KeyVerdict.INVALID and not secret:\n        raise",
        OF_CREATORS,
    ),
    _one(
        "the creator's own pause ends with a new key",
        KEYS,
        "Resource.pause_reason == PauseReason.KEY_DELETED,",
        "Resource.pause_reason.is_not(None),",
        OF_KEYS,
    ),
    _one(
        "the old key's verdict judges the new one",
        KEYS,
        ".where(ProviderKey.id == key_id, ProviderKey.claim == claim)",
        ".where(ProviderKey.provider == Provider.OPENROUTER)",
        OF_KEYS,
    ),
    _one(
        "an outage is taken for a revoked key",
        CHECKS,
        "if reply.status in (401, 403):",
        "if reply.status >= 400:",
        OF_PROVIDERS,
    ),
    _one(
        "a spent limit is no trouble",
        CHECKS,
        "and left <= 0",
        "and left < 0",
        OF_PROVIDERS,
    ),
    _one(
        "a breaker opens one failure late",
        BREAKERS,
        "opens = Breaker.failures + 1 >= _enough(reason)",
        "opens = Breaker.failures >= _enough(reason)",
        OF_BREAKERS,
    ),
    _one(
        "no credits stop one model only",
        BREAKERS,
        "model=EVERY_MODEL if reason in OF_THE_KEY else model,",
        "model=model,",
        OF_BREAKERS,
    ),
    _one(
        "a late success closes an open breaker",
        BREAKERS,
        "            Breaker.failures > 0,\n"
        "            Breaker.opened_at.is_(None),\n        )\n"
        "        .values(failures=0, reason=None)",
        "            Breaker.failures > 0,\n        )\n"
        "        .values(failures=0, reason=None, opened_at=None, due_at=None)",
        OF_BREAKERS,
    ),
    _one(
        "a key's good word counts as credits",
        "services/instant/probes.py",
        "if breaker.reason is not BreakerReason.CREDITS:",
        "if breaker.reason is not None:",
        OF_BREAKERS,
    ),
    _one(
        "a rotation puts an old key back",
        ROTATION,
        ".where(ProviderKey.id == key.id, ProviderKey.sealed == key.sealed)",
        ".where(ProviderKey.provider == key.provider)",
        OF_ROTATION,
    ),
    _one(
        "a ring that lost its key starts",
        ROTATION,
        "    if not shut:\n        return None\n",
        "    if tools.vault is not None:\n        return None\n",
        OF_ROTATION,
    ),
    _one(
        "an unset token lets everybody in",
        AUTH,
        "if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):",
        "if wanted and not hmac.compare_digest(given.encode(), wanted.encode()):",
        OF_CREATORS,
    ),
    _one(
        "any creator registers creators",
        "app/api/creators.py",
        "@operator_only\n",
        "@creators_only\n",
        OF_CREATORS,
    ),
    _one(
        "a body is looked at before it is asked who sends it",
        "app/api/creators.py",
        "@creators_only\n@creators.arguments(SaveKeyRequestSchema)",
        "@creators.arguments(SaveKeyRequestSchema)",
        (*OF_ROUTES, "-k", "planted or opens_nothing"),
    ),
)
