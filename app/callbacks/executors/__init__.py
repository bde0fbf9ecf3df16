"""Places where callbacks run: the event loop, threads, processes. And what all of them share: callbacks that fork.

User code forks by `multiprocessing`, for one. Its copy of a worker, or of a process for callbacks, has the sockets and
the signal handlers of that process, unless it is parted from it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from functools import cache
from typing import Final
from weakref import WeakSet

_TO_DEFAULT: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_HELD: Final = frozenset({*_TO_DEFAULT, signal.SIGINT})

_before = threading.local()  # the signals that a forking thread has held back anyway
_sockets: WeakSet[socket.socket] = WeakSet()


def close_in_forks(listening: socket.socket) -> None:
    """Have processes that are forked close a socket: one that outlives a killed worker would keep its port taken."""
    _sockets.add(listening)


@cache
def part_forks() -> None:
    """Have every process that is forked from this one, from now on, obey signals as a Python program does.

    Otherwise it inherits our handlers. With those of an event loop, a SIGTERM to it, such as `Pool.terminate` sends, is
    written into the socket that it shares with the loop, and ends the worker; with those of a process of
    `AGG_EXECUTOR=process` it is not obeyed. What is sent to it before it has its own handlers is held back until then.
    """
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_be_a_program)


def _hold() -> None:
    _before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def _let_go() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)


def _be_a_program() -> None:
    for listening in _sockets:
        if listening.fileno() >= 0:
            os.close(listening.detach())  # its `close` would wait for the loop to let go of it
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _TO_DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    _let_go()
