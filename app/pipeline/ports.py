"""Ports of the pipeline: the backend that carries it, what it reports to, and order for what goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.callbacks.tasks import TaskSet
from app.messages.message import InMessage, OutMessage, Sender
from app.messages.output import OUTPUT_HEADROOM, RECORD_OVERHEAD, OutputId
from app.messages.start_note import StartNote
from app.observability.batch_log import BatchLog
from app.observability.counters import Statistics
from app.observability.tracing import Traces
from app.settings import Settings
from tables.model.events import Source
from tables.storage.records import Write
from tables.storage.recovery import Records
from tables.windows import Windows

SETTLE_SECONDS = 3.0  # that work in progress gets for being stored when partitions are taken away

FindOutputs = Callable[[str, int, float], Awaitable[set[OutputId]]]
"""Topic, partition, time (Unix seconds) -> the output messages that stand there from that time on."""

FindSources = Callable[[Sequence[Source]], Awaitable[Mapping[Source, InMessage]]]
"""The source messages at these offsets, as far as they are still there."""


class StateStore(Protocol):
    """The tables: what they hold in memory, and the changelog messages that make a change durable."""

    def records(self, partition: int) -> Records:
        """Return the records of one partition."""

    def windows(self, partition: int) -> Windows:
        """Return the windows of context of one partition."""

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory; the messages are what `save` has to be given."""

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Make changes durable."""


class StartNotes(Protocol):
    """Notes beside the committed offsets of the station events; see `app.messages.start_note`."""

    def suspicion(self, partition: int, offset: int) -> StartNote | None:
        """Return the note that this start goes by at that offset; None where all is well."""

    async def write(self, partition: int, note: StartNote) -> None:
        """Put a note beside the partition's committed offset; returns when it is there."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The surroundings of the pipeline: Kafka in a worker, memory in the test driver.

    Attributes:
        sender: sends confirmed.
        store: the tables.
        notes: of what may have ended a worker.
        find_outputs: looks for outputs that a predecessor may have published.
        find_sources: reads source messages again.
        output_partitions: partitions of the output topic.
        output_limit: the largest value that the output topic takes, in bytes; None where that is not known.
    """

    sender: Sender
    store: StateStore
    notes: StartNotes
    find_outputs: FindOutputs
    find_sources: FindSources
    output_partitions: int
    output_limit: int | None = None

    def largest_result(self, settings: Settings) -> int:
        """Return the bytes that a result, a handler's payload, or a part of an output may have."""
        return min(settings.max_message_bytes, self.output_limit or settings.max_message_bytes)

    def largest_output(self, settings: Settings) -> int:
        """Return the bytes that a value of the output topic may have: a part may grow to that with its `meta`."""
        return self.output_limit or settings.max_message_bytes + OUTPUT_HEADROOM - RECORD_OVERHEAD


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Outlets for what the parts of one worker report: the batches' log lines, counters, spans."""

    log: BatchLog
    statistics: Statistics
    traces: Traces


class ConfirmingSender:
    """Sends messages in the background, in strict order, and calls back when the broker has confirmed them.

    `send` gets what has piled up and returns when it is confirmed. `on_error` gets what it raised; the callbacks of
    these messages are then never called.
    """

    def __init__(
        self, send: Callable[[Sequence[OutMessage]], Awaitable[object]], on_error: Callable[[BaseException], None]
    ) -> None:
        self._send = send
        self._messages: list[OutMessage] = []
        self._stored: list[Callable[[], None]] = []
        self._tasks = TaskSet(on_error)
        self._sending = False

    def add(self, messages: Sequence[OutMessage], stored: Callable[[], None]) -> None:
        """Send these behind all that was added before; `stored` is called when the broker has confirmed them."""
        if not self._sending:
            self._tasks.start(self._run())  # it begins when the loop has its turn
            self._sending = True
        self._messages += messages
        self._stored.append(stored)

    async def cancel(self) -> None:
        """Drop what has not been sent, and give what is in flight SETTLE_SECONDS to be confirmed."""
        self._messages, self._stored = [], []
        await self._tasks.cancel(SETTLE_SECONDS)

    async def _run(self) -> None:
        try:
            while self._stored:
                messages, self._messages = self._messages, []
                stored, self._stored = self._stored, []
                await self._send(messages)
                for callback in stored:
                    callback()
        finally:
            self._sending = False


class OneAtATime:
    """Works in the background: one piece of work at a time for each key, in order; side by side for different keys.

    `on_error` gets what a piece of work raised; the next one of its keys begins nevertheless.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._tasks = TaskSet(on_error)
        self._latest: dict[str, asyncio.Task[None]] = {}  # key -> the work that the next one waits for

    def start(self, keys: Sequence[str], work: Callable[[], Awaitable[None]]) -> None:
        """Begin when all earlier work of these keys has ended."""
        before = [self._latest[key] for key in keys if key in self._latest]
        task = self._tasks.start(self._run(keys, work, before))
        for key in keys:
            self._latest[key] = task

    async def cancel(self, grace: float = 0.0) -> None:
        """Let work end by itself within `grace` seconds, cancel the rest, and give that SETTLE_SECONDS to end."""
        await self._tasks.cancel(grace, patience=SETTLE_SECONDS)
        self._latest = {key: task for key, task in self._latest.items() if not task.done()}

    async def _run(
        self, keys: Sequence[str], work: Callable[[], Awaitable[None]], before: Sequence[asyncio.Task[None]]
    ) -> None:
        try:
            if before:
                await asyncio.wait(before)
            await work()
        finally:
            task = asyncio.current_task()
            for key in keys:
                if self._latest.get(key) is task:
                    del self._latest[key]
