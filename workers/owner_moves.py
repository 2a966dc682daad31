"""``python -m workers.owner_moves``: list what waits to be booked as the owner's, and book it.

    python -m workers.owner_moves                                 list
    python -m workers.owner_moves book m12 --note "float"         it was mine
    python -m workers.owner_moves book all --note "float"         all that names no job was mine
    python -m workers.owner_moves refund m12                      it was the refund of its job
    python -m workers.owner_moves state -70.5 --note "old wallet" sats that no wallet row shows

Wants the environment of any process that has a database. Exit code 1 when what was wished was
refused.
"""

import argparse
import sys
from decimal import Decimal, InvalidOperation

from models.money import MSATS_PER_SAT, Msats
from services.money import owner_moves
from services.toolbox import Toolbox
from workers import command
from workers.reconcile import line_of

_DIGITS_MAX = 18
"""Before the point; with a thousand million of them, a number takes longer than anybody waits."""


def main(arguments: list[str]) -> int:
    wish = _parser().parse_args(arguments)
    return command.run(lambda tools: _act(tools, wish))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="owner_moves")
    wishes = parser.add_subparsers(dest="wish")
    book = wishes.add_parser("book", help="it was the owner's")
    book.add_argument("reference", help="m12, r7 or all")
    book.add_argument("--note", required=True)
    refund = wishes.add_parser("refund", help="it was the refund of the job that it names")
    refund.add_argument("reference", help="m12")
    state = wishes.add_parser("state", help="what no row of a wallet shows")
    state.add_argument(
        "msats", metavar="sats", type=_msats, help="below zero for what was taken out"
    )
    state.add_argument("--note", required=True)
    return parser


def _msats(said: str) -> Msats:
    """A number of sats, exactly."""
    try:
        sats = Decimal(said)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{said} is no number of sats") from None
    if not sats.is_finite() or sats.adjusted() > _DIGITS_MAX:
        raise argparse.ArgumentTypeError("there are not so many bitcoin")
    msats = sats * MSATS_PER_SAT
    if msats != int(msats):
        raise argparse.ArgumentTypeError("a sat has three places")
    return Msats(int(msats))


def _act(tools: Toolbox, wish: argparse.Namespace) -> int:
    """Book what is wished, then list what is left. Raises NotBooked."""
    _book(tools, wish)
    waiting = owner_moves.waiting(tools)
    sys.stdout.writelines(line_of(what) for what in waiting)
    sys.stdout.write(f"{len(waiting)} waiting\n")
    return 0


def _book(tools: Toolbox, wish: argparse.Namespace) -> None:
    if wish.wish == "book":
        named = _for_no_job(tools) if wish.reference == "all" else [wish.reference]
        for reference in named:
            owner_moves.book(tools, reference, note=wish.note)
    if wish.wish == "refund":
        owner_moves.book_as_payout(tools, wish.reference)
    if wish.wish == "state":
        owner_moves.state(tools, wish.msats, note=wish.note)


def _for_no_job(tools: Toolbox) -> list[str]:
    """What says that it was the refund of a job is the owner's only if it is said by name."""
    waiting = owner_moves.waiting(tools)
    return [what.reference for what in waiting if what.is_over and what.job_id is None]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
