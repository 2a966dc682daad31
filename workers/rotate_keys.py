"""``python -m workers.rotate_keys``: seal every creator's key with the newest of ``VAULT_KEYS``.

    python -m workers.rotate_keys         seal anew
    python -m workers.rotate_keys new     print another key to put first into VAULT_KEYS

Wants the environment of any process that has the database and the whole ring. Safe to repeat.
Exit code 1 when something stored does not open.
"""

import sys

from gateways import vault
from services.instant import rotation
from services.toolbox import Toolbox
from workers import command


def main(arguments: list[str]) -> int:
    if arguments == ["new"]:
        sys.stdout.write(f"{vault.new_key()}\n")
        return 0
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    return command.run(_rotate)


def _rotate(tools: Toolbox) -> int:
    if tools.vault is None:
        sys.stderr.write("VAULT_KEYS is not set: there is nothing to seal with.\n")
        return 2
    done = rotation.rotate(tools)
    sys.stdout.write(f"{done.resealed} sealed anew, {done.already} were already\n")
    if done.broken:
        rows = ", ".join(str(row) for row in done.broken)
        sys.stderr.write(f"No key of VAULT_KEYS opens these rows of provider_keys: {rows}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
