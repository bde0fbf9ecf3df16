"""The process in which callbacks run with `AGG_EXECUTOR=process`: a script that `child_process.py` starts.

Not a fork: a worker has threads, sockets and locks that a copy of it would share. Not `multiprocessing` either: that
would import the worker's main program here. Only the standard library can be imported until the worker's first message
has set `sys.path`.

Messages are pickles with their length before them. The first one names the callback (`ChildJob`), and is answered when
that is imported; each further one has a call's arguments, and is answered with its outcomes. The process ends when the
worker closes the connection, and at once when the worker is gone, be it killed: the kernel then closes the worker's end
of a pipe, and sends a signal that ends the process, even if it computes in C and holds Python's lock.
"""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Final

HEADER: Final = struct.Struct(">Q")  # the length of the pickle that follows, in bytes
STACK_SIGNAL: Final = signal.SIGUSR1  # makes the process write down where it stands


def encode(message: object) -> bytes:
    """The bytes of a message."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(data)) + data


def main(connection: int, lifeline: int, stacks: int) -> None:
    """Answer until the worker closes the connection; the arguments are the numbers of open files."""
    _end_with(lifeline)
    # Ctrl-C and a service manager's SIGTERM reach the whole group of processes, and are the worker's to obey. (They are
    # not ignored, as programs that the callback starts would inherit that.)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    faulthandler.register(STACK_SIGNAL, file=stacks, all_threads=False)
    with socket.socket(fileno=connection) as channel:
        first = _receive(channel)
        if first is None:
            return
        # Ours first, whoever else has a package of that name on the path.
        sys.path[:] = [str(Path(__file__).resolve().parents[3]), *first["path"]]
        calls: Any = importlib.import_module("app.callbacks.executors.child_calls")
        sys.path[:] = first["path"]
        answer, call = calls.prepare(first)
        channel.sendall(encode(answer))
        while call is not None and (arguments := _receive(channel)) is not None:
            channel.sendall(encode(call(arguments)))


def _end_with(lifeline: int) -> None:
    """Have the kernel end this process when the other end of that pipe is closed."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline)
    if poll.poll(0):  # it has been closed before there was somebody to signal
        raise SystemExit(1)


def _receive(channel: socket.socket) -> Any:
    """The next message; None when the connection has been closed."""
    header = _exactly(channel, HEADER.size)
    data = header and _exactly(channel, HEADER.unpack(header)[0])
    return None if not data else pickle.loads(data)  # noqa: S301 - from the worker that has started us


def _exactly(channel: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return data


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
