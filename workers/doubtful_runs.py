"""``python -m workers.doubtful_runs``: runs of which nobody knows whether they were paid.

    python -m workers.doubtful_runs                     list
    python -m workers.doubtful_runs settled 12 0xab…    its money arrived, by this transaction
    python -m workers.doubtful_runs not-settled 12      none did, or another shop's, and none can

Look the payment up on its chain: AuthorizationUsed of the token, by payer and nonce. What moved
before it was first asked for may have paid for something at another shop. Wants the environment of
any process that has a database. Exit code 1 when what was wished was refused.
"""

import argparse
import sys
from datetime import datetime

from services.instant import doubts
from services.instant.doubts import Doubt
from services.toolbox import Toolbox
from workers import command


def main(arguments: list[str]) -> int:
    wish = _parser().parse_args(arguments)
    return command.run(lambda tools: _act(tools, wish))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="doubtful_runs")
    wishes = parser.add_subparsers(dest="wish")
    settled = wishes.add_parser("settled", help="the money arrived")
    settled.add_argument("run", type=int)
    settled.add_argument("transaction", help="0x and 64 hex digits")
    not_settled = wishes.add_parser("not-settled", help="it did not, and it cannot any more")
    not_settled.add_argument("run", type=int)
    return parser


def _act(tools: Toolbox, wish: argparse.Namespace) -> int:
    """Book what is wished, then list what is left. Raises NotBooked."""
    _book(tools, wish)
    waiting = doubts.waiting(tools)
    sys.stdout.writelines(_line(doubt) for doubt in waiting)
    sys.stdout.write(f"{len(waiting)} doubtful\n")
    return 0


def _book(tools: Toolbox, wish: argparse.Namespace) -> None:
    if wish.wish == "settled":
        doubts.book_settled(tools, wish.run, wish.transaction)
    if wish.wish == "not-settled":
        doubts.book_not_settled(tools, wish.run)


def _line(doubt: Doubt) -> str:
    return (
        f"run {doubt.run_id} of {doubt.slug}: {doubt.price_usd_micros} micro-dollars on"
        f" {doubt.network} from {doubt.payer} to {doubt.pay_to}, nonce {doubt.nonce},"
        f" lapsed {_instant(doubt.lapsed_at)}, first asked for {_instant(doubt.asked_at)},"
        f" last answer {doubt.last_answer}, transaction {doubt.transaction or 'none'}\n"
    )


def _instant(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M:%SZ}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
