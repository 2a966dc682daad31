"""What must hold of the ledger's accounts, as queries for whatever breaks it.

Jobs are looked at one by one. This is about what is no job's (money for no invoice of ours,
transfers, the owner's moves) and about what only many of them show together. There is little of the
one however old the books are, and of the other a day is looked at: so all of it is added up each
time, in one statement for each rule, which sees one moment.
"""

from collections.abc import Mapping
from enum import StrEnum

from models.money import Sats, msats

FEES_WORTH_A_LOOK = Sats(1000)
"""Of routing, in 24 hours. Less is hardly worth a person's time, and a few refunds prove nothing:
even at the two sats that LNbits allows for a small one it takes five hundred.
"""
REFUNDED_FOR_FEES = 20
"""So many sats at least are refunded for one that routing costs, where nobody makes it dear.

LNbits allows 1 % of what is larger than 200 sats, and two sats of what is smaller. What costs
nobody anything to be owed (the fee of an evaluation, paid once its job is cancelled) is ten sats,
unless set otherwise: who claims that through a hop of their own can take a fifth of it, again and
again. All refunds are added up, so that a few dear ones among many fair ones call nobody; what is
taken unseen is never more than this share of what is refunded.
"""


class AccountRule(StrEnum):
    """What is broken, by account."""

    FITS_TABLES = "account_fits_tables"
    """I1: what the ledger says of no job is what receipts and wallet moves say."""
    FEES_IN_PROPORTION = "routing_fees_in_proportion"
    """What routing has cost in the last 24 hours is in proportion to what was refunded then.

    Heals by itself, at the latest a day after the last dear refund.
    """


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

# By the index of settled_at: what was paid before that day is not read. 100,000 refunds of a day
# take 30 ms. Where nothing was paid there are no sums, and no row.
_FEES_IN_PROPORTION = f"""
SELECT 'routing_fees' FROM (
    SELECT sum(fee_msats) AS fees, sum(1000 * amount_sats) AS refunded
    FROM payouts WHERE settled_at > now() - interval '24 hours' AND state = 'paid') AS of_a_day
WHERE fees > {msats(FEES_WORTH_A_LOOK)} AND fees * {REFUNDED_FOR_FEES} > refunded
"""  # noqa: S608 - numbers of ours

ACCOUNTS_OF_NOW: Mapping[StrEnum, str] = {
    AccountRule.FITS_TABLES: _FITS_TABLES,
    AccountRule.FEES_IN_PROPORTION: _FEES_IN_PROPORTION,
}
