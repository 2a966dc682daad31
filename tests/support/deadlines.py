"""Deadlines of outside calls: what hangs need not be waited for as long as in production."""

import pytest

_DEADLINES = {
    "lnbits.create": "gateways.lightning.lnbits.CREATE_SECONDS",
    "lnbits.pay": "gateways.lightning.lnbits.PAY_SECONDS",
    "lnbits.read": "gateways.lightning.lnbits.GET_SECONDS",
    "lnbits.states": "gateways.lightning.lnbits.GET_SECONDS",
    "lnbits.feed": "gateways.lightning.lnbits.GET_SECONDS",
    "lnbits.wallet": "gateways.lightning.lnbits.GET_SECONDS",
    "lnurl.terms": "gateways.lnurl.receivers.ASK_SECONDS",
    "lnurl.invoice": "gateways.lnurl.receivers.ASK_SECONDS",
    "feed": "gateways.prices.feeds.FEED_SECONDS",
}
"""By target of the stand-in; models have theirs in the settings."""


def wait_shortly_for(target: str, seconds: float, patch: pytest.MonkeyPatch) -> None:
    """Give up so soon on what is asked of ``target``, and be as patient as ever with all else.

    Else a machine that stands still for a moment looks like trouble outside.
    """
    for asked, deadline in _DEADLINES.items():
        if asked.startswith(target) or target.startswith(f"{asked}."):
            patch.setattr(deadline, seconds)
