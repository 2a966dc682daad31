"""The rig to play with: ``python -m tests.x402`` runs it until it is interrupted.

Prints what ``.env`` needs to sell on it, then a purse to buy with.
"""

import os
import signal
import sys

from tests.x402.chain import NETWORK
from tests.x402.rig import Rig, key_of, running_rig

PURSE_MICROS = 100_000_000


def described(rig: Rig) -> str:
    payer = rig.payer(PURSE_MICROS)
    lines = {
        "X402_FACILITATOR_URL": rig.facilitator.url,
        "X402_NETWORKS": NETWORK,
        "X402_RPC_URLS": f'\'{{"{NETWORK}": "{rig.chain.url}"}}\'',
        "# a payer with 100 dollars": f"{payer.address} key {key_of(payer)}",
        "# python with x402": rig.installed.python,
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
