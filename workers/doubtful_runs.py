"""``python -m workers.doubtful_runs``: runs of which nobody knows whether they were paid.

    python -m workers.doubtful_runs                     list
    python -m workers.doubtful_runs settled 12 0xab…    the money arrived, by this transaction
    python -m workers.doubtful_runs not-settled 12      it did not, and the payment has lapsed

Look the payment up on its chain: AuthorizationUsed of the token, by payer and nonce. Wants the
environment of any process that has a database. Exit code 1 when what was wished was refused.
"""

import argparse
import sys

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
        f" lapsed {doubt.lapsed_at:%Y-%m-%d %H:%M:%SZ}, last answer {doubt.last_answer}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
