"""Whether an LNbits answers at all right now, which a slow one does and a hung one does not."""

import time
from threading import Lock

from gateways.errors import OutsideError
from gateways.http import HttpClient

ASK_SECONDS = 1.0
KEPT_SECONDS = 0.5
"""LNbits allows 200 requests a minute of one address; being refused is an answer, too."""


class LnbitsPulse:
    """Shared between threads, of which one asks and the others hear.

    LNbits holds a lock while its node pays or makes an invoice, for seconds, and whoever asks for a
    payment waits behind it; of its health it tells at once.
    """

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._address = base_url.rstrip("/") + "/api/v1/health"
        self._http = http
        self._lock = Lock()
        self._felt = False
        self._felt_until = 0.0

    def is_felt(self) -> bool:
        """Asks at most twice a second, a second long at most. Raises nothing.

        Whoever cannot be reached at all is no case for it: every other request says so at once.
        """
        with self._lock:
            if time.monotonic() >= self._felt_until:
                self._felt = self._feel()
                self._felt_until = time.monotonic() + KEPT_SECONDS
            return self._felt

    def _feel(self) -> bool:
        try:
            self._http.get(self._address, seconds=ASK_SECONDS)
        except OutsideError as error:
            return error.code != "timeout"
        return True
