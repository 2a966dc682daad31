"""The whole ledger as beancount text, for an auditor that shares no code with us.

One transaction per ledger row, and at the end a balance assertion per account, computed from the
tables that are no ledger: invoices, receipts, debts, payouts, wallet moves. ``bean-check`` proves
that both tell the same.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from models.ledger import Account, LedgerEntry
from services.toolbox import Toolbox

ACCOUNTS: Mapping[Account, str] = {
    Account.WALLET: "Assets:Lightning:Wallets",
    Account.HELD: "Liabilities:Callers:Held",
    Account.OWED: "Liabilities:Callers:Owed",
    Account.IN_FLIGHT: "Liabilities:Callers:InFlight",
    Account.UNMATCHED: "Liabilities:Unmatched",
    Account.EARNED: "Income:Work",
    Account.ROUTING_FEES: "Expenses:RoutingFees",
    Account.ROUNDING: "Expenses:Rounding",
    Account.OWNER: "Equity:Owner",
}
ROWS_AT_A_TIME = 5000
OPENED = "1970-01-01"

_ONE_SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)

# In millisats, debits above zero: how each account should stand if there were no ledger.
_BALANCES = """
WITH receipt AS (
    SELECT r.*, r.invoice_id IS NULL AS nobodys,
           EXISTS (SELECT FROM wallet_moves m WHERE m.payment_hash = r.payment_hash
                   AND r.invoice_id IS NULL AND m.kind = 'received') AS owners,
           EXISTS (SELECT FROM wallet_moves m WHERE m.payment_hash = r.payment_hash
                   AND r.invoice_id IS NULL AND m.state = 'transfer') AS transferred
    FROM receipts r
), sums AS (
    SELECT
    (SELECT coalesce(sum(amount_msats), 0) FROM receipt WHERE NOT transferred) AS came,
    (SELECT coalesce(sum(amount_msats), 0) FROM receipt
     WHERE nobodys AND NOT owners AND NOT transferred) AS unmatched,
    (SELECT coalesce(sum(amount_msats), 0) FROM wallet_moves
     WHERE state = 'booked' AND kind <> 'received') AS moved,
    (SELECT coalesce(sum(amount_msats), 0) FROM wallet_moves WHERE state = 'booked')
    AS owners,
    (SELECT coalesce(1000 * sum(amount_sats), 0) FROM payouts WHERE state = 'paid') AS returned,
    (SELECT coalesce(sum(fee_msats), 0) FROM payouts WHERE state = 'paid')
    + (SELECT coalesce(sum(fee_msats), 0) FROM receipts)
    + (SELECT coalesce(sum(fee_msats), 0) FROM wallet_moves WHERE state IN ('booked', 'transfer'))
    AS fees,
    (SELECT coalesce(1000 * sum(amount_sats), 0) FROM debts WHERE state = 'owed') AS owed,
    (SELECT coalesce(1000 * sum(amount_sats), 0) FROM payouts WHERE state = 'sending') AS sending,
    (SELECT coalesce(1000 * sum(i.amount_sats), 0) FROM jobs j JOIN invoices i ON i.job_id = j.id
     WHERE (j.state = 'evaluating' AND i.kind = 'eval')
        OR (j.state = 'executing' AND i.kind = 'work')) AS held,
    (SELECT coalesce(1000 * sum(i.amount_sats), 0) FROM invoices i
     WHERE i.kind = 'eval' AND EXISTS (
        SELECT FROM job_events e
        WHERE e.job_id = i.job_id AND e.event IN ('accepted', 'declined')))
    + (SELECT coalesce(1000 * sum(actual_amount_sats), 0) FROM jobs) AS earned,
    (SELECT coalesce(sum((1000 - r.amount_msats % 1000) % 1000), 0)
     FROM debts d JOIN receipts r ON r.id = d.receipt_id
     WHERE d.cause IN ('late', 'duplicate')) AS rounding
)
SELECT came + moved - returned - fees AS wallet, -held AS held, -earned AS earned,
       -owed AS owed, -sending AS in_flight, -unmatched AS unmatched, fees AS routing_fees,
       rounding, -owners AS owner
FROM sums
"""


def lines(tools: Toolbox) -> Iterator[str]:
    """The file, line by line, all of one moment. Holds one snapshot open while it is read."""
    with tools.database.transaction("audit_trail.export") as session:
        for statement in _ONE_SNAPSHOT:
            session.execute(text(statement))
        yield 'option "title" "Honest Work"\n'
        yield 'option "operating_currency" "SAT"\n\n'
        for account in Account:
            yield f"{OPENED} open {ACCOUNTS[account]} SAT\n"
        yield "\n"
        yield from _transactions(session)
        yield from _assertions(session)


def _transactions(session: Session) -> Iterator[str]:
    """A day's order is the order of the rows; beancount sorts days by itself."""
    rows = session.execute(
        select(LedgerEntry.__table__)
        .order_by(LedgerEntry.id)
        .execution_options(yield_per=ROWS_AT_A_TIME)
    )
    for row in rows:
        yield _transaction(row)


def _transaction(row: "Row[tuple[object, ...]]") -> str:
    amount = _sats(row.amount_msats)
    job = f"  job: {row.job_id}\n" if row.job_id is not None else ""
    return (
        f'{row.at:%Y-%m-%d} * "{row.event_key.partition(":")[0]}"\n'
        f"  row: {row.id}\n"
        f"{job}"
        f"  {ACCOUNTS[Account(row.debit)]}  {amount} SAT\n"
        f"  {ACCOUNTS[Account(row.credit)]}  -{amount} SAT\n\n"
    )


def _assertions(session: Session) -> Iterator[str]:
    """Of the day after the last row: beancount looks at a balance before the day begins."""
    day = session.scalars(
        text("SELECT (greatest(max(at), now()) AT TIME ZONE 'UTC')::date + 1 FROM ledger_entries")
    ).one()
    balances = session.execute(text(_BALANCES)).mappings().one()
    for account in Account:
        # to the last millisat: without a tolerance of its own beancount forgives one
        yield f"{day} balance {ACCOUNTS[account]}  {_sats(balances[account.value])} ~ 0 SAT\n"


def _sats(msats: Decimal | int) -> str:
    return f"{Decimal(msats) / 1000:.3f}"
