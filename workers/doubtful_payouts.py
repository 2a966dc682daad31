"""``python -m workers.doubtful_payouts``: refunds that were handed over and whose end is not known.

    python -m workers.doubtful_payouts                      list
    python -m workers.doubtful_payouts paid 12 257e… 1500   the node has paid it, for a fee in msats
    python -m workers.doubtful_payouts failed 12 3          it has not, and cannot any more
    python -m workers.doubtful_payouts lnbits-restored      LNbits may have forgotten any of them
    python -m workers.doubtful_payouts wallet-left 5f3c…    all that this wallet has paid is known

Look the payment up by its hash, at the node behind LNbits: nearly all end by themselves. Wants the
environment of any process that has a database. Exit code 1 when what was wished was refused.
"""

import argparse
import sys

from models.money import Msats
from services.money import doubtful_payouts, wallets
from services.money.doubtful_payouts import Doubt
from services.toolbox import Toolbox
from workers import command


def main(arguments: list[str]) -> int:
    wish = _parser().parse_args(arguments)
    return command.run(lambda tools: _act(tools, wish))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="doubtful_payouts")
    wishes = parser.add_subparsers(dest="wish")
    paid = wishes.add_parser("paid", help="the node has paid it, whatever LNbits says")
    paid.add_argument("payout", type=int)
    paid.add_argument("preimage", help="64 hex digits, as the node shows it")
    paid.add_argument("fee_msats", type=int)
    failed = wishes.add_parser("failed", help="the node has not paid it, and never will")
    failed.add_argument("payout", type=int)
    failed.add_argument("times", type=int, help="how often it was handed over, as listed")
    wishes.add_parser("lnbits-restored", help="that LNbits has no row of one proves nothing")
    left = wishes.add_parser("wallet-left", help="another wallet may pay in place of this one")
    left.add_argument("wallet", help="the id of the wallet that paid so far, as LNbits shows it")
    return parser


def _act(tools: Toolbox, wish: argparse.Namespace) -> int:
    """Put on record what is wished, then list what is in doubt. Raises NotBooked."""
    if wish.wish == "paid":
        preimage: str = wish.preimage.lower()
        doubtful_payouts.book_paid(tools, wish.payout, preimage, Msats(wish.fee_msats))
    if wish.wish == "failed":
        doubtful_payouts.vouch_failed(tools, wish.payout, wish.times)
    if wish.wish == "lnbits-restored":
        doubtful_payouts.distrust_missing_rows(tools)
    if wish.wish == "wallet-left":
        wallets.leave(tools, wish.wallet)
    waiting = doubtful_payouts.waiting(tools)
    sys.stdout.writelines(_line(doubt) for doubt in waiting)
    sys.stdout.write(f"{len(waiting)} in doubt\n")
    return 0


def _line(doubt: Doubt) -> str:
    lost = ", LNbits HAS LOST ITS ROW" if doubt.is_lost else ""
    vouched = ", said to have failed" if doubt.is_vouched else ""
    return (
        f"payout {doubt.payout_id} of job {doubt.job}: {doubt.amount_sats} sats,"
        f" {doubt.payment_hash}, claimed {doubt.claimed_at:%Y-%m-%d %H:%M:%SZ},"
        f" expires {doubt.expires_at:%Y-%m-%d %H:%M:%SZ}, handed over {doubt.posts} times,"
        f" last {doubt.last_code}{lost}{vouched}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
