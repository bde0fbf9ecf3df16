"""The life of one development broker: start, stop, kill, start again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Self

from app.devbroker import config, supervise
from app.devbroker.errors import DevBrokerError
from app.devbroker.folder import DataFolder
from app.devbroker.install import KAFKA_VERSION, ensure_kafka, find_java
from app.devbroker.probe import cluster_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

__all__ = ["DevBroker"]

_START_WITHIN = 60.0  # seconds; it takes 2 on a laptop, more when its cores are busy
_STOP_WITHIN = 15.0  # seconds from SIGTERM to SIGKILL
_GONE_WITHIN = 10.0  # seconds from SIGKILL until the process is gone
_POLL = 0.05  # seconds between two looks
_PROBE_TIMEOUT = 1.0  # seconds
_TAIL = 25  # lines of the log in an error


def _silent(_line: str) -> None:
    """Report to nobody."""


class DevBroker:
    """One Apache Kafka in KRaft mode, on 127.0.0.1 only, without encryption or passwords: for development and tests.

    It ends with the Python process that started it, even if that is killed with SIGKILL. Not for two threads at once.

        with DevBroker() as broker:
            producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)

    Attributes:
        port: TCP port for clients, the same at each start.
    """

    def __init__(
        self,
        data: Path | None = None,
        port: int | None = None,
        *,
        overrides: Mapping[str, str | int] | None = None,
        report: Callable[[str], None] = _silent,
    ) -> None:
        """Take the choices; nothing is started, fetched or written yet.

        Args:
            data: folder for Kafka's data, settings and logs, made if it is not there, kept when the broker stops. None:
                a temporary one, which `stop` removes.
            port: TCP port for clients. None: a free one.
            overrides: Kafka broker settings that win over those of `config.server_properties`.
            report: gets a line of text now and then while Kafka is fetched (only the first time) and started.

        Raises:
            DevBrokerError: no free port was found.
        """
        self.port = config.free_port() if port is None else port
        self._folder = None if data is None else DataFolder(data.absolute())
        self._remove_folder: Callable[[], object] | None = None  # of a temporary one
        self._overrides = dict(overrides or {})
        self._report = report
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def bootstrap(self) -> str:
        """The address that Kafka clients take: `127.0.0.1:PORT`."""
        return f"{config.HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The address that Faust takes: `kafka://127.0.0.1:PORT`."""
        return f"kafka://{self.bootstrap}"

    @property
    def running(self) -> bool:
        """Whether Kafka's process is there."""
        return self._supervisor is not None and self._supervisor.poll() is None

    @property
    def pid(self) -> int:
        """Process id of Kafka's Java process.

        Raises:
            DevBrokerError: it is not running.
        """
        if not self.running:
            message = f"the Kafka on {self.bootstrap} is not running, so it has no pid."
            raise DevBrokerError(message)
        return self._pid

    @property
    def data(self) -> Path:
        """The folder with Kafka's data, settings and logs.

        Raises:
            DevBrokerError: it is a temporary one, and the broker was not started yet or has been stopped.
        """
        if self._folder is None:
            message = (
                f"the Kafka on {self.bootstrap} has no data: its temporary folder is there from start to stop only."
            )
            raise DevBrokerError(message)
        return self._folder.path

    def start(self, timeout: float = _START_WITHIN) -> None:
        """Start Kafka and return when it serves requests; after `kill` or `stop` again, on the same port and kept data.

        Args:
            timeout: seconds Kafka may take to be ready; fetching it the first time is not counted.

        Raises:
            DevBrokerError: it runs already, the port or the data folder is taken, Kafka could not be fetched, or it
                ended or was not ready in time (the message then has the end of its log).
        """
        if self.running:
            message = f"the Kafka on {self.bootstrap} is running already (pid {self._pid})."
            raise DevBrokerError(message)
        self._end(supervise.KILL)  # it has ended by itself: let go of the pipe to its supervisor
        java = find_java()
        jars = ensure_kafka(self._report)
        folder = self._made_folder()
        command = [str(java.path), *config.JVM_OPTIONS, *config.jvm_paths(folder.path), "-cp", jars.class_path]
        self._report(f"Starting Apache Kafka {KAFKA_VERSION} on {self.bootstrap} (Java {java.version}) ...")
        with folder.locked() as lock:
            if not config.port_is_free(self.port):
                message = (
                    f"port {self.port} of {config.HOST} is taken by another process. Stop that, or choose another port."
                )
                raise DevBrokerError(message)
            folder.prepare_run(self.port, self._overrides)
            folder.format_once(command, timeout=timeout)
            self._spawn(folder, [*command, "kafka.Kafka", "server.properties"], lock)
        try:
            self._wait_until_ready(folder, timeout)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, keep_data: bool = False) -> None:
        """End Kafka with SIGTERM, after 15 s with SIGKILL, and remove its data if they are in a temporary folder.

        Args:
            keep_data: leave a temporary folder for another `start`.
        """
        self._end(supervise.STOP)
        if self._remove_folder is not None and not keep_data:
            self._remove_folder()
            self._folder = self._remove_folder = None

    def kill(self) -> None:
        """End Kafka with SIGKILL; its data stays. Does nothing if it is not running."""
        self._end(supervise.KILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until Kafka's process has ended, by itself or by someone else's signal.

        Args:
            timeout: seconds; None: as long as it takes.

        Returns:
            Its exit code; 128 + number if a signal ended it.

        Raises:
            DevBrokerError: there is none to wait for, or it is still running when the time is up.
        """
        if self._supervisor is None:
            message = f"the Kafka on {self.bootstrap} has not been started, or has been stopped."
            raise DevBrokerError(message)
        try:
            return self._supervisor.wait(timeout)
        except subprocess.TimeoutExpired as error:
            message = f"the Kafka on {self.bootstrap} (pid {self._pid}) is still running after {timeout:g} s."
            raise DevBrokerError(message) from error

    def log_tail(self, lines: int = _TAIL) -> str:
        """Return the last lines of Kafka's log of this run, and of what its JVM printed.

        Args:
            lines: how many of each, at most.
        """
        return "" if self._folder is None else self._folder.log_tail(lines)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _made_folder(self) -> DataFolder:
        if self._folder is None:
            path = Path(tempfile.mkdtemp(prefix="devbroker-"))
            # Also when the interpreter ends without `stop`; the supervisor does it when the interpreter is killed.
            self._remove_folder = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
            self._folder = DataFolder(path)
        self._folder.make()
        return self._folder

    def _spawn(self, folder: DataFolder, command: list[str], lock: int) -> None:
        """Start Kafka's process below its supervisor; the lock of the folder goes with it."""
        scratch = str(folder.path) if self._remove_folder is not None else ""
        # By its path, isolated and without site-packages: it is up in 20 ms, whatever `app` imports.
        supervisor = [sys.executable, "-I", "-S", supervise.__file__, str(os.getpid()), str(_STOP_WITHIN), scratch]
        with folder.console.open("wb") as console:
            self._supervisor = subprocess.Popen(  # noqa: S603 - our own script, our own command
                [*supervisor, *command],
                cwd=folder.path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                bufsize=0,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for this process, which stops Kafka when its clients are done
            )
        if self._supervisor.stdout is not None:
            with self._supervisor.stdout as pipe:
                self._pid = int(pipe.readline() or 0)

    def _wait_until_ready(self, folder: DataFolder, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        cluster = folder.cluster_id()
        # Another Kafka might have taken the port in the meantime: only ours has the id that the storage was given.
        while cluster_at(config.HOST, self.port, timeout=_PROBE_TIMEOUT) != cluster:
            if not self.running:
                message = (
                    f"Kafka ended with exit code {self.wait()} while starting on {self.bootstrap}.\n{self.log_tail()}"
                )
                raise DevBrokerError(message)
            if time.monotonic() > deadline:
                message = f"Kafka was not ready on {self.bootstrap} within {timeout:g} s.\n{self.log_tail()}"
                raise DevBrokerError(message)
            time.sleep(_POLL)

    def _end(self, order: bytes) -> None:
        """Have the supervisor end Kafka, and wait until both are gone."""
        supervisor = self._supervisor
        if supervisor is None or supervisor.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            supervisor.stdin.write(order)
        try:
            supervisor.wait(_STOP_WITHIN + _GONE_WITHIN)
        except subprocess.TimeoutExpired as error:
            message = f"the Kafka on {self.bootstrap} (pid {self._pid}) does not end."
            raise DevBrokerError(message) from error
        with contextlib.suppress(BrokenPipeError):
            supervisor.stdin.close()
        self._supervisor = None
