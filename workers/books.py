"""``python -m workers.books > ledger.beancount``: the whole ledger for an auditor.

``bean-check ledger.beancount`` then proves it against balances from the other tables.
"""

import sys

from services.money import audit_trail
from services.toolbox import Toolbox
from workers import command


def main() -> int:
    return command.run(_print)


def _print(tools: Toolbox) -> int:
    sys.stdout.writelines(audit_trail.lines(tools))
    return 0


if __name__ == "__main__":
    sys.exit(main())
