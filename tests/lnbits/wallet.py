"""A wallet on an LNbits, through LNbits' own API: the other side of what our gateways do.

Deliberately not built on ``gateways``: a mistake shared by both sides would not show.
"""

from dataclasses import dataclass
from typing import Any

import requests

from tests.lnbits.waiting import NotInTime, wait_until

PATIENCE_SECONDS = 40


class LnbitsSaidNo(Exception):
    """An answer other than what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Wallet:
    """One wallet, its two keys, and what a person does with it."""

    url: str
    wallet_id: str
    invoice_key: str
    admin_key: str

    def invoice(self, amount_sats: int, *, memo: str = "rig", expiry: int = 3600) -> str:
        """A new BOLT11 to be paid to this wallet; ``expiry`` in seconds."""
        return str(self.new_invoice(amount_sats, memo=memo, expiry=expiry)["bolt11"])

    def new_invoice(
        self, amount_sats: int, *, memo: str = "rig", expiry: int = 3600
    ) -> dict[str, Any]:
        """LNbits' whole answer to making an invoice."""
        asked = {"out": False, "amount": amount_sats, "memo": memo, "expiry": expiry}
        return self._post("/api/v1/payments", asked, key=self.invoice_key)

    def pay(self, bolt11: str) -> str:
        """Pay, and return the payment hash. Raises LnbitsSaidNo unless it is paid now."""
        answer = self.try_to_pay(bolt11)
        if answer["status"] != "success" or answer["amount"] >= 0:
            raise LnbitsSaidNo(f"{answer['status']}, amount {answer['amount']}")
        return str(answer["payment_hash"])

    def try_to_pay(self, bolt11: str) -> dict[str, Any]:
        """LNbits' whole answer to a payment, which 201 does not make a success."""
        return self._post("/api/v1/payments", {"out": True, "bolt11": bolt11}, key=self.admin_key)

    def payment(self, payment_hash: str) -> dict[str, Any]:
        """LNbits' whole answer on one payment of this wallet; it asks the node when pending."""
        return body_of(
            requests.get(
                f"{self.url}/api/v1/payments/{payment_hash}",
                headers={"X-Api-Key": self.admin_key},
                timeout=PATIENCE_SECONDS,
            )
        )

    def hears_of(self, payment_hash: str, *, seconds: float = 1.0) -> bool:
        """Whether an incoming payment shows by itself: read from the list, which asks no node."""
        try:
            wait_until(lambda: payment_hash in self._settled(), seconds, "the payment shows")
        except NotInTime:
            return False
        return True

    def _settled(self) -> set[str]:
        answer = requests.get(
            f"{self.url}/api/v1/payments/paginated",
            params={"status": "success", "limit": "100"},
            headers={"X-Api-Key": self.invoice_key},
            timeout=PATIENCE_SECONDS,
        )
        return {row["payment_hash"] for row in body_of(answer)["data"]}

    def balance_msats(self) -> int:
        answer = requests.get(
            f"{self.url}/api/v1/wallet",
            headers={"X-Api-Key": self.invoice_key},
            timeout=PATIENCE_SECONDS,
        )
        return int(body_of(answer)["balance"])

    def _post(self, path: str, body: dict[str, object], *, key: str) -> dict[str, Any]:
        answer = requests.post(
            self.url + path, json=body, headers={"X-Api-Key": key}, timeout=PATIENCE_SECONDS
        )
        return body_of(answer)


def body_of(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of a 2xx answer. Raises LnbitsSaidNo for everything else."""
    if not 200 <= answer.status_code < 300:
        raise LnbitsSaidNo(f"{answer.status_code} {answer.text[:300]}")
    body: dict[str, Any] = answer.json()
    return body
