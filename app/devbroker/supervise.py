"""Run a command for as long as the process that wants it is alive.

A script of its own, standard library only, so that it is started quickly and stays small. `Supervised` is its other
side: it starts the script and gives it orders.

Kafka must end with the process that started it, even if that one is killed with SIGKILL and can do nothing about it.
Linux can send a signal to a child whose parent died (PR_SET_PDEATHSIG), but that is about the *thread* that started
it: a broker started by a thread that ends would be killed. It also has to be set between fork and exec (`preexec_fn`,
which is unsafe with threads), and macOS does not have it. A pipe works everywhere: the kernel closes the parent's end
however the parent ends, and this process, which reads the other end and does nothing else, sees that. It is also the
only one that signals Kafka's process: being its parent, it can't hit a stranger that got the same pid.

Protocol: standard output gets the pid of the command and a newline; standard input takes `T` (SIGTERM, after `grace`
seconds SIGKILL) and `K` (SIGKILL). It exits when the command has, with its exit code (128 + number for a signal).
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time

STOP, KILL = b"T", b"K"
_GONE_WITHIN = 10.0  # seconds from SIGKILL until a process is gone
_STDIN, _STDOUT = 0, 1
_LOOK_EVERY = 1.0  # seconds


class Supervised(subprocess.Popen[bytes]):
    """A command below a supervisor, of which this is the process: its exit code is the command's.

    Attributes:
        command_pid: of the command itself; 0 when it was not started.
    """

    def __init__(
        self,
        command: list[str],
        log: io.BufferedWriter,
        *,
        grace: float,
        scratch: str = "",
        env: dict[str, str] | None = None,
        cwd: os.PathLike[str] | None = None,
        keep_open: tuple[int, ...] = (),
    ) -> None:
        """Start it; its output goes to `log`, it inherits the descriptors `keep_open`. For the rest see `supervise`."""
        super().__init__(
            # By its path, isolated and without site-packages: it is up in 20 ms, whatever `app` imports.
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(grace), scratch, *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            pass_fds=keep_open,
            start_new_session=True,  # Ctrl-C is for this process, which ends the command when it is no longer needed
        )
        self._gone_within = grace + _GONE_WITHIN
        self.command_pid = 0
        if self.stdout is not None:
            with self.stdout as pipe:
                self.command_pid = int(pipe.readline() or 0)

    def end(self, order: bytes) -> None:
        """STOP or KILL the command, and wait until it and its supervisor are gone.

        Raises:
            subprocess.TimeoutExpired: they are not gone in time.
        """
        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself
                self.stdin.write(order)
            self.wait(self._gone_within)
            self.stdin.close()


def supervise(parent: int, grace: float, scratch: str, command: list[str]) -> int:
    """Run a command until it ends, is to end, or the parent is gone.

    Args:
        parent: pid of the process that wants the command to run.
        grace: seconds between SIGTERM and SIGKILL.
        scratch: folder to remove when the parent is gone ("": none).
        command: program and arguments; its output goes to standard error.

    Returns:
        The exit code of the command; 128 + number if a signal ended it.
    """
    signalled, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the number arrives through the pipe
    watched = [_STDIN, signalled]
    kill_at = math.inf
    orphaned = False
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) as child:  # noqa: S603 - by DevBroker only
        try:
            with contextlib.suppress(BrokenPipeError):  # the parent is gone already; the loop will see it
                os.write(_STDOUT, f"{child.pid}\n".encode())
            while child.poll() is None:
                ready, _, _ = select.select(watched, [], [], _LOOK_EVERY)
                order = os.read(_STDIN, 1) if _STDIN in ready else None
                caught = os.read(signalled, 64) if signalled in ready else b""
                # A process that the parent forked may hold the pipe open after the parent's end: hence its pid, too.
                if order == b"" or (not orphaned and os.getppid() != parent):
                    orphaned = True
                    watched = [signalled]
                if order == KILL or (orphaned and scratch) or time.monotonic() >= kill_at:
                    child.kill()
                    kill_at = math.inf
                elif kill_at == math.inf and (order == STOP or orphaned or set(caught) - {signal.SIGCHLD}):
                    child.terminate()
                    kill_at = time.monotonic() + grace
        finally:
            child.kill()  # nothing if it has ended
    if orphaned and scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]))
