"""``python -m workers.check``: would every process of this deployment start with these settings?

Asks nothing outside, starts nothing. Exit code 2 and a sentence per problem if one would not.
"""

import sys

from services.operate import startup
from services.toolbox import Role, Toolbox
from workers import command


def main() -> int:
    return command.run(_check, Role.MONEY)  # no other process needs more


def _check(tools: Toolbox) -> int:
    startup.check(tools)
    return 0


if __name__ == "__main__":
    sys.exit(main())
