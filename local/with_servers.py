"""``python -m local.with_servers COMMAND…``: run it with a PostgreSQL and a Valkey of its own."""

import os
import subprocess
import sys

from local.processes import StartError
from local.servers.temporary import temporary_servers


def main(command: list[str]) -> int:
    """The command's exit code. It finds the servers in DATABASE_URL and REDIS_URL."""
    if not command:
        print("Usage: python -m local.with_servers COMMAND…", file=sys.stderr)
        return 2
    try:
        with temporary_servers() as (postgres, valkey):
            environ = {**os.environ, "DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
            return subprocess.run(command, check=False, env=environ).returncode
    except StartError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
