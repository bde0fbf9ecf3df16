"""A worker as a user starts it: a process, its log, its signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.integration.support.waiting import PATIENCE, wait_for
from tests.warm_python import start_cold_python, start_python

__all__ = [
    "CLOCK_AHEAD",
    "FAUST_APP",
    "LATER",
    "PATIENT",
    "REPOSITORY",
    "WARM_APP",
    "Program",
    "WorkerProcess",
    "clean_environment",
    "fetch",
]

REPOSITORY = Path(__file__).parents[3]
TAIL_BYTES = 6_000


@dataclass(frozen=True)
class Program:
    """Which Faust runs which application."""

    module: str = "faust"
    app: str = "app"
    options: tuple[str, ...] = ()
    warm: bool = False  # its imports are done; without what is to be changed before them


FAUST_APP = Program()
WARM_APP = Program(warm=True)
LATER = Program("tests.integration.support.later")  # its clock is ahead by CLOCK_AHEAD seconds
CLOCK_AHEAD = "CLOCK_AHEAD"
PATIENT = Program("tests.integration.support.patient", warm=True)  # instead of `-m faust`


def clean_environment(**settings: str) -> dict[str, str]:
    """No settings but these, given without their prefix; the repository is found whatever the folder."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AGG_", "MODEL_"))}
    own = {f"AGG_{key.upper()}": value for key, value in settings.items()}
    return clean | {"PYTHONPATH": str(REPOSITORY)} | own


def fetch(what: str | urllib.request.Request, within: float = PATIENCE) -> tuple[int, str]:
    """The status and the body that a worker answers; OSError where it does not."""
    try:
        with urllib.request.urlopen(what, timeout=within) as answer:  # noqa: S310 - our own worker
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:  # an answer, too, and has to be closed
        with error:
            return error.code, error.read().decode()


class WorkerProcess:
    """`faust -A app worker` with its settings, in a folder of the test's."""

    def __init__(
        self, folder: Path, name: str, environment: Mapping[str, str], web_port: int, program: Program = FAUST_APP
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.url = f"http://127.0.0.1:{web_port}"
        arguments = [program.module, "-A", program.app, "worker", "-l", "info", *program.options]
        env = clean_environment() | {"PYTHONUNBUFFERED": "1"} | dict(environment)
        # In a session of its own, so that what it starts ends with it.
        with Path(os.devnull).open() as nothing, self.log_path.open("wb") as log:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            start = start_python if program.warm else start_cold_python
            self.process = start(arguments, cwd=folder, env=env, streams=streams)

    # -- looking -----------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """All that it has said."""
        return self.log_path.read_text(errors="replace")

    def tail(self) -> str:
        """The end of its log, with its name, for messages of failed assertions."""
        state = "running" if self.running else f"exit code {self.process.returncode}"
        return f"--- {self.name} ({state}):\n{self.log[-TAIL_BYTES:]}"

    @property
    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        return self.answers("/readyz")

    def answers(self, path: str, within: float = 30.0) -> bool:
        """Whether it answers this with 200, within so many seconds."""
        try:
            return fetch(f"{self.url}{path}", within)[0] == HTTPStatus.OK
        except OSError:
            return False

    def ask(self, path: str) -> Any:
        """Ask its web API; returns what it answers, parsed."""
        return json.loads(self.read(path))

    def read(self, path: str) -> str:
        """Ask its web for something that is no JSON."""
        status, text = fetch(f"{self.url}{path}")
        assert status == HTTPStatus.OK, text
        return text

    def wait_ready(self, within: float = PATIENCE) -> WorkerProcess:
        """Wait until it is in the group and its assignment recovered."""
        wait_for(lambda: self.ready or not self.running, lambda: f"ready\n{self.tail()}", within)
        assert self.running, f"ended before it was ready\n{self.tail()}"
        return self

    # -- ending ------------------------------------------------------------------------------------------------------

    def wait_exit(self, within: float = PATIENCE) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"did not end within {within:g} s\n{self.tail()}"
            raise AssertionError(message) from None

    def terminate(self) -> None:
        """SIGTERM. It has to end with exit code 0, long before what a test has made hang would let it."""
        self.process.send_signal(signal.SIGTERM)
        code = self.wait_exit()
        assert code == 0, f"exit code {code}\n{self.tail()}"

    def kill(self) -> None:
        """SIGKILL, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def pause(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
