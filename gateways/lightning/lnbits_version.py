"""How old an LNbits is: on that depends what its "failed" is worth."""

import re
import time
from threading import Lock

from gateways.errors import OutsideError
from gateways.http import HttpClient
from gateways.lightning import Age

Version = tuple[int, int, int, int]
"""The fourth number is 0; -1 when the release is still to come."""

YOUNG_SINCE: Version = (1, 6, 2, 0)
"""The one that was read. Up to 1.5.2 payments are called failed whose end no node has told."""
KEPT_SECONDS = 60.0
"""An LNbits may be replaced while we run, by an older one, too."""
SILENCE_KEPT_SECONDS = 2.0
GET_SECONDS = 10.0
"""The document is put together when it is asked for the first time."""
MAX_BYTES = 16 * 1024 * 1024
"""The document that names the version describes every extension as well."""

_VERSION = re.compile(
    r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})([-.]?(?:a|b|rc|dev).*)?(?:[.+].*)?", re.ASCII
)


class LnbitsVersion:
    """The version of one LNbits, asked for only when it matters. Shared between threads."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._address = base_url.rstrip("/") + "/openapi.json"
        self._http = http
        self._lock = Lock()
        self._kept: tuple[float, Age] | None = None

    def age(self) -> Age:
        """As ``Payouts.age`` says. Raises nothing."""
        with self._lock:
            kept = self._kept
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        age = self._ask()
        lasts = SILENCE_KEPT_SECONDS if age is Age.SILENT else KEPT_SECONDS
        with self._lock:
            self._kept = (time.monotonic() + lasts, age)
        return age

    def _ask(self) -> Age:
        try:
            said = self._http.get(self._address, seconds=GET_SECONDS, max_bytes=MAX_BYTES)
        except OutsideError:
            return Age.SILENT
        if said.status == 429 or said.status >= 500:
            return Age.SILENT
        version = _version_in(said.fields())
        if version is None:
            return Age.UNKNOWN
        return Age.YOUNG if version >= YOUNG_SINCE else Age.OLD


def _version_in(document: dict[str, object]) -> Version | None:
    """None: it names no version that we can read."""
    info = document.get("info")
    said = info.get("version") if isinstance(info, dict) else None
    found = _VERSION.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.groups()[:3])
    return major, minor, patch, -1 if found[4] else 0
