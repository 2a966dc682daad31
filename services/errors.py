"""What can be wrong with a request, by whose fault and what the caller may do about it.

RuleBroken                    the caller's fault or the moment's: safe to show, never retried by us
├── InvalidRequest   400
├── Unauthorized     401
├── NotFound         404
├── Conflict         409
├── Gone             410
├── Mismatch         422
├── TooManyRequests  429
└── NotNow           503      may work later; nothing was lost

What outside systems do to us is in ``gateways.errors``; whether money went out is never an
exception but a value (``PayoutOutcome``). The docstring of a class is its default message.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self


class ErrorCode(StrEnum):
    """Stable codes of the API, each with what it means to the caller."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        """Make a member that is its code and carries its meaning."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    INVALID_REQUEST = (
        "invalid_request",
        "The body or query has the wrong shape; errors[] says where.",
    )
    INVALID_JSON = "invalid_json", "The body cannot be read as JSON."
    INVALID_ID = "invalid_id", "What stands in the address is no id of a job or a run."
    NOT_SUPPORTED = "not_supported", "A part of the API that is described but not built yet."
    INVALID_INVOICE = "invalid_invoice", "No BOLT11 invoice, or one that we cannot pay exactly."
    INVOICE_WRONG_NETWORK = "invoice_wrong_network", "The invoice is for another Lightning network."
    INVOICE_EXPIRED = "invoice_expired", "The invoice has expired or is about to; make a new one."
    INVOICE_AMOUNT_MISMATCH = (
        "invoice_amount_mismatch",
        "The invoice must be for exactly refundAmountSats, which stands in the answer.",
    )
    INVOICE_ALREADY_USED = (
        "invoice_already_used",
        "The invoice is one of ours, or was used for another refund; make a new one.",
    )
    INVALID_REFUND_TO = (
        "invalid_refund_to",
        "refundTo is no Lightning address and no LNURL-pay, or none on the public internet.",
    )
    UNAUTHORIZED = (
        "unauthorized",
        "The header Authorization: Bearer … with a key that may do this is missing or wrong.",
    )
    INSTANT_UNAVAILABLE = (
        "instant_unavailable",
        "This deployment has no instant resources: its operator has set no VAULT_KEYS.",
    )
    PROVIDER_KEY_REFUSED = (
        "provider_key_refused",
        "No key, or one that its provider does not accept; nothing was changed.",
    )
    INVALID_PAYOUT_ADDRESS = (
        "invalid_payout_address",
        "An address that nobody can be paid at, or of a network that is not known here; errors[].",
    )
    HANDLE_TAKEN = "handle_taken", "Another creator has this handle."
    JOB_NOT_FOUND = "job_not_found", "No job has this id."
    NOT_FOUND = "not_found", "There is nothing at this address."
    METHOD_NOT_ALLOWED = "method_not_allowed", "The header Allow says which methods it knows."
    INVALID_STATE = "invalid_state", "The job's state does not allow this; read the job."
    REFUND_NOT_APPLICABLE = "refund_not_applicable", "Nothing is owed on this job."
    REFUND_ALREADY_PAID = (
        "refund_already_paid",
        "All that was owed was paid; paymentHash says with which payment.",
    )
    REFUND_IN_PROGRESS = "refund_in_progress", "A refund to another invoice is under way."
    REFUND_AUTOMATIC = (
        "refund_automatic",
        "The refund is being paid to refundTo by itself; it can be claimed when that has failed.",
    )
    INVALID_RESOURCE = (
        "invalid_resource",
        "The resource could not be sold like this; errors[] says what is wrong with it.",
    )
    RESOURCE_NOT_FOUND = "resource_not_found", "No instant resource has this address."
    RESOURCE_UNAVAILABLE = (
        "resource_unavailable",
        "The instant resource cannot be run at the moment. Nothing was charged; try again later.",
    )
    PAYMENT_REQUIRED = (
        "payment_required",
        "It costs: pay as PAYMENT-REQUIRED or the body says, in the same request.",
    )
    MALFORMED_PAYMENT = (
        "malformed_payment",
        "The payment's header cannot be read; nothing was charged.",
    )
    PAYMENT_ALREADY_USED = (
        "payment_already_used",
        "This payment has bought a run; only what it was made with opens that run's result.",
    )
    PAYMENT_IDENTIFIER_USED = (
        "payment_identifier_used",
        "This payment-identifier was used with another request; nothing was charged.",
    )
    IDEMPOTENCY_MISMATCH = (
        "idempotency_mismatch",
        "This Idempotency-Key was used with another request; nothing was charged.",
    )
    INVALID_IDEMPOTENCY_KEY = (
        "invalid_idempotency_key",
        "An Idempotency-Key has 16 to 255 visible ASCII characters.",
    )
    PAYER_LIMITED = (
        "payer_limited",
        "This payer has too many runs unsettled, failed or never paid for; nothing was charged.",
    )
    RUN_NOT_FOUND = "run_not_found", "No run of this instant resource has this address."
    RESULT_GONE = "result_gone", "The run's result is no longer kept."
    SLUG_TAKEN = "slug_taken", "You have a resource with this slug; archived ones keep theirs."
    PAYLOAD_TOO_LARGE = "payload_too_large", "The body is larger than the service reads."
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", "Send the body as application/json."
    RATE_LIMITED = "rate_limited", "Too many requests; Retry-After says when to come back."
    TOO_MANY_OPEN_INVOICES = (
        "too_many_open_invoices",
        "Too many invoices are unpaid; pay or cancel some, or let them expire.",
    )
    LIGHTNING_UNAVAILABLE = (
        "lightning_unavailable",
        "Lightning cannot be used at the moment. Nothing was lost or left behind; try again.",
    )
    PRICE_UNAVAILABLE = "price_unavailable", "No current bitcoin price is to be had; try again."
    MODEL_UNAVAILABLE = "model_unavailable", "The model cannot be used at the moment; try again."
    DEMO_BUDGET_SPENT = "demo_budget_spent", "Today's budget for free demos is spent."
    NOT_READY = (
        "not_ready",
        "The service cannot reach its database; nothing was lost, send the same again.",
    )
    HTTP_ERROR = "http_error", "The request is no proper HTTP request."
    INTERNAL = "internal", "A defect on our side; it was put on record under requestId."


def pointer_to(*path: str) -> str:
    """A JSON pointer (RFC 6901) into the body; "", without any name, is all of it."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path)


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

    @classmethod
    def at(cls, pointer: str, detail: str, *, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> Self:
        """One problem, and where: a JSON pointer into the body; "" is all of it."""
        problem = {"pointer": pointer, "detail": detail}
        return cls(detail, code=code, members={"errors": [problem]})


class Unauthorized(RuleBroken):
    """The key is missing or wrong."""

    status = 401


class NotFound(RuleBroken):
    """There is no such thing here."""

    status = 404


class Conflict(RuleBroken):
    """The state of the job does not allow this."""

    status = 409


class Gone(RuleBroken):
    """It was here, and is kept no longer."""

    status = 410


class Mismatch(RuleBroken):
    """The key was used with another request."""

    status = 422


class TooManyRequests(RuleBroken):
    """Too many requests; try again later."""

    status = 429


class NotNow(RuleBroken):
    """This is not possible at the moment; try again."""

    status = 503


class NotBooked(Exception):
    """What an operator wished was not done, and nothing written; the message says why."""
