"""What can be wrong with a request, by whose fault and what the caller may do about it.

RuleBroken                    the caller's fault or the moment's: safe to show, never retried by us
├── InvalidRequest   400
├── NotFound         404
├── Conflict         409
├── TooManyRequests  429
└── NotNow           503      may work later; nothing was lost or left behind

What outside systems do to us is in ``gateways.errors``; whether money went out is never an exception
but a value (``PayoutOutcome``). The docstring of a class is its default message.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Stable codes of the API; listed in the OpenAPI document."""

    INVALID_REQUEST = "invalid_request"
    INVALID_JSON = "invalid_json"
    INVALID_ID = "invalid_id"
    NOT_SUPPORTED = "not_supported"
    INVALID_INVOICE = "invalid_invoice"
    INVOICE_WRONG_NETWORK = "invoice_wrong_network"
    INVOICE_EXPIRED = "invoice_expired"
    INVOICE_AMOUNT_MISMATCH = "invoice_amount_mismatch"
    INVOICE_ALREADY_USED = "invoice_already_used"
    JOB_NOT_FOUND = "job_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_STATE = "invalid_state"
    REFUND_NOT_APPLICABLE = "refund_not_applicable"
    REFUND_ALREADY_PAID = "refund_already_paid"
    REFUND_IN_PROGRESS = "refund_in_progress"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_OPEN_INVOICES = "too_many_open_invoices"
    LIGHTNING_UNAVAILABLE = "lightning_unavailable"
    PRICE_UNAVAILABLE = "price_unavailable"
    MODEL_UNAVAILABLE = "model_unavailable"
    DEMO_BUDGET_SPENT = "demo_budget_spent"
    NOT_READY = "not_ready"
    HTTP_ERROR = "http_error"
    INTERNAL = "internal"


class RuleBroken(Exception):
    """The request cannot be served."""

    status = 400

    def __init__(
        self,
        message: str | None = None,
        *,
        code: ErrorCode,
        retry_after: timedelta | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """``members`` are added to the error body, in wire spelling."""
        super().__init__(message or (self.__doc__ or "").strip())
        self.code = code
        self.retry_after = retry_after
        self.members = dict(members or {})


class InvalidRequest(RuleBroken):
    """The request is not valid."""

    status = 400


class NotFound(RuleBroken):
    """There is no such thing here."""

    status = 404


class Conflict(RuleBroken):
    """The state of the job does not allow this."""

    status = 409


class TooManyRequests(RuleBroken):
    """Too many requests; try again later."""

    status = 429


class NotNow(RuleBroken):
    """This is not possible at the moment; try again."""

    status = 503
