"""Ports that no two tests are given at once."""

from __future__ import annotations

import socket

from app.devbroker.config import free_port

__all__ = ["own_port"]

_held: list[socket.socket] = []


def own_port() -> int:
    """A free port of 127.0.0.1 that no other test is given while this process lives, of another process neither.

    A port that is free is not yet taken by the worker that is to have it: another test could be given the same one
    until then. A name in the kernel says whose it is, and goes with the process.
    """
    while True:
        port = free_port()
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0batch-aggregator-tests-{port}")
        except OSError:
            name.close()
        else:
            _held.append(name)
            return port
