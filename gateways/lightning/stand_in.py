"""The payer that exists only beside the local stand-in: it pays the invoices that we issue."""

from urllib.parse import quote

from gateways.http import HttpClient

PAY_SECONDS = 10.0


class StandInPayer:
    """``BenchPayer`` over the control address of ``local.stand_in``."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._address = base_url.rstrip("/") + "/stand-in/pay/"
        self._http = http

    def pay(self, payment_hash: str) -> bool:
        """As the protocol says. Raises Unavailable or Refused when the stand-in is in trouble."""
        reply = self._http.post(self._address + quote(payment_hash, safe=""), seconds=PAY_SECONDS)
        if reply.status == 404:
            return False
        reply.required()
        return True
