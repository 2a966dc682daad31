"""Jobs that are owed money, by the shortest roads, and what it takes to pay them."""

from urllib.parse import urlsplit

from models.invoice import InvoiceKind
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import refunds
from services.money.refunds import Claim
from tests.support.life import REQUEST, Life


def owing(life: Life) -> JobView:
    """A cancelled job that was paid all the same: it is owed its ten sats back."""
    view = life.create()
    intake.cancel(life.tools, view.job.public_id)
    life.pay(view, InvoiceKind.EVAL)
    life.poll()
    return life.view(view)


def claim(life: Life, view: JobView, invoice: str | None = None) -> Claim:
    """Claim what is owed; nobody has sent anything yet, see ``life.work``."""
    text = invoice or life.stand_in.payer_invoice(refunds.owed(life.view(view).debts))
    return refunds.claim(life.tools, life.view(view).job, text)


def claimed(life: Life) -> JobView:
    """A job with a payout that nobody has sent yet."""
    view = owing(life)
    claim(life, view)
    return life.view(view)


def address_at(life: Life, name: str = "alice") -> str:
    """A Lightning address of the stand-in's payer."""
    return f"{name}@{urlsplit(life.stand_in.url).netloc}"


def owing_to(life: Life, address: str | None = None) -> JobView:
    """A job that is owed ten sats, to be paid to an address by itself; nobody has tried yet."""
    view = intake.create(
        life.tools, REQUEST, client_key="192.0.2.1", refund_to=address or address_at(life)
    )
    intake.cancel(life.tools, view.job.public_id)
    life.pay(view, InvoiceKind.EVAL)
    life.poll()
    return life.view(view)
