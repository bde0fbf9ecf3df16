"""A Python that has imported what the application needs, and forks itself for each program that a test starts.

    python -I tests/warm_server.py FD MODULE...

FD is a socket of packets. Each holds one program as JSON (`Program`) and four descriptors: its standard input, output
and error, and a pipe. The answer is its pid; its exit code, negative for a signal, goes into the pipe when it has
ended. The program itself begins as `python -m MODULE` does, in a process of its own.
"""

import gc
import importlib
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
from typing import NamedTuple

LARGEST = 1 << 20  # bytes of a packet


class Program(NamedTuple):
    """What to run."""

    arguments: list[str]  # a module's name first
    environment: dict[str, str]
    folder: str


def serve(control: socket.socket) -> Program:
    """Fork for each program; returns in the processes that are to run one, and ends with the socket."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fd for key, _ in selector.select()]
            if woken in ready:
                os.read(woken, 4096)
                tell_ended(running)
            if control.fileno() not in ready:
                continue
            packet, fds, _, _ = socket.recv_fds(control, LARGEST, 4)
            if not packet:
                sys.exit()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for fd in (control.detach(), woken, wake, fds[3], *running.values()):
                    os.close(fd)
                selector.close()
                program = Program(**json.loads(packet))
                become(program, fds[:3])
                return program
            running[pid] = fds[3]
            for fd in fds[:3]:
                os.close(fd)
            control.send(str(pid).encode())


def tell_ended(running: dict[int, int]) -> None:
    """Tell how the programs ended that have."""
    for pid, pipe in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(pipe)
            del running[pid]


def become(program: Program, streams: list[int]) -> None:
    """Make the process what `python -m` would find itself in."""
    os.setsid()  # so that what it starts ends with it
    os.chdir(program.folder)
    for fd, number in zip(streams, range(3), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(program.environment)
    unbuffered = bool(program.environment.get("PYTHONUNBUFFERED"))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as the interpreter leaves them open
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stdout.reconfigure(write_through=unbuffered)
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)
    sys.path[:0] = [program.folder, *filter(None, program.environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv[:] = program.arguments
    random.seed()


def main() -> Program:
    """Import, then serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH120, PTH100
    sys.path.insert(0, folder)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    sys.path.remove(folder)
    gc.collect()
    gc.freeze()  # or each collection of a program would copy what it has in common with this process
    return serve(control)


if __name__ == "__main__":
    module = main().arguments[0]
    if hasattr(sys.modules.get(module), "__path__"):  # a package; `faust`, once imported, tells runpy no more of itself
        module += ".__main__"
    runpy.run_module(module, run_name="__main__", alter_sys=True)
