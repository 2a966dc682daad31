# ruff: noqa: TID251 - an entry point
"""``python -m workers.check``: would every process of this deployment start with these settings?

Asks nothing outside, starts nothing. Exit code 2 and a sentence per problem if one would not.
"""

import os
import sys

from config.settings import Settings, SettingsError
from services import toolbox
from services.operate import startup
from services.toolbox import Role


def main() -> int:
    try:
        # The money worker's: no other process needs more.
        startup.check(toolbox.build(Settings.load(os.environ), Role.MONEY))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
