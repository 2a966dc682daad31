"""A Lightning node and its three wallets, with the habits of LNbits 1.6.2 and nobody's candour."""

import hashlib
import secrets
import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import simplejson
from coincurve import PrivateKey

from gateways import bolt11
from gateways.bolt11 import Bolt11, NotABolt11
from local.stand_in.bolt11_signing import InvoiceDraft, sign_invoice
from local.stand_in.effects import EffectKind, EffectLog
from local.stand_in.faults import Fault, FaultKind, PaymentEnd
from local.stand_in.rows import EPOCH, Payment, Rows, Selection, Status, Wallet

MSATS = 1000
MAX_SATS = 10_000_000
LEAST_RESERVE_MSATS = 2000
DEFAULT_EXPIRY_SECONDS = 3600
EXPIRED = '["expired"]'


class NodeRefusal(Exception):
    """What LNbits answers as 520: a text, and a status that need not be the truth."""

    def __init__(self, detail: str, status: Status = Status.FAILED) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


@dataclass(frozen=True, kw_only=True)
class InvoiceOrder:
    """What is wanted of a new invoice. 0 sats leave the amount to the payer."""

    sats: int
    memo: str = ""
    expiry_seconds: int = DEFAULT_EXPIRY_SECONDS
    description_hash: bytes | None = None
    webhook: str | None = None
    external_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a payer writes on a payment of its own: kept with its row, told to nobody else."""

    external_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


NO_LABEL = Label()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A payment after the node was asked about it, and what was written of it before."""

    payment: Payment
    before: Status


