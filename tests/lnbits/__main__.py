"""The rig to play with: ``python -m tests.lnbits`` runs it until it is interrupted.

Prints what ``.env`` needs to use B, then the payer on A.
"""

import os
import signal
import sys

from tests.lnbits.rig import Rig, running_rig


def described(rig: Rig) -> str:
    lines = {
        "LNBITS_URL": rig.b.url,
        "LNBITS_INVOICE_KEY": rig.b.invoice_key,
        "LNBITS_ADMIN_KEY": rig.b.admin_key,
        "LIGHTNING_NETWORK": "bitcoin",
        "# payer": f"{rig.payer.url} admin key {rig.payer.admin_key}",
        "# pids": f"{rig.a.pid} {rig.b.server.pid}",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def main() -> int:
    with running_rig(os.environ) as rig:  # noqa: TID251 - an entry point
        sys.stdout.write(described(rig))
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    # from the start, or a signal would end us while the servers come up and leave their folder
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main())
