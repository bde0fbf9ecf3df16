"""One Kafka for all processes of a run: each costs seconds of CPU to start, and runs cold for many more.

pytest-xdist's own process starts each kind when the first test anywhere asks for it, and stops them at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Final, Protocol

from app.devbroker import DevBroker, DevBrokerError
from tests.topic_creation import CREATES_TOPICS

__all__ = ["CREATING", "STRICT", "Broker", "Brokers", "SharedBroker", "ask_for_broker"]

CREATING: Final = "creating"
"""A Kafka that makes a topic when it is asked for."""
STRICT: Final = "strict"
"""One that creates no topic by itself."""
_OVERRIDES: Final[Mapping[str, Mapping[str, str]]] = {CREATING: CREATES_TOPICS, STRICT: {}}
_END: Final = "end"


class Broker(Protocol):
    """Any Kafka that tests use."""

    @property
    def data(self) -> Path:
        """The folder that it keeps everything in."""

    @property
    def bootstrap(self) -> str:
        """The address that Kafka clients take."""

    @property
    def url(self) -> str:
        """The address that Faust takes."""


@dataclass(frozen=True)
class SharedBroker:
    """A running Kafka that no test stops or kills."""

    port: int
    data: Path
    bootstrap: str
    url: str


class Brokers:
    """The brokers of a run, by kind; `address` is where other processes ask for them, None before `serve`."""

    def __init__(self) -> None:
        self.address: str | None = None
        self._stack = ExitStack()
        self._started: dict[str, SharedBroker] = {}

    def get(self, kind: str) -> SharedBroker:
        """Return the broker of a kind, started if it is the first time.

        Raises:
            DevBrokerError: it could not be started.
        """
        if kind not in self._started:
            broker = self._stack.enter_context(DevBroker(overrides=_OVERRIDES[kind]))
            self._started[kind] = SharedBroker(broker.port, broker.data, broker.bootstrap, broker.url)
        return self._started[kind]

    def serve(self) -> None:
        """Have a thread answer other processes; from now on nobody else may `get`."""
        listener = Listener()
        self.address = str(listener.address)
        thread = threading.Thread(target=self._serve, args=(listener,), name="brokers", daemon=True)
        self._stack.callback(listener.close)
        self._stack.callback(thread.join)
        self._stack.callback(_ask, self.address, _END)
        thread.start()

    def _serve(self, listener: Listener) -> None:
        while True:
            with listener.accept() as asking:
                kind = asking.recv()
                try:
                    asking.send(None if kind == _END else self.get(kind))
                except DevBrokerError as error:
                    asking.send(str(error))
            if kind == _END:
                return

    def close(self) -> None:
        """Stop what has been started."""
        self._stack.close()


def ask_for_broker(address: str, kind: str) -> SharedBroker:
    """Return the broker of a kind; it is started if it is the first time.

    Raises:
        DevBrokerError: it could not be started.
    """
    found = _ask(address, kind)
    if not isinstance(found, SharedBroker):
        raise DevBrokerError(found)
    return found


def _ask(address: str, what: str) -> object:
    with Client(address) as asking:
        asking.send(what)
        return asking.recv()
