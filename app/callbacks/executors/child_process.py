"""One process for callbacks, as the worker sees it: started, talked to, ended, and cleared away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from app.callbacks.executors import child_main as script
from app.callbacks.executors.child_main import HEADER, STACK_SIGNAL, encode

END_SECONDS = 0.1  # from the end of the connection to that of the process, or it is killed
REAP_SECONDS = 0.2  # what a killed process gets to be gone
LEAVE_SECONDS = 5.0  # what a process that has nothing to do any more gets to end by itself
STACK_SECONDS = 2.0  # what a process gets, on a busy machine, to say where it stands before it is killed
STACK_BYTES = 64 * 1024


class ChildProcess(asyncio.Protocol):
    """Runs `app/callbacks/executors/child_main.py`.

    Attributes:
        patience: real seconds for which a test driver's clock stands still while a call waits for its start.
        served: messages that have come from it.
    """

    patience = 120.0

    def __init__(
        self,
        first: dict[str, Any],
        environment: Mapping[str, str],
        *,
        on_message: Callable[[ChildProcess, Any], None],
        on_end: Callable[[ChildProcess, str], None],
    ) -> None:
        """Start the process; on a running event loop.

        Args:
            first: its first message, of types that Python brings along.
            environment: variables beside the worker's own, which count more.
            on_message: gets what it sends.
            on_end: called when it is gone, with how: such as `with exit code 3`.
        """
        self._on_message = on_message
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._gone = False
        self.served = 0
        self._stack_news = asyncio.Event()
        ours, its = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self._stacks, stacks = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-P", str(Path(script.__file__)), *map(str, (its.fileno(), lifeline, stacks))],
                stdin=subprocess.DEVNULL,
                pass_fds=(its.fileno(), lifeline, stacks),
                env={**environment, **os.environ},
                process_group=0,  # a terminal's Ctrl-C is for the worker
            )
        except BaseException:
            ours.close()
            self._close_pipes()
            raise
        finally:
            its.close()
            os.close(lifeline)
            os.close(stacks)
        os.set_blocking(self._stacks, False)
        # A program that the callback has started may hold the connection open after the process's end: hence this, too.
        self._pidfd = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else None
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self.clear_away)
        self._opening = self._loop.create_task(self._open(ours, first))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False when it has ended, as far as the system knows."""
        return not self._gone and self._process.poll() is None

    def send(self, message: object) -> None:
        """Send a message.

        Raises:
            Exception: it can't be pickled.
        """
        data = encode(message)
        if self._transport is not None:
            self._transport.write(data)

    def dismiss(self) -> None:
        """Have it end by itself: it is idle."""
        if self._transport is None or self._gone:
            self.kill()
            return
        self._transport.write_eof()
        self._loop.call_later(LEAVE_SECONDS, self.kill)

    def kill(self) -> None:
        """End it where it stands, with what it has started itself. `on_end` tells when it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()

    def clear_away(self) -> None:
        """Kill it if it still lives, and wait until it is gone."""
        if self._gone:
            return
        self.kill()
        self._gone = True
        try:
            self._process.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:  # something in the kernel holds it
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._loop.remove_reader(self._stacks)
        self._stack_news.set()
        self._close_pipes()
        self._on_end(self, _how(self._process.returncode))

    async def stack(self) -> str | None:
        """Ask where its main thread stands, innermost line first; None if it does not say within STACK_SECONDS.

        It says so when it gets its turn on the processor; the event loop goes on until then.
        """
        if not self.alive:
            return None
        text, outermost = b"", f'"{script.__file__}", line'.encode()
        self._loop.add_reader(self._stacks, self._stack_news.set)
        self._process.send_signal(STACK_SIGNAL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STACK_SECONDS):
                while not (outermost in text and text.endswith(b"in <module>\n")):
                    await self._stack_news.wait()
                    self._stack_news.clear()
                    if self._gone:
                        break
                    with contextlib.suppress(BlockingIOError):  # the loop tells once more of what has been read
                        text += os.read(self._stacks, STACK_BYTES)
        if not self._gone:
            self._loop.remove_reader(self._stacks)
        own = str(Path(script.__file__).parent / "child")
        lines = [line for line in text.decode(errors="replace").splitlines() if own not in line]
        return "\n".join(lines) + "\n" if lines else None

    async def _open(self, connection: socket.socket, first: dict[str, Any]) -> None:
        try:
            await self._loop.create_unix_connection(lambda: self, sock=connection)
        except BaseException:
            connection.close()
            raise
        self.send(first)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        if self._gone:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            message = pickle.loads(buffer[HEADER.size : end])  # noqa: S301 - from a process of our own
            del buffer[:end]
            self.served += 1
            self._on_message(self, message)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - what counts is how the process ended
        """See `asyncio.Protocol`; a process that ends closes its files before it has an exit code."""
        self._loop.call_later(END_SECONDS, self.clear_away)

    def _close_pipes(self) -> None:
        os.close(self._lifeline)
        os.close(self._stacks)


def _how(code: int | None) -> str:
    if code is None:
        return "without a trace"
    if code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"by {name}" + (" (short of memory?)" if -code == signal.SIGKILL else "")
