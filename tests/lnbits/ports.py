"""Ports on loopback for servers of a test run."""

import random
import socket


def free_port() -> int:
    """A free port below the range from which outgoing connections take theirs."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port between 20000 and 32000")
