"""Ports for servers that bind theirs only after a while: nobody else is given them till then."""

import socket

from local import processes
from local.processes import LOOPBACK

_kept: list[socket.socket] = []


def free_port() -> int:
    """A loopback port of this process's own, for as long as it lives.

    It is bound and not listened on: that keeps ``local.processes.free_port`` of any process away,
    and nobody who binds it with SO_REUSEADDR, as servers do.
    """
    port = processes.free_port()
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((LOOPBACK, port))
    _kept.append(keeper)
    return port
