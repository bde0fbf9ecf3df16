"""A worker in memory: the pipeline of the real one, on a broker in memory and a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import partial

from app.callbacks.loading import UserFunctions
from app.kafka.delivery import Fetched, Intake
from app.kafka.offset_ledger import OffsetLedger
from app.messages.message import Clock, Delivery, InMessage, OutMessage
from app.observability.tracing import Traces
from app.pipeline.aggregation.aggregator import TICK_SECONDS
from app.pipeline.build import agents_of, build_pipeline
from app.pipeline.ports import Backend
from app.settings import Settings
from app.testing.broker import MemoryBroker
from app.testing.state import MemoryTables

__all__ = ["CrashPoint", "MemoryWorker", "WorkerKilledError"]


GENERATION = 1  # of a group that never changes


class WorkerKilledError(Exception):
    """What code of a worker that is dead gets to see when it wants to send; nothing of it matters any more."""


@dataclass(slots=True)
class CrashPoint:
    """Where a worker dies: right before the first message of which `predicate` is true.

    Kafka keeps order within a partition only. So with `unordered` the messages of the same send that go to other
    partitions get through, though they stand behind the one that doesn't.
    """

    predicate: Callable[[OutMessage], bool]
    unordered: bool = False


class _Life:
    """Whether the worker lives: shared by all of its parts."""

    def __init__(self, on_end: Callable[[BaseException | None], None]) -> None:
        self.over = False
        self._on_end = on_end

    def end(self, error: BaseException | None = None) -> None:
        """The worker dies now, of a crash that a test wanted, or of a bug."""
        if not self.over:
            self.over = True
            self._on_end(error)


class _Sender:
    """Appends to the topics in memory, and dies where a test wants it."""

    def __init__(self, broker: MemoryBroker, life: _Life, crash: CrashPoint | None) -> None:
        self._broker = broker
        self._life = life
        self.crash = crash

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Append the messages in this order; returns their offsets."""
        if not messages:
            return []
        offsets = []
        for index, message in enumerate(messages):
            self._check()
            if self.crash is not None and self.crash.predicate(message):
                if self.crash.unordered:
                    self._append_elsewhere(messages[index + 1 :], message)
                self._life.end()
                self._check()
            offsets.append(self._broker.append(message).offset)
        await asyncio.sleep(0)  # a broker's answer takes its time, and others get their turn
        self._check()
        return offsets

    def _append_elsewhere(self, messages: Iterable[OutMessage], lost: OutMessage) -> None:
        for message in messages:
            if (message.topic, message.partition) != (lost.topic, lost.partition):
                self._broker.append(message)

    def _check(self) -> None:
        if self._life.over:
            message = "the worker has been killed"
            raise WorkerKilledError(message)


class _Reader:
    """Reads one topic from the committed offsets on, and commits what is acknowledged without a hole."""

    def __init__(self, topic: str, broker: MemoryBroker, life: _Life) -> None:
        self._topic = topic
        self._broker = broker
        self._life = life
        self._ledger: OffsetLedger[int] = OffsetLedger()
        self._first = {number: broker.committed.get((topic, number), 0) for number in range(broker.partitions(topic))}
        for number, offset in self._first.items():
            self._ledger.rebase(number, offset)
        self._appended = asyncio.Event()
        broker.subscribe(topic, self._appended.set)

    async def stream(self) -> AsyncIterator[Sequence[Fetched]]:
        """The messages that are there, and then those that come."""
        position = 0
        while True:
            self._appended.clear()
            start, position = position, self._broker.end(self._topic)
            for message in self._broker.read(self._topic, start, position, self._first):
                yield [Fetched([Delivery(message, partial(self._acknowledge, message))], GENERATION)]
            await self._appended.wait()

    def _acknowledge(self, message: InMessage) -> None:
        partition = message.partition
        self._ledger.done(partition, message.offset)
        committable = self._ledger.committable(partition)
        if committable is not None and not self._life.over:
            self._broker.committed[self._topic, partition] = committable


class MemoryWorker:
    """One worker that owns every partition. It lives on one loop, and dies with it."""

    def __init__(
        self,
        settings: Settings,
        functions: UserFunctions,
        *,
        broker: MemoryBroker,
        clock: Clock,
        crash: CrashPoint | None,
        on_end: Callable[[BaseException | None], None],
        traces: Traces,
    ) -> None:
        """A worker that is not started.

        Args:
            settings: what is obeyed.
            functions: the user's own.
            broker: the topics that it reads and sends to.
            clock: Unix seconds.
            crash: where it is to die.
            on_end: called when it dies, with the error if that is a bug.
            traces: outlive it.
        """
        self._settings = settings
        self._broker = broker
        self._life = _Life(on_end)
        self._sender = _Sender(broker, self._life, crash)
        self.pipeline = build_pipeline(
            settings,
            functions,
            Backend(
                self._sender,
                MemoryTables(settings.app_id, broker, self._sender),
                find_outputs=broker.find_outputs,
                find_sources=broker.find_sources,
                output_partitions=broker.partitions(settings.output_topic),
            ),
            clock=clock,
            on_error=self._life.end,
            traces=traces,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._intakes: list[Intake] = []

    @property
    def crash(self) -> CrashPoint | None:
        """Where the worker is to die."""
        return self._sender.crash

    @crash.setter
    def crash(self, crash: CrashPoint | None) -> None:
        self._sender.crash = crash

    @property
    def alive(self) -> bool:
        """Whether it has neither crashed nor been stopped."""
        return not self._life.over

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, when the loop runs."""
        self._keep(loop.create_task(self._start()))

    async def _start(self) -> None:
        """Recover, and begin to read."""
        settings, pipeline = self._settings, self.pipeline
        await pipeline.start()
        pipeline.aggregator.recover(range(settings.partitions))
        for agent in agents_of(settings):
            intake = Intake(agent.handler(pipeline), self._is_current, self._life.end)
            self._intakes.append(intake)
            for topic in agent.topics:
                stream = _Reader(topic, self._broker, self._life).stream()
                self._keep(asyncio.get_running_loop().create_task(intake.feed(stream)))
        self._keep(asyncio.get_running_loop().create_task(self._tick()))

    async def stop(self) -> None:
        """Give everything up, unacknowledged; nothing that is still under way has any effect."""
        self._life.over = True
        self._broker.unsubscribe_all()
        for task in self._tasks:
            task.cancel()
        for intake in self._intakes:
            await intake.cancel(0.0)
        await self.pipeline.stop()

    def worker_calls(self) -> Set[object]:
        """The calls of the user's functions that run in threads or processes now."""
        calls = self.pipeline.stations.runner.executor.calls
        return calls.union(*(handler.threads.calls for handler in self.pipeline.handlers))

    def _is_current(self, fetched: Fetched) -> bool:  # noqa: ARG002 - there is no other worker that could own it
        return self.alive

    def _keep(self, task: asyncio.Task[None]) -> None:
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._life.end(error)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.pipeline.aggregator.tick()
