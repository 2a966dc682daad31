"""Runs as callers see them: what was bought, how far it is, and what x402 says of the money."""

from http import HTTPStatus
from typing import Any, cast

import simplejson
from flask import Response, current_app

from app.api.payment_required import resource_url
from app.errors import in_seconds, problem
from gateways.x402 import wire
from models.money import UsdMicros, usd_of
from models.run import BOOKED_BY_HAND, Run, RunState
from services.errors import ErrorCode
from services.instant import intake, preflight
from services.instant.resources import OnSale

LOOK_AGAIN_SECONDS = 2
_UNSETTLED_WORDS = {
    RunState.RECEIVED: "processing",
    RunState.RUNNING: "processing",
    RunState.SETTLING: "settling",
    RunState.DOUBTFUL: "settling",
}


def is_settlement_failure(run: Run) -> bool:
    """Whether the work was done and the money did not come."""
    return run.state is RunState.FAILED and run.settlement is not None


def bought(run: Run) -> Response:
    """The answer to whoever paid, for a run that was not refused for its payment's sake.

    Raises Gone.
    """
    intake.require_kept(run)
    if run.state is RunState.SUCCEEDED:
        return _with_payment_response(_json(result_of(run)), run)
    return _with_payment_response(unavailable(run), run)


def status(sale: OnSale, run: Run) -> Response:
    """The same for who looks at the run's own address: there a failure is news, no error."""
    if run.state in _UNSETTLED_WORDS:
        return under_way(sale, run)
    intake.require_kept(run)
    body = result_of(run) if run.state is RunState.SUCCEEDED else _failure(run)
    return _with_payment_response(_json(body), run)


def result_of(run: Run) -> dict[str, Any]:
    """``response``, ``usage`` and ``receipt``, and what the result says beside them."""
    return {
        "state": run.state.value,
        **(run.result or {}),
        "usage": {
            "input_tokens": run.input_tokens or 0,
            "output_tokens": run.output_tokens or 0,
        },
        "receipt": None if run.is_owner_test else _receipt(run),
    } | ({"ownerTest": True} if run.is_owner_test else {})


def _receipt(run: Run) -> dict[str, Any]:
    return {
        "transaction": run.transaction,
        "paidUsdc": _exactly(run.paid_usd_micros),
        "network": run.network,
        "payer": run.payer,
    }


def _exactly(amount: UsdMicros) -> Any:
    """A JSON number in plain digits."""
    return simplejson.RawJSON(format(usd_of(amount), "f").rstrip("0").rstrip("."))


def _failure(run: Run) -> dict[str, Any]:
    is_owners = run.is_owner_test
    paid_badly = run.state is RunState.REFUSED or is_settlement_failure(run)
    error = "The payment was not settled; nothing was charged." if paid_badly else UNAVAILABLE
    body = {"state": "failed", "error": error}
    return body | ({"reason": run.error_code} if is_owners else {})


UNAVAILABLE = preflight.UNAVAILABLE


def unavailable(run: Run) -> Response:
    """Why it failed is for the creator: shown to nobody else."""
    members = {"reason": run.error_code} if run.is_owner_test else None
    response = problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        ErrorCode.RESOURCE_UNAVAILABLE,
        UNAVAILABLE,
        members=members,
    )
    response.headers["Retry-After"] = in_seconds(preflight.COME_BACK)
    return response


def under_way(sale: OnSale, run: Run) -> Response:
    """202: where to look, and how far it is."""
    url = f"{resource_url(sale)}/runs/{run.public_id}"
    response = _json({"state": _UNSETTLED_WORDS[run.state], "statusUrl": url}, HTTPStatus.ACCEPTED)
    response.headers["Location"] = url
    response.headers["Retry-After"] = str(LOOK_AGAIN_SECONDS)
    return response


def add_payment_response(response: Response, run: Run) -> None:
    """What became of the money, in the header of the version that paid; none for owner's tests."""
    if run.is_owner_test:
        return
    name = wire.V1_RESPONSE_HEADER if run.x402_version == 1 else wire.RESPONSE_HEADER
    said = dict(run.settlement or _not_asked(run))
    said.pop(BOOKED_BY_HAND, None)  # no word of x402's
    response.headers[name] = wire.encode(said)


def _not_asked(run: Run) -> dict[str, Any]:
    """The money was never asked for."""
    return {
        "success": False,
        "errorReason": "run_failed" if run.state is RunState.FAILED else run.error_code,
        "transaction": "",
        "network": (run.requirement or {}).get("network"),
        "payer": run.payer,
    }


def _with_payment_response(response: Response, run: Run) -> Response:
    add_payment_response(response, run)
    return response


def _json(body: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    response = cast("Response", current_app.json.response(body))
    response.status_code = status
    return response
