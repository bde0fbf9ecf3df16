"""The demo's worker: a process of its own that ends with the demo, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from app.devbroker import supervise

__all__ = ["WorkerDied", "WorkerProcess"]

COMMAND = (sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info")
STOP_WITHIN = 10.0  # seconds from SIGTERM to SIGKILL
GONE_WITHIN = 5.0
READY_WITHIN = 120.0  # recovers what an earlier run left, on a broker of the user's
POLL = 0.1
SHOWN = 12  # lines
_NOISE = re.compile(r"^[|+]|\[INFO\]|\"level\": \"INFO\"")  # the banner, too


class WorkerDied(RuntimeError):  # noqa: N818 - says what happened
    """The worker ended, or was not ready in time; the text has what its log says."""


class WorkerProcess:
    """`faust -A app worker`, below a supervisor that ends it when this process is gone."""

    def __init__(self, environ: Mapping[str, str], log: Path, url: str) -> None:
        """Start it.

        Args:
            environ: its environment.
            log: file for what it logs, overwritten.
            url: of its web server.
        """
        self.log = log
        self.url = url
        supervisor = [sys.executable, "-I", "-S", supervise.__file__, str(os.getpid()), str(STOP_WITHIN), ""]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, our own command
                [*supervisor, *COMMAND],
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the demo, which stops its worker in good order
            )

    def check(self) -> None:
        """Raise WorkerDied if it is not running."""
        code = self._process.poll()
        if code is not None:
            message = f"the worker ended with exit code {code}; from its log, {self.log}:\n{self._trouble()}"
            raise WorkerDied(message)

    async def wait_until_ready(self) -> None:
        """Return when the worker says that it is ready.

        Raises:
            WorkerDied: it ended before, or takes too long.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + READY_WITHIN
        while not await asyncio.to_thread(self._ready):
            self.check()
            if loop.time() > give_up_at:
                message = (
                    f"the worker was not ready within {READY_WITHIN:g} s; from its log, {self.log}:\n{self._trouble()}"
                )
                raise WorkerDied(message)
            await asyncio.sleep(POLL)

    def stop(self) -> None:
        """End it: in good order, or after a while by force."""
        if self._process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            self._process.stdin.write(supervise.STOP)
        try:
            self._process.wait(STOP_WITHIN + GONE_WITHIN)
        finally:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ready(self) -> bool:
        # By hand, since urllib would go through the user's proxy.
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=2.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _trouble(self) -> str:
        """The last lines of the log that are no mere information: a worker that stops says much after its error."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if not _NOISE.search(line)][-SHOWN:])
