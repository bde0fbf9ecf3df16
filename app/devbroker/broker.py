"""The life of one development broker: start, wait until it is ready, stop, kill, start again."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from app.devbroker import config
from app.devbroker.archive import archive_options
from app.devbroker.config import DevBrokerError, Listener
from app.devbroker.folder import DataFolder
from app.devbroker.install import KAFKA_VERSION, ensure_kafka, find_java
from app.devbroker.supervise import KILL, STOP, Supervised

_START_WITHIN = 240.0  # seconds; it takes 2 on a laptop, a minute and more where twenty others want its two cores
_STOP_WITHIN = 15.0  # seconds from SIGTERM to SIGKILL
_POLL = 0.05  # seconds between two probes
_PROBE_TIMEOUT = 1.0  # seconds
_TAIL = 25  # lines of the log in an error

_METADATA = 3  # api key; https://kafka.apache.org/protocol.html#The_Messages_Metadata
_VERSION = 2  # the oldest whose response has the cluster's id
_LARGEST_ANSWER = 1 << 20  # bytes; anything longer is no answer to this request


class DevBroker:
    """One Apache Kafka in KRaft mode, on 127.0.0.1 only: for development and tests.

    Its port takes anybody, without encryption and passwords; further listeners are as the settings say.

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
        listeners: Sequence[Listener] = (),
        format_options: Sequence[str] = (),
        jvm_options: Sequence[str] | None = None,
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Take the choices; nothing is started, fetched or written yet.

        Args:
            data: folder for Kafka's data, settings and logs, made if it is not there, kept when the broker stops. None:
                a temporary one, which `stop` removes.
            port: TCP port for clients. None: a free one.
            overrides: Kafka broker settings that win over those of `config.server_properties`.
            listeners: further ports for clients.
            format_options: of the tool that makes the storage: `--add-scram` and a user.
            jvm_options: more of the JVM's options. None: those that let it start quickly.
            report: gets a line of text now and then while Kafka is fetched (only the first time) and started.

        Raises:
            DevBrokerError: no free port was found.
        """
        self.port = config.free_port() if port is None else port
        self._folder = None if data is None else DataFolder(data.absolute())
        self._remove_folder: Callable[[], object] | None = None  # of a temporary one
        self._overrides = dict(overrides or {})
        self._listeners = tuple(listeners)
        self._format_options = tuple(format_options)
        self._jvm_options = jvm_options
        self._report = report
        self._process: Supervised | None = None

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
        """True while Kafka's process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of Kafka's Java process.

        Raises:
            DevBrokerError: it is not running.
        """
        if self._process is None or not self.running:
            message = f"the Kafka on {self.bootstrap} is not running, so it has no pid."
            raise DevBrokerError(message)
        return self._process.command_pid

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
            message = f"the Kafka on {self.bootstrap} is running already (pid {self.pid})."
            raise DevBrokerError(message)
        self._end(KILL)  # it has ended by itself: close the pipe to its supervisor
        java = find_java()
        jars = ensure_kafka(self._report)
        folder = self._made_folder()
        more = self._jvm_options
        if more is None:
            more = archive_options(java, jars, _run_once, self._report)
        command = [str(java.path), *config.JVM_OPTIONS, *more, *config.jvm_paths(folder.path), "-cp", jars.class_path]
        self._report(f"Starting Apache Kafka {KAFKA_VERSION} on {self.bootstrap} (Java {java.version}) ...")
        with folder.locked() as lock:
            if not config.port_is_free(self.port):
                message = (
                    f"port {self.port} of {config.HOST} is taken by another process. Stop that, or choose another port."
                )
                raise DevBrokerError(message)
            folder.prepare_run(self.port, self._overrides, self._listeners)
            folder.format_once(command, timeout=timeout, options=self._format_options)
            with folder.console.open("wb") as console:
                self._process = Supervised(
                    [*command, "kafka.Kafka", "server.properties"],
                    console,
                    grace=_STOP_WITHIN,
                    scratch=str(folder.path) if self._remove_folder is not None else "",
                    cwd=folder.path,
                    keep_open=(lock,),
                )
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
        self._end(STOP)
        if self._remove_folder is not None and not keep_data:
            self._remove_folder()
            self._folder = self._remove_folder = None

    def kill(self) -> None:
        """End Kafka with SIGKILL; its data stays. Does nothing if it is not running."""
        self._end(KILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until Kafka's process has ended, by itself or by someone else's signal.

        Args:
            timeout: seconds; None: as long as it takes.

        Returns:
            Its exit code; 128 + number if a signal ended it.

        Raises:
            DevBrokerError: there is none to wait for, or it is still running when the time is up.
        """
        if self._process is None:
            message = f"the Kafka on {self.bootstrap} has not been started, or has been stopped."
            raise DevBrokerError(message)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            message = (
                f"the Kafka on {self.bootstrap} (pid {self._process.command_pid}) is still running after {timeout:g} s."
            )
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

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _made_folder(self) -> DataFolder:
        if self._folder is None:
            path = Path(tempfile.mkdtemp(prefix="devbroker-"))
            # Also when the interpreter ends without `stop`; the supervisor does it when the interpreter is killed.
            self._remove_folder = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
            self._folder = DataFolder(path)
        self._folder.make()
        return self._folder

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
        process = self._process
        if process is None:
            return
        try:
            process.end(order)
        except subprocess.TimeoutExpired as error:
            message = f"the Kafka on {self.bootstrap} (pid {process.command_pid}) does not end."
            raise DevBrokerError(message) from error
        self._process = None


def _run_once(jvm_options: Sequence[str]) -> None:
    with DevBroker(jvm_options=jvm_options):
        pass


def cluster_at(host: str, port: int, *, timeout: float) -> str | None:
    """Return the id of the cluster that serves requests at this address, or None.

    A broker that is still starting accepts connections but does not answer, or answers that no broker is there: None.

    Args:
        host: name or address.
        port: TCP port.
        timeout: seconds that each step (connecting, reading) may take.
    """
    # Header: api key, version, correlation id, no client id. Body: no topics.
    request = struct.pack(">hhihi", _METADATA, _VERSION, 0, -1, 0)
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection, connection.makefile("rb") as reader:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", reader.read(4))
            return _cluster_id(reader.read(size)) if 0 < size < _LARGEST_ANSWER else None
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _cluster_id(answer: bytes) -> str | None:
    """Read a metadata response, version 2: correlation id, [node id, host, port, rack], cluster id, ...

    Raises:
        struct.error: the response is too short.
    """
    _correlation, brokers = struct.unpack_from(">ii", answer)
    at = 8
    for _ in range(brokers):
        _host, at = _string(answer, at + 4)
        _rack, at = _string(answer, at + 4)
    cluster, _ = _string(answer, at)
    return cluster if brokers > 0 else None


def _string(answer: bytes, at: int) -> tuple[str | None, int]:
    """Read a string that has its length before it (-1: none); return it and the place behind it."""
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(length, 0)
    return (answer[at + 2 : end].decode() if length >= 0 else None), end
