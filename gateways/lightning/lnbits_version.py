"""How old an LNbits is: on that depends what its "failed" is worth."""

import re
import time
from threading import Lock

from gateways.errors import OutsideError
from gateways.http import HttpClient

Version = tuple[int, int, int, int]
"""The fourth number is 0; -1 when the release is still to come."""

CANDID_SINCE: Version = (1, 6, 2, 0)
"""Up to 1.5.2, LNbits calls payments failed whose end its node has not told it. 1.6.2 was read."""
KEPT_SECONDS = 3600.0
"""An LNbits may be replaced while we run, by an older one, too."""
GET_SECONDS = 10.0
MAX_BYTES = 16 * 1024 * 1024
"""The document that names the version describes every extension as well."""

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(.*)", re.ASCII)


class LnbitsVersion:
    """The version of one LNbits, asked for only when it matters. Shared between threads."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._address = base_url.rstrip("/") + "/openapi.json"
        self._http = http
        self._lock = Lock()
        self._kept: tuple[float, bool] | None = None

    def is_candid(self) -> bool:
        """Whether this LNbits is known to say "failed" only of what its node says that of.

        False as well when it cannot be asked, which is asked again the next time. Raises nothing.
        """
        with self._lock:
            kept = self._kept
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        try:
            said = self._http.get(self._address, seconds=GET_SECONDS, max_bytes=MAX_BYTES)
            version = _version_in(said.required().object())
        except OutsideError:
            return False
        is_candid = version is not None and version >= CANDID_SINCE
        with self._lock:
            self._kept = (time.monotonic() + KEPT_SECONDS, is_candid)
        return is_candid


def _version_in(document: dict[str, object]) -> Version | None:
    """None: it names no version that we can read."""
    info = document.get("info")
    said = info.get("version") if isinstance(info, dict) else None
    found = _VERSION.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.groups()[:3])
    return major, minor, patch, -1 if found[4] else 0
