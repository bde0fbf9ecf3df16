"""The process between this one and Kafka, tried with commands that take no time to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.devbroker import supervise

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 240.0  # seconds
SLEEPER = ["sleep", "600"]
# Says that its signal handler is in place before anybody may send the signal.
STUBBORN = ["sh", "-c", "trap '' TERM; echo ready >&2; while true; do sleep 0.1; done"]


class Supervisor:
    def __init__(self, process: subprocess.Popen[str], pid: int) -> None:
        self.process = process
        self.pid = pid

    def order(self, order: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(order.decode())
        self.process.stdin.flush()

    def ends_with(self) -> int:
        return self.process.wait(PATIENCE)

    def child_is_gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False


@contextmanager
def supervised(command: list[str], *, grace: float = 60.0, scratch: str = "") -> Iterator[Supervisor]:
    options = [str(os.getpid()), str(grace), scratch]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", supervise.__file__, *options, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Supervisor(process, int(process.stdout.readline()))


@pytest.mark.parametrize("code", [0, 3])
def test_it_ends_with_the_exit_code_of_its_command(code: int) -> None:
    with supervised(["sh", "-c", f"exit {code}"]) as supervisor:
        assert supervisor.ends_with() == code


@pytest.mark.parametrize(("order", "number"), [(supervise.STOP, signal.SIGTERM), (supervise.KILL, signal.SIGKILL)])
def test_an_order_sends_its_signal(order: bytes, number: signal.Signals) -> None:
    with supervised(SLEEPER) as supervisor:
        supervisor.order(order)
        assert supervisor.ends_with() == 128 + number
        assert supervisor.child_is_gone()


def test_a_command_that_will_not_stop_is_killed_after_the_grace() -> None:
    with supervised(STUBBORN, grace=0.2) as supervisor:
        assert supervisor.process.stderr is not None
        assert supervisor.process.stderr.readline() == "ready\n"
        supervisor.order(supervise.STOP)
        assert supervisor.ends_with() == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_does_not_leave_the_command_alone(number: signal.Signals) -> None:
    with supervised(SLEEPER) as supervisor:
        supervisor.process.send_signal(number)
        assert supervisor.ends_with() == 128 + signal.SIGTERM
        assert supervisor.child_is_gone()


def test_a_closed_pipe_stops_the_command() -> None:
    with supervised(SLEEPER) as supervisor:
        assert supervisor.process.stdin is not None
        supervisor.process.stdin.close()
        assert supervisor.ends_with() == 128 + signal.SIGTERM


def test_a_closed_pipe_kills_a_command_whose_folder_is_scratch_and_removes_it(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with supervised(STUBBORN, scratch=str(scratch)) as supervisor:
        assert supervisor.process.stdin is not None
        supervisor.process.stdin.close()
        assert supervisor.ends_with() == 128 + signal.SIGKILL
    assert not scratch.exists()


def test_the_folder_stays_when_the_command_ends_by_itself(tmp_path: Path) -> None:
    with supervised(["true"], scratch=str(tmp_path)) as supervisor:
        assert supervisor.ends_with() == 0
    assert tmp_path.exists()


def test_a_parent_that_is_gone_is_noticed_though_another_process_holds_its_pipe(tmp_path: Path) -> None:
    out = tmp_path / "out"
    # The parent forks; its child keeps the pipe to the supervisor open; the parent exits at once.
    parent = (
        "import os, subprocess, sys, time\n"
        f"command = [sys.executable, {supervise.__file__!r}, str(os.getpid()), '60', '', 'sleep', '600']\n"
        "supervisor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "pid = supervisor.stdout.readline().decode().strip()\n"
        f"open({str(out)!r}, 'w').write(f'{{supervisor.pid}} {{pid}}')\n"
        "if os.fork() == 0:\n"
        f"    while not os.path.exists({str(tmp_path / 'done')!r}): time.sleep(0.02)\n"
        "os._exit(0)\n"
    )
    try:
        subprocess.run([sys.executable, "-c", parent], check=True, timeout=PATIENCE)
        supervisor, child = (int(pid) for pid in out.read_text(encoding="utf-8").split())
        assert eventually_gone(child)
        assert eventually_gone(supervisor)
    finally:
        (tmp_path / "done").touch()


def eventually_gone(pid: int) -> bool:
    """Wait until a process that is not ours has ended (one that nobody has waited for yet has ended, too)."""
    watch = ["sh", "-c", f"while ps -o stat= -p {pid} | grep -qv Z; do sleep 0.02; done"]
    return subprocess.run(watch, timeout=PATIENCE, check=False).returncode == 0
