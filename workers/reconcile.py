"""``python -m workers.reconcile``: books, wallets and rules compared from the very beginning.

Wants the environment of ``worker-money``. Prints what a person needs to know. Exit code 1 when
money is missing (looked at twice) or a rule is broken, 2 when nothing could be concluded.
"""

import sys

from gateways.errors import OutsideError, Refused
from models.reconciliation import Verdict
from services.money import owner_moves, reconcile
from services.money.owner_moves import Waiting
from services.money.reconcile import Result
from services.operate import invariants
from services.toolbox import Role, Toolbox
from workers import command

MEANING = {
    Verdict.CLEAN: "Books and wallets agree.",
    Verdict.SHORTFALL: "MONEY IS MISSING, or left without the books knowing of it.",
    Verdict.SURPLUS: "There is more in the wallets than the books say.",
}


def main() -> int:
    return command.run(_compare, Role.MONEY)


def _compare(tools: Toolbox) -> int:
    try:
        result = _twice_if_in_doubt(tools)
    except OutsideError as error:
        why = "refuses" if isinstance(error, Refused) else "does not answer"
        sys.stderr.write(f"LNbits {why} ({error.code}): nothing can be concluded.\n")
        return 2
    broken = invariants.sweep_everything(tools)
    sys.stdout.writelines(_table(result, owner_moves.waiting(tools), broken))
    return 1 if result.stops_payouts or broken else 0


def _twice_if_in_doubt(tools: Toolbox) -> Result:
    """A transfer between two wallets can be seen half-way; not twice."""
    result = reconcile.run(tools, everything=True)
    return result if result.verdict is Verdict.CLEAN else reconcile.run(tools, everything=True)


def _table(result: Result, waiting: list[Waiting], broken: int) -> list[str]:
    wallets = result.wallets
    income = "the same" if wallets.is_one_wallet else in_sats(wallets.income_balance)
    lines = [
        f"{'paying wallet':<30}{in_sats(wallets.paying_balance):>18} sats\n",
        f"{'income wallet':<30}{income:>18}\n",
        f"{'by the books at least':<30}{in_sats(result.least):>18} sats\n",
        f"{'by the books at most':<30}{in_sats(result.most):>18} sats\n",
        f"{'rules broken':<30}{broken:>18}\n",
        f"\n{MEANING[result.verdict]}\n",
    ]
    if result.stops_payouts:
        lines.append("Refunds are stopped until a later comparison finds nothing missing.\n")
    if waiting:
        lines += ["\nWaiting to be explained or booked (python -m workers.owner_moves):\n"]
        lines += [line_of(what) for what in waiting]
    return lines


def line_of(what: Waiting) -> str:
    at = f"{what.at:%Y-%m-%d %H:%M}" if what.at else ""
    said = f"  says it refunded job {what.job_id}" if what.job_id else ""
    return (
        f"  {what.reference:<8}{in_sats(what.amount):>16} sats  {at:<17}"
        f"{what.what}  {(what.payment_hash or '')[:16]}{said}\n"
    )


def in_sats(msats: int) -> str:
    """Exact, without a float: msats have three digits behind the point."""
    sign, amount = ("-" if msats < 0 else ""), abs(msats)
    return f"{sign}{amount // 1000}.{amount % 1000:03d}"


if __name__ == "__main__":
    sys.exit(main())
