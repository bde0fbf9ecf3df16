"""`python -m tests.chaos.points.nursery`: starts workers, one after the other, without the time that imports take.

It has imported what a worker imports, and forks. A line of standard input, JSON, says what to start; a line of standard
output is the exit code. It ends, and its worker with it, when standard input does.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import faust.cli.faust
import orjson

import app.application
import app.web.server  # noqa: F401 - a worker imports it
from tests.integration.support.worker import REPOSITORY, clean_environment

__all__ = ["Nursery"]

POLL = 0.02  # seconds
APPLICATIONS = {True: "tests.chaos.points.worker", False: "app"}  # watched, and as users start it


class Nursery:
    """Starts workers of one group; entered, it is there."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, clean_environment() | dict(environment)
        self._starts = 0

    def __enter__(self) -> Nursery:
        with (self._folder / "nursery.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.points.nursery"],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes, which ends it, and waits
            pass

    def start(self, *, watched: bool) -> None:
        """Start a worker; the one before has ended."""
        self._starts += 1
        order = {"app": APPLICATIONS[watched], "log": str(self._log), "folder": str(self._folder)}
        assert self._process.stdin
        self._process.stdin.write(orjson.dumps(order) + b"\n")
        self._process.stdin.flush()

    def ended(self, within: float) -> int | None:
        """Return the exit code when the worker ends within so many seconds."""
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], within)[0]:
            return None
        line = self._process.stdout.readline()
        assert line, f"the nursery has ended\n{(self._folder / 'nursery.log').read_text()}"
        return int(line)

    def terminate(self) -> None:
        """SIGTERM to the worker."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def tail(self) -> str:
        """Return the end of the worker's log."""
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self._folder / f"worker-{self._starts:04d}.log"


def serve() -> None:
    """Start what is asked for, until there is no one to ask."""
    while line := sys.stdin.buffer.readline():
        if not line.strip():
            continue  # it was for a worker that had ended by then
        pid = os.fork()
        if pid == 0:
            become_worker(orjson.loads(line))
        sys.stdout.write(f"{watch(pid)}\n")
        sys.stdout.flush()


def become_worker(order: Mapping[str, str]) -> None:
    """Be the worker; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, copy in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, copy)
    os.setsid()
    os.chdir(order["folder"])
    sys.argv = ["faust", "-A", order["app"], "worker", "-l", "info"]
    faust.cli.faust.cli()
    sys.exit()


def watch(pid: int) -> int:
    """Return a worker's exit code when it has ended; ends it when there is no one left who wants it."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([sys.stdin], [], [], POLL)[0]:
            line = sys.stdin.buffer.readline()
            os.kill(pid, signal.SIGTERM if line else signal.SIGKILL)


if __name__ == "__main__":
    serve()
