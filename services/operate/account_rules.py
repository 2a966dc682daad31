"""What must hold of the ledger's accounts at every commit, as a query for whatever breaks it.

Jobs are looked at one by one. This is about what is no job's: money for no invoice of ours,
transfers, the owner's moves. There is little of it however old the books are, so all of it is
added up each time, in one statement, which sees one moment.
"""

from collections.abc import Mapping
from enum import StrEnum


class AccountRule(StrEnum):
    """What is broken, by account."""

    FITS_TABLES = "account_fits_tables"
    """I1: what the ledger says of no job is what receipts and wallet moves say."""


# Debits above zero. What is booked, less what should be: nothing is left of an account that fits.
_FITS_TABLES = """
WITH nobodys AS (
    SELECT r.amount_msats, r.fee_msats,
           EXISTS (SELECT FROM wallet_moves m WHERE m.payment_hash = r.payment_hash
                   AND m.kind = 'received') AS owners,
           EXISTS (SELECT FROM wallet_moves m WHERE m.payment_hash = r.payment_hash
                   AND m.state = 'transfer') AS transferred
    FROM receipts r WHERE r.invoice_id IS NULL
)
SELECT account FROM (
    SELECT debit AS account, amount_msats AS msats FROM ledger_entries WHERE job_id IS NULL
    UNION ALL
    SELECT credit, -amount_msats FROM ledger_entries WHERE job_id IS NULL
    UNION ALL
    SELECT 'wallet', -amount_msats FROM nobodys WHERE NOT transferred
    UNION ALL
    SELECT 'unmatched', amount_msats FROM nobodys WHERE NOT owners AND NOT transferred
    UNION ALL
    SELECT 'wallet', -amount_msats FROM wallet_moves WHERE state = 'booked' AND kind <> 'received'
    UNION ALL
    SELECT 'owner', amount_msats FROM wallet_moves WHERE state = 'booked'
    UNION ALL
    SELECT account, sign * fee_msats
    FROM (SELECT fee_msats FROM nobodys UNION ALL
          SELECT fee_msats FROM wallet_moves WHERE state IN ('booked', 'transfer')) AS taken
    CROSS JOIN (VALUES ('wallet', 1), ('routing_fees', -1)) AS both_ends (account, sign)
) AS booked_less_told
GROUP BY account HAVING sum(msats) <> 0
"""

ACCOUNTS_OF_NOW: Mapping[StrEnum, str] = {AccountRule.FITS_TABLES: _FITS_TABLES}
