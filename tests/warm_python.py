"""`python -m MODULE` whose imports are done: most of what a command costs, and a third of what a worker does.

Each process of pytest has one that imports the application and forks itself for every program (warm_server.py). How a
program starts, and what it imports by itself, is tried by tests that start Python as a user does.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, Protocol

__all__ = ["Process", "run_python", "start_cold_python", "start_python"]

_MODULES: Final = ("faust.cli.faust", "aiokafka.admin", "app.cli.commands", "app.worker.app", "app.worker.startup")
_SERVER: Final = Path(__file__).with_name("warm_server.py")
_PIPE: Final = 65_536  # bytes that fit into a pipe which nobody reads yet


class Process(Protocol):
    """What tests do with a process, as `subprocess.Popen` has it."""

    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code; subprocess.TimeoutExpired after so many seconds."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""


def start_python(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], streams: tuple[int, int, int]
) -> Process:
    """Start `python -m` with these arguments in a session of its own; `streams`: its input, output and error."""
    if sys.platform != "linux":
        return start_cold_python(arguments, cwd=cwd, env=env, streams=streams)
    return _server().start(arguments, cwd, env, streams)


def start_cold_python(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], streams: tuple[int, int, int]
) -> Process:
    """Start it as a user does, with its imports still to be done."""
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
    )  # fmt: skip


def run_python(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    stdin: bytes = b"",
    stdout: IO[Any] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m` with these arguments to its end.

    Its standard input holds `stdin`; what it prints is in the answer, unless it goes to a file `stdout`.
    """
    assert len(stdin) <= _PIPE, "nobody reads it yet"
    given, fill = os.pipe()
    os.write(fill, stdin)
    os.close(fill)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            target = (out if stdout is None else stdout).fileno()
            process = start_python(arguments, cwd=cwd, env=env, streams=(given, target, errors.fileno()))
        finally:
            os.close(given)
        try:
            code = process.wait(timeout)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        for file in (out, errors):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), errors.read())


class _Forked:
    """A program of the server's; its exit code comes through a pipe."""

    def __init__(self, arguments: Sequence[str], pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._arguments = arguments
        self._ended = ended

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._arguments, timeout or 0.0)
            told = os.read(self._ended, 16)
            os.close(self._ended)
            self.returncode = int(told or -signal.SIGKILL)  # nothing: the server has been killed, and tells no more
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


class _Server:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            command = [sys.executable, "-I", str(_SERVER), str(theirs.fileno()), *_MODULES]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)

    def start(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], streams: tuple[int, int, int]
    ) -> _Forked:
        program = {"arguments": list(arguments), "environment": dict(env), "folder": str(cwd)}
        ended, tell = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._socket, [json.dumps(program).encode()], [*streams, tell])
                answer = self._socket.recv(64)
        finally:
            os.close(tell)
        assert answer, "the server of warm processes has ended: its error stands above"
        return _Forked(arguments, int(answer), ended)

    def end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.end)
    return server
