# ruff: noqa: TID251 - an entry point
"""``python -m workers.books > ledger.beancount``: the whole ledger for an auditor.

``bean-check ledger.beancount`` then proves it against balances from the other tables.
"""

import os
import sys

from config.settings import Settings, SettingsError
from services import toolbox
from services.money import audit_trail
from services.toolbox import Role


def main() -> int:
    try:
        tools = toolbox.build(Settings.load(os.environ), Role.WEB)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(audit_trail.lines(tools))
    return 0


if __name__ == "__main__":
    sys.exit(main())
