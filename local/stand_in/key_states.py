"""Which keys of model providers work in the stand-in's world."""

import threading
from enum import StrEnum


class KeyState(StrEnum):
    VALID = "valid"
    INVALID = "invalid"
    NO_CREDITS = "no-credits"


class ProviderKeyStates:
    """What becomes of creators' keys, of every provider, until the next reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[str, KeyState] = {}

    def tell(self, key: str, state: KeyState) -> None:
        with self._lock:
            self._told[key] = state

    def of(self, key: str | None) -> KeyState:
        """What was told of it, else what it says itself."""
        if not key:
            return KeyState.INVALID
        with self._lock:
            told = self._told.get(key)
        spoken = (state for state in (KeyState.INVALID, KeyState.NO_CREDITS) if state in key)
        return told or next(spoken, KeyState.VALID)

    def reset(self) -> None:
        with self._lock:
            self._told.clear()