class Node:
    """Every public method is one transaction, and one at a time: LNbits too has a single lock."""

    def __init__(self, data_dir: Path, effects: EffectLog) -> None:
        self._effects = effects
        self._key = _node_key(data_dir / "node_key")
        self._rows = Rows(data_dir / "stand_in.sqlite3")

    def create_invoice(self, wallet: Wallet, order: InvoiceOrder) -> Payment:
        preimage = secrets.token_bytes(32)
        with self._rows.transaction():
            payment = self._rows.insert(self._new_invoice(wallet, order, preimage))
        self._effects.append(EffectKind.INVOICE_CREATED, **_told(payment))
        return payment

    def pay(
        self, wallet: Wallet, text: str, fault: Fault | None = None, *, label: Label = NO_LABEL
    ) -> Payment:
        """Pay an invoice. Raises NodeRefusal; a row that is returned need not be a paid one."""
        invoice = _payable(text)
        with self._rows.transaction(kept_on=NodeRefusal):
            earlier = self._row(invoice.payment_hash, "amount < 0 AND wallet = ?", wallet)
            if earlier is not None and earlier.status is Status.PENDING:
                raise NodeRefusal("Payment is still pending.", Status.PENDING)
            ours = self._row(invoice.payment_hash, "amount >= 0")
            if earlier is not None and earlier.status is Status.FAILED:
                if ours is None:  # as with a node that knows nothing of it
                    return earlier
                raise NodeRefusal("Payment is failed node, retrying is not possible.")
            if ours is None:
                return self._pay_foreign(wallet, invoice, label)
            return self._pay_internal(self._payout(wallet, ours, label), invoice, ours, fault)

    def pay_from_outside(self, payment_hash: str, amount: int | None) -> Payment | None:
        """Let the payer pay, late or not, another amount or not. None = no such invoice."""
        with self._rows.transaction():
            invoice = self._row(payment_hash, "amount >= 0")
            if invoice is None or invoice.status is Status.SUCCESS:
                return invoice
            arriving = replace(invoice, amount=invoice.amount if amount is None else amount)
            self._send(self._payout(Wallet.PAYER, arriving), arriving)
            return self._row(payment_hash, "amount >= 0")

    def expire(self, payment_hash: str) -> bool:
        """Let an invoice's time be over for LNbits; the BOLT11 still says what it said."""
        with self._rows.transaction():
            invoice = self._row(payment_hash, "amount >= 0")
            if invoice is not None:
                self._rows.update(replace(invoice, expires_at=self._rows.moment()))
            return invoice is not None

    def ask(self, payment_hash: str, wallet: Wallet | None = None) -> Asked | None:
        """Look one payment up, in any wallet or in this one; a pending row is asked about first."""
        with self._rows.transaction():
            payment = (
                self._row(payment_hash)
                if wallet is None
                else self._row(payment_hash, "wallet = ?", wallet)
            )
            if payment is None:
                return None
            return Asked(payment=self._rechecked(payment), before=payment.status)

    def select(
        self, selection: Selection, *, recheck: bool = False, seconds_each: float = 0.0
    ) -> list[Payment]:
        """A page of rows. With ``recheck`` the node is asked about each pending one.

        It takes ``seconds_each`` to answer, and LNbits answers nobody meanwhile.
        """
        with self._rows.transaction():
            found = self._rows.select(selection)
            if not recheck:
                return found
            for payment in found:
                if seconds_each and payment.status is Status.PENDING:
                    threading.Event().wait(seconds_each)
            return [self._rechecked(payment) for payment in found]

    def count(self, selection: Selection) -> int:
        with self._rows.transaction():
            return self._rows.count(selection)

    def balance(self, wallet: Wallet) -> int:
        with self._rows.transaction():
            return self._rows.balance(wallet)

    def take_fee(self, payment_hash: str, msats: int) -> bool:
        """Let an invoice cost its payee this fee, by either sign; at once if it is paid already."""
        with self._rows.transaction():
            invoice = self._row(payment_hash, "amount >= 0")
            if invoice is not None:
                if invoice.status is Status.SUCCESS:
                    self._rows.add_to_balance(invoice.wallet, abs(invoice.fee) - abs(msats))
                self._rows.update(replace(invoice, fee=msats, updated_at=self._rows.moment()))
            return invoice is not None

    def top_up(self, wallet: Wallet, msats: int) -> None:
        """The owner's move: money that no payment explains."""
        with self._rows.transaction():
            self._rows.add_to_balance(wallet, msats)

    def clear(self) -> None:
        with self._rows.transaction():
            self._rows.clear()

    def _row(self, payment_hash: str, also: str = "TRUE", *values: str) -> Payment | None:
        """Of several rows the outgoing one, as LNbits does: the lowest amount."""
        where = f"payment_hash = ? AND {also}"
        found = self._rows.select(
            Selection(where=where, values=(payment_hash, *values), order="amount", limit=1)
        )
        return found[0] if found else None

    def _new_invoice(self, wallet: Wallet, order: InvoiceOrder, preimage: bytes) -> Payment:
        payment_hash = hashlib.sha256(preimage).digest()
        now = self._rows.moment()
        return Payment(
            wallet=wallet,
            checking_id=payment_hash.hex(),
            payment_hash=payment_hash.hex(),
            bolt11=sign_invoice(_draft(order, payment_hash, now), self._key),
            amount=order.sats * MSATS,
            memo=None if order.description_hash else order.memo,
            preimage=preimage.hex(),
            expires_at=now + order.expiry_seconds * 1_000_000,
            created_at=now,
            updated_at=now,
            webhook=order.webhook,
            external_id=order.external_id,
            extra=simplejson.dumps(order.extra),
        )

    def _pay_internal(
        self, payout: Payment, invoice: Bolt11, ours: Payment, fault: Fault | None
    ) -> Payment:
        if ours.status is Status.SUCCESS:
            raise NodeRefusal("Internal invoice already paid.")
        if ours.bolt11 != invoice.payment_request:
            raise NodeRefusal("Invalid invoice. Bolt11 changed.")
        if ours.status is Status.FAILED:
            return ours
        self._want_balance(payout.wallet, ours.amount)
        if fault is not None and fault.kind is FaultKind.PAYMENT_FAILED:
            self._rows.insert(replace(payout, status=Status.FAILED))
            raise NodeRefusal("Payment failed: no_route")
        if fault is not None and fault.kind is FaultKind.PAYMENT_PENDING:
            return self._leave_pending(payout, fault)
        return self._send(payout, ours)

    def _pay_foreign(self, wallet: Wallet, invoice: Bolt11, label: Label) -> Payment:
        """No road leads out of here: the row stays, failed, and later tries return it."""
        amount = int(invoice.amount or 0)
        self._want_balance(wallet, amount)
        reserve = max(LEAST_RESERVE_MSATS, amount // 100)
        if wallet is not Wallet.PAYER and self._rows.balance(wallet) < amount + reserve:
            raise NodeRefusal(
                f"You must reserve at least ({reserve // MSATS}  sat)"
                " to cover potential routing fees."
            )
        now = self._rows.moment()
        self._rows.insert(
            Payment(
                wallet=wallet,
                checking_id=invoice.payment_hash,
                payment_hash=invoice.payment_hash,
                bolt11=invoice.payment_request,
                amount=-amount,
                fee=-reserve,
                status=Status.FAILED,
                memo=invoice.description,
                expires_at=(invoice.expires_at - EPOCH) // timedelta(microseconds=1),
                created_at=now,
                updated_at=now,
                external_id=label.external_id,
                extra=simplejson.dumps(label.extra),
            )
        )
        raise NodeRefusal("Payment failed: Only internal invoices can be used!")

    def _want_balance(self, wallet: Wallet, amount: int) -> None:
        if wallet is not Wallet.PAYER and self._rows.balance(wallet) < amount:
            raise NodeRefusal("Insufficient balance.")

    def _payout(self, wallet: Wallet, invoice: Payment, label: Label = NO_LABEL) -> Payment:
        """The payer's own row of a payment to one of our invoices."""
        now = self._rows.moment()
        return replace(
            invoice,
            id=None,
            wallet=wallet,
            checking_id=f"internal_{invoice.payment_hash}",
            amount=-invoice.amount,
            fee=0,
            status=Status.PENDING,
            created_at=now,
            updated_at=now,
            webhook=None,
            external_id=label.external_id,
            extra=simplejson.dumps(label.extra),
            labels="[]",
        )

    def _leave_pending(self, payout: Payment, fault: Fault) -> Payment:
        """Sent, and nobody knows: amount and reserve are off the balance until it is decided."""
        pending = replace(
            payout,
            fee=-LEAST_RESERVE_MSATS,
            reads_left=fault.reads,
            ends_as=fault.then,
            fee_at_end=fault.fee_msats,
        )
        self._rows.add_to_balance(pending.wallet, pending.amount + pending.fee)
        return self._rows.insert(pending)

    def _rechecked(self, payment: Payment) -> Payment:
        """What the node says of a pending row now. Asking after expiry fails an invoice."""
        if payment.status is not Status.PENDING:
            return payment
        if payment.is_incoming:
            return self._expired(payment) if payment.expires_at <= self._rows.moment() else payment
        if payment.reads_left is None:
            return payment
        payment = replace(payment, reads_left=payment.reads_left - 1)
        return self._rows.update(payment) if payment.reads_left else self._decide(payment)

    def _expired(self, invoice: Payment) -> Payment:
        now = self._rows.moment()
        return self._rows.update(
            replace(invoice, status=Status.FAILED, labels=EXPIRED, updated_at=now)
        )

    def _decide(self, payout: Payment) -> Payment:
        """Give the reserve back and let the payment end as it was meant to."""
        self._rows.add_to_balance(payout.wallet, -payout.fee)
        invoice = self._row(payout.payment_hash, "amount >= 0")
        if (
            payout.ends_as is PaymentEnd.SUCCESS
            and invoice
            and invoice.status is not Status.SUCCESS
        ):
            return self._succeed(payout, invoice, fee=payout.fee_at_end)
        self._rows.add_to_balance(payout.wallet, -payout.amount)
        now = self._rows.moment()
        return self._rows.update(replace(payout, status=Status.FAILED, updated_at=now))

    def _send(self, payout: Payment, invoice: Payment) -> Payment:
        self._rows.insert(payout)
        self._rows.add_to_balance(payout.wallet, payout.amount)
        return self._succeed(payout, invoice, fee=0)

    def _succeed(self, payout: Payment, invoice: Payment, *, fee: int) -> Payment:
        self._rows.add_to_balance(payout.wallet, -fee)
        now = self._rows.moment()
        paid = self._rows.update(
            replace(payout, status=Status.SUCCESS, fee=-fee, updated_at=now, reads_left=None)
        )
        self._effects.append(EffectKind.PAYMENT_OUT, **_told(paid), feeMsat=fee)
        self._arrive(invoice)
        return paid

    def _arrive(self, invoice: Payment) -> None:
        self._rows.add_to_balance(invoice.wallet, invoice.amount - abs(invoice.fee))
        now = self._rows.moment()
        paid = self._rows.update(
            replace(invoice, status=Status.SUCCESS, labels="[]", updated_at=now)
        )
        self._effects.append(EffectKind.PAYMENT_IN, **_told(paid))


def _node_key(path: Path) -> PrivateKey:
    """The node's identity, made once and kept."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return PrivateKey.from_hex(path.read_text())


def _draft(order: InvoiceOrder, payment_hash: bytes, now: int) -> InvoiceDraft:
    return InvoiceDraft(
        amount_msats=order.sats * MSATS or None,
        payment_hash=payment_hash,
        payment_secret=secrets.token_bytes(32),
        created_at=EPOCH + timedelta(microseconds=now),
        expiry_seconds=order.expiry_seconds,
        description=None if order.description_hash else order.memo,
        description_hash=order.description_hash,
    )


def _payable(text: str) -> Bolt11:
    """LNbits' own checks before it looks at the wallet."""
    if text.lower().startswith("lightning:"):
        raise NodeRefusal("Bolt11 decoding failed.")
    try:
        invoice = bolt11.read(text)
    except NotABolt11:
        raise NodeRefusal("Bolt11 decoding failed.") from None
    if invoice.amount is None:
        raise NodeRefusal("Amountless invoices not supported.")
    if invoice.amount > MAX_SATS * MSATS:
        raise NodeRefusal(too_high(invoice.amount // MSATS))
    return invoice


def too_high(sats: int) -> str:
    return f"Invoice amount {sats} sats is too high. Max allowed: {MAX_SATS} sats."


def _told(payment: Payment) -> dict[str, Any]:
    """What the effect log says of a payment; the amount is positive both ways."""
    return {
        "wallet": payment.wallet,
        "paymentHash": payment.payment_hash,
        "amountMsat": abs(payment.amount),
    }
