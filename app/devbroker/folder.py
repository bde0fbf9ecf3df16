"""The data folder of one broker: Kafka's storage, its settings, its logs, and a lock against a second broker."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shutil
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.devbroker import config
from app.devbroker.config import DevBrokerError

_LOCK_WITHIN = 20.0  # seconds; a broker whose parent was killed needs up to 15 s to go
_POLL = 0.05  # seconds between two looks


class DataFolder:
    """A folder that Kafka runs in; its configuration names files relative to it.

    Attributes:
        path: the folder, absolute.
        log: Kafka's log file.
        console: what the JVM itself printed in the last run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "logs" / config.LOG_NAME
        self.console = path / "logs" / "console.log"
        self._storage = path / config.STORAGE
        self._log_start = 0  # bytes of the log that earlier runs wrote

    def make(self) -> None:
        """Make the folder and those in it.

        Raises:
            DevBrokerError: it can't be written.
        """
        try:
            for name in ("logs", "tmp"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"could not make Kafka's data folder: {error}. Choose another one."
            raise DevBrokerError(message) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Lock the folder against a second broker; yield the descriptor that holds the lock.

        A process that inherits the descriptor keeps the lock: so the folder is free when the broker has ended, which
        may be a little after the process that started it was killed.

        Raises:
            DevBrokerError: another broker has it, and still had it after 20 s.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + _LOCK_WITHIN
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    message = f"another Kafka is using {self.path}. Stop that, or choose another data folder."
                    raise DevBrokerError(message)
                time.sleep(_POLL)
            yield descriptor
        finally:
            os.close(descriptor)

    def prepare_run(
        self, port: int, overrides: Mapping[str, str | int], listeners: Sequence[config.Listener] = ()
    ) -> None:
        """Write the files that Kafka reads, and note where the log of the coming run begins.

        Args:
            port: TCP port for clients.
            overrides: Kafka broker settings that win over ours.
            listeners: further ports for clients.
        """
        # The controller's port is nobody else's business: a free one at each start.
        properties = config.server_properties(port, config.free_port(), overrides, listeners)
        (self.path / "server.properties").write_text(properties, encoding="utf-8")
        (self.path / "log4j2.properties").write_text(config.LOG4J, encoding="utf-8")
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def format_once(self, java: list[str], *, timeout: float, options: Sequence[str] = ()) -> None:
        """Let Kafka's own tool make its storage if there is none yet.

        It is made beside its place and renamed when complete, so that half of one is never taken for a storage.

        Args:
            java: the command up to the main class.
            timeout: seconds it may take.
            options: more of the tool's options, such as the first users.

        Raises:
            DevBrokerError: the tool failed; the message has what it said.
        """
        if self._storage.exists():
            return
        unfinished = self._storage.with_name("storage.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        settings = (self.path / "server.properties").read_text(encoding="utf-8")
        # The last of two lines with the same key counts.
        (self.path / "format.properties").write_text(f"{settings}log.dirs={unfinished.name}\n", encoding="utf-8")
        # As Kafka writes ids: 16 bytes in URL-safe base64. It takes none that begins with "-" for a value of its -t.
        cluster = base64.urlsafe_b64encode(b"\x01" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", "format.properties", *options]
        try:
            subprocess.run(tool, cwd=self.path, capture_output=True, text=True, timeout=timeout, check=True)  # noqa: S603
        except subprocess.CalledProcessError as error:
            message = f"Kafka could not format its storage in {self.path}:\n{error.stdout}{error.stderr}".rstrip()
            raise DevBrokerError(message) from error
        except subprocess.TimeoutExpired as error:
            message = f"Kafka did not format its storage in {self.path} within {timeout:g} s."
            raise DevBrokerError(message) from error
        unfinished.rename(self._storage)

    def cluster_id(self) -> str:
        """Return the id that the storage was formatted with.

        Raises:
            DevBrokerError: the storage is not Kafka's.
        """
        file = self._storage / "meta.properties"
        with contextlib.suppress(FileNotFoundError):
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith("cluster.id="):
                    return line.removeprefix("cluster.id=").strip()
        message = (
            f"{file} does not name a cluster: this is no storage of Kafka's. Remove the folder, or choose another one."
        )
        raise DevBrokerError(message)

    def log_tail(self, lines: int) -> str:
        """Return the last lines that the JVM printed and Kafka logged in this run, each under the name of its file."""
        text: list[str] = []
        for path, start in ((self.console, 0), (self.log, self._log_start)):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                # A file that is shorter now was begun anew at its largest size (config.LOG4J).
                file.seek(start if start <= path.stat().st_size else 0)
                tail = [line.decode(errors="replace") for line in deque(file, maxlen=lines)]
                text += [f"{path}:\n", *(f"  {line}" for line in tail)] if tail else []
        return "".join(text).rstrip()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
