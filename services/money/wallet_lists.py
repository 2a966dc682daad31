"""Reading the wallets' own lists, no further back than needed. Only calls outside, no database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateways.lightning import Direction, Income, Movement, MovementPage, Payouts
from models.money import Msats

PAGE = 100
PAGE_OF_ALL = 1000
PAGES_MAX = 2000
OVERLAP = timedelta(minutes=10)
"""Read again before where the last run came to: rows change in place, clocks are set."""
EMPTY_SO_FAR = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class ReadTo:
    """How far each list was read, by the clock of LNbits. None = never, or not of this wallet."""

    outgoing: datetime | None = None
    topped_up: datetime | None = None
    withdrawn: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A list from its newest row back to where it was read before; newest first."""

    movements: list[Movement]
    is_first_reading: bool
    read_to: datetime


@dataclass(frozen=True, kw_only=True)
class Wallets:
    """What LNbits says. The lists are read before the balances, the newest income after them."""

    paying_wallet_id: str
    is_one_wallet: bool
    outgoing: Listed
    topped_up: Listed | None
    """Incoming rows of a paying wallet that takes no income; None if it does."""
    withdrawn: Listed | None
    """Outgoing rows of an income wallet that pays nothing; None if it does, or has no rows."""
    newest_income: list[Movement]
    paying_balance: Msats
    income_balance: Msats
    """0 if it is the paying wallet."""

    @property
    def balance(self) -> Msats:
        return Msats(self.paying_balance + self.income_balance)


def read(
    income: Income, payouts: Payouts, *, read_to: Callable[[str], ReadTo], everything: bool
) -> Wallets:
    """Five requests for one wallet and eight for two, if little has happened.

    ``read_to`` tells by the paying wallet's id where to go on. Raises Unavailable or Refused: then
    nothing may be concluded.
    """
    wallet_id = payouts.wallet_id()
    before = read_to(wallet_id)
    first = income.movements(Direction.IN, page=0, page_size=1).movements
    has_income, is_one = bool(first), bool(first) and first[0].wallet_id == wallet_id

    def back(wallet: Income | Payouts, direction: Direction, to: datetime | None) -> Listed:
        return _read_back(wallet.movements, direction, to, everything=everything)

    outgoing = back(payouts, Direction.OUT, before.outgoing)
    is_two = has_income and not is_one
    topped_up = None if is_one else back(payouts, Direction.IN, before.topped_up)
    withdrawn = back(income, Direction.OUT, before.withdrawn) if is_two else None
    return Wallets(
        paying_wallet_id=wallet_id,
        is_one_wallet=is_one,
        outgoing=outgoing,
        topped_up=topped_up,
        withdrawn=withdrawn,
        paying_balance=payouts.balance(),
        income_balance=income.balance() if is_two else Msats(0),
        newest_income=income.movements(Direction.IN, page=0, page_size=PAGE).movements,
    )


def _read_back(
    ask: Callable[..., MovementPage],
    direction: Direction,
    before: datetime | None,
    *,
    everything: bool,
) -> Listed:
    far_enough = None if before is None or everything else before - OVERLAP

    def page(number: int, size: int) -> MovementPage:
        return ask(direction, page=number, page_size=size)

    small = page(0, PAGE) if far_enough else None
    if small is not None and _reaches(small, far_enough):
        movements = small.movements
    else:
        movements = _read_large(page, far_enough)
    newest = max((movement.changed_at for movement in movements), default=before or EMPTY_SO_FAR)
    return Listed(movements=movements, is_first_reading=before is None, read_to=newest)


def _reaches(page: MovementPage, far_enough: datetime | None) -> bool:
    if page.is_last:
        return True
    return far_enough is not None and page.movements[-1].changed_at < far_enough


def _read_large(
    page: Callable[[int, int], MovementPage], far_enough: datetime | None
) -> list[Movement]:
    """Few large pages: of many small ones too often one fails, and all was read for nothing.

    What changes meanwhile goes to the head of the list, past whoever reads on further down: the
    first page is read once more at the end, and is right where the others differ.
    """
    pages: list[MovementPage] = []
    while len(pages) < PAGES_MAX and not (pages and _reaches(pages[-1], far_enough)):
        pages.append(page(len(pages), PAGE_OF_ALL))
    head = page(0, PAGE_OF_ALL).movements if len(pages) > 1 else []
    moved = {movement.payment_hash for movement in head}
    rest = [row for read in pages for row in read.movements if row.payment_hash not in moved]
    return head + rest
