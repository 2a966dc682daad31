"""How a job looks to its caller: which members it shows in which state."""

from typing import Any

from models.debt import Debt, DebtState
from models.invoice import Invoice, InvoiceKind
from models.job import Job
from models.lifecycle import JobState
from models.refund_destination import WINDOW, DestinationState, RefundDestination
from services.jobs.intake import JobView
from services.money import refunds, returns


def created(view: JobView) -> dict[str, Any]:
    """The answer to a new job."""
    return {
        "job_id": view.job.public_id,
        "state": view.job.state.value,
        "created_at": view.job.created_at,
        "eval_invoice": _invoice(view.invoices[InvoiceKind.EVAL]),
        "links": _links(view.job),
    }


def status(view: JobView) -> dict[str, Any]:
    """The answer to whoever knows the job's id."""
    job = view.job
    shown = {
        "job_id": job.public_id,
        "state": job.state.value,
        "created_at": job.created_at,
        "links": _links(job),
        **_by_state(view),
        **_debts(view.debts),
        **_refund_to(view.destination),
    }
    optional = {"metadata": job.caller_metadata, "completed_at": job.completed_at}
    return shown | {name: value for name, value in optional.items() if value is not None}


def _by_state(view: JobView) -> dict[str, Any]:
    job = view.job
    if job.state is JobState.AWAITING_EVAL_PAYMENT:
        return {"eval_invoice": _invoice(view.invoices[InvoiceKind.EVAL])}
    if job.state is JobState.AWAITING_WORK_PAYMENT:
        return {
            "work_invoice": _invoice(view.invoices[InvoiceKind.WORK]),
            "pricing_breakdown": _pricing(job),
        }
    if job.state is JobState.COMPLETE:
        return _complete(view)
    said: dict[JobState, dict[str, Any]] = {
        JobState.REJECTED: {"reason": job.reason},
        JobState.FAILED: {"error_message": job.error_message},
        JobState.EXPIRED: {"expired_reason": job.expired_reason},
    }
    return said.get(job.state, {})


def _complete(view: JobView) -> dict[str, Any]:
    shown = {"result": view.job.result, "cost_ledger": _cost_ledger(view)}
    if view.job.incomplete_reason is not None:
        shown["incomplete_reason"] = view.job.incomplete_reason.value
    return shown


def _invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "payment_request": invoice.payment_request,
        "amount_sats": invoice.amount_sats,
        "payment_hash": invoice.payment_hash,
        "expires_at": invoice.expires_at,
    }


def _links(job: Job) -> dict[str, str]:
    here = f"/api/jobs/{job.public_id}"
    return {"self": here, "refund": f"{here}/refund", "cancel": f"{here}/cancel"}


def _terms(job: Job) -> dict[str, Any]:
    """What the price was locked with, so that anyone can compute it again."""
    return {
        "estimated_cost_usd": job.estimated_cost_usd,
        "margin_pct": job.margin_pct,
        "btc_price_usd": job.btc_price_usd,
        "btc_price_source": job.btc_price_source,
        "infra_usd": job.infra_usd,
        "input_usd_per_million_tokens": job.input_usd_per_million,
        "output_usd_per_million_tokens": job.output_usd_per_million,
    }


def _pricing(job: Job) -> dict[str, Any]:
    return {
        **_terms(job),
        "model": job.work_model,
        "input_tokens_bound": job.input_tokens_bound,
        "output_tokens_bound": job.output_tokens_bound,
    }


def _cost_ledger(view: JobView) -> dict[str, Any]:
    job = view.job
    tokens_in, tokens_out = job.actual_input_tokens or 0, job.actual_output_tokens or 0
    paid, kept = job.work_amount_sats or 0, job.actual_amount_sats or 0
    unused = [debt for debt in view.debts if debt.cause == "unused_work"]
    return {
        **_terms(job),
        "actual_input_tokens": tokens_in,
        "actual_output_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "actual_cost_usd": job.actual_cost_usd,
        "actual_charge_usd": job.actual_charge_usd,
        "actual_amount_sats": kept,
        "work_amount_sats": paid,
        "refund_amount_sats": paid - kept,
        "refund_state": _refund_state(unused),
    }


def _debts(debts: list[Debt]) -> dict[str, Any]:
    if not debts:
        return {}
    return {
        "refund_amount_sats": refunds.owed(debts),
        "refund_state": _refund_state(debts),
        "debts": [
            {
                "cause": debt.cause.value,
                "amount_sats": debt.amount_sats,
                "state": "paid" if debt.state is DebtState.PAID else "pending",
            }
            for debt in debts
        ],
    }


def _refund_to(destination: RefundDestination | None) -> dict[str, Any]:
    if destination is None:
        return {}
    shown = {
        "address": destination.address,
        "state": destination.state.value,
        "last_error": returns.meaning_of(destination.last_error),
        "last_tried_at": destination.last_tried_at,
    }
    if destination.state is DestinationState.TRYING and destination.trying_since is not None:
        shown["next_try_at"] = destination.due_at
        shown["claimable_at"] = destination.trying_since + WINDOW
    return {"refund_to": {name: value for name, value in shown.items() if value is not None}}


def _refund_state(debts: list[Debt]) -> str:
    if not debts:
        return "not_applicable"
    return "paid" if all(debt.state is DebtState.PAID for debt in debts) else "pending"
