"""Deadlines: what hangs need not be waited for as long as in production, and what is only slow
because the machine is busy is waited for longer.
"""

import pytest

from models import database

_DEADLINES = {
    "lnbits.health": "gateways.lightning.lnbits_pulse.ASK_SECONDS",
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


_OF_THE_DATABASE = {
    "statement_timeout=10s": "statement_timeout=60s",
    "lock_timeout=3s": "lock_timeout=50s",
}
_ALL = {
    "models.database.CONNECT_SECONDS": 30,
    "models.database.PLACE_SECONDS": 60,
    "gateways.deadline.CONNECT_SECONDS": 30.0,
    "gateways.lightning.lnbits.GET_SECONDS": 60.0,
    "gateways.lightning.lnbits.CREATE_SECONDS": 60.0,
    "gateways.lightning.lnbits_pulse.ASK_SECONDS": 60.0,
    "gateways.lightning.stand_in.PAY_SECONDS": 60.0,
    "gateways.lnurl.receivers.ASK_SECONDS": 60.0,
    "gateways.model_lists.openrouter.LIST_SECONDS": 60.0,
    "gateways.prices.feeds.FEED_SECONDS": 60.0,
    "gateways.provider_keys.checks.SECONDS": 60.0,
    "gateways.x402.chain.CALL_SECONDS": 60.0,
    "gateways.x402.chain.TOTAL_SECONDS": 180.0,
    "gateways.x402.facilitator.VERIFY_SECONDS": 60.0,
    "services.instant.keys.SWEEP_SECONDS": 120.0,
    "services.instant.probes.SWEEP_SECONDS": 120.0,
    "services.jobs.expiry.QUICK_SECONDS": 60.0,
    "services.jobs.expiry.SWEEP_SECONDS": 120.0,
}


def wait_long_for_everything(patch: pytest.MonkeyPatch) -> None:
    """Let nothing come to its end only because the machine stood still for some seconds."""
    options = database.SESSION_OPTIONS
    for usual, longer in _OF_THE_DATABASE.items():
        assert usual in options
        options = options.replace(usual, longer)
    patch.setattr(database, "SESSION_OPTIONS", options)
    for name, seconds in _ALL.items():
        patch.setattr(name, seconds)
