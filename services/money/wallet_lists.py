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

    def read(size: int, at_most: int) -> tuple[list[Movement], bool]:
        movements: list[Movement] = []
        for number in range(at_most):
            page = ask(direction, page=number, page_size=size)
            movements += page.movements
            if page.is_last or (far_enough and page.movements[-1].changed_at < far_enough):
                return movements, True
        return movements, False

    movements, is_enough = read(PAGE, 1) if far_enough else ([], False)
    if not is_enough:
        # Few large pages: of many small ones too often one fails, and all was read for nothing.
        movements, _ = read(PAGE_OF_ALL, PAGES_MAX)
    newest = max((movement.changed_at for movement in movements), default=before or EMPTY_SO_FAR)
    return Listed(movements=movements, is_first_reading=before is None, read_to=newest)
