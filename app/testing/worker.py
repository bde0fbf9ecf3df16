"""A worker in memory: the pipeline of the real one, on a broker in memory and a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import partial

from app.callbacks.loading import UserFunctions
from app.kafka.commit_notes import CommitNotes
from app.kafka.delivery import Fetched, Intake
from app.kafka.offset_ledger import OffsetLedger
from app.messages.message import Clock, Delivery, InMessage, OutMessage, PlaceGoneError
from app.observability.tracing import Traces
from app.pipeline.aggregation.aggregator import TICK_SECONDS
from app.pipeline.build import agents_of, build_pipeline
from app.pipeline.ports import Backend
from app.settings import Settings
from app.testing.broker import MemoryBroker, MemoryTables

GENERATION = 1  # of a group that never changes


class WorkerKilledError(Exception):
    """The worker is dead and sends nothing more. Raised into its own code, where nothing matters any more."""


@dataclass(slots=True)
class CrashPoint:
    """The point where a worker dies: right before it sends the first message of which `predicate` is true.

    Kafka keeps order within a partition only. So with `unordered` the messages of the same send that go to other
    partitions get through, though they stand behind the one that doesn't.
    """

    predicate: Callable[[OutMessage], bool]
    unordered: bool = False


class MemoryWorker:
    """One worker that owns every partition. It lives on one loop, and dies with it.

    Attributes:
        pipeline: the real one, which sends through the worker.
        alive: it has neither crashed nor been stopped.
        crash: where it is to die.
    """

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
        self._on_end = on_end
        self.alive = True
        self.crash = crash
        self._notes = CommitNotes(self._commit_again, clock)
        self.pipeline = build_pipeline(
            settings,
            functions,
            Backend(
                self,
                MemoryTables(settings, broker, self),
                self._notes,
                find_outputs=broker.find_outputs,
                find_sources=broker.find_sources,
                output_partitions=broker.partitions(settings.output_topic),
            ),
            clock=clock,
            on_error=self.end,
            traces=traces,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._intakes: list[Intake] = []

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, when the loop runs."""
        self._keep(loop.create_task(self._start()))

    async def _start(self) -> None:
        """Recover, and begin to read."""
        settings, pipeline = self._settings, self.pipeline
        await pipeline.start()
        pipeline.aggregator.recover(range(settings.partitions))
        await self._note_start()
        for agent in agents_of(settings):
            intake = Intake(agent.handler(pipeline), self._is_current, self.end)
            self._intakes.append(intake)
            for topic in agent.topics:
                stream = _TopicReader(topic, self._broker, self).stream()
                self._keep(asyncio.get_running_loop().create_task(intake.feed(stream)))
        self._keep(asyncio.get_running_loop().create_task(self._tick()))

    async def _note_start(self) -> None:
        """Note that this start has found something to do, as the consumer of a real worker does."""
        topic, broker = self._settings.station_events_topic, self._broker
        committed = {number: broker.committed.get((topic, number), 0) for number in range(self._settings.partitions)}
        ends = {number: broker.end_of(topic, number) for number in committed}
        await self._notes.begin(
            {
                number: (broker.notes.get(number, ""), ends[number])
                for number, offset in committed.items()
                if offset < ends[number]
            }
        )

    async def _commit_again(self, partitions: Iterable[int]) -> None:
        if self.alive:
            self._broker.notes |= {number: self._notes.texts.get(number, "") for number in partitions}

    async def stop(self) -> None:
        """Cancel everything in flight, unacknowledged; it has no effect any more."""
        self.alive = False
        self._broker.unsubscribe_all()
        for task in self._tasks:
            task.cancel()
        for intake in self._intakes:
            await intake.cancel(0.0)
        await self.pipeline.stop()

    def end(self, error: BaseException | None = None) -> None:
        """Die now, of a crash that a test wanted, or of a bug."""
        if self.alive:
            self.alive = False
            self._on_end(error)

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Append the messages in this order, and die where a test wants it; returns their offsets."""
        if not messages:
            return []
        offsets = []
        gone: PlaceGoneError | None = None
        for index, message in enumerate(messages):
            self._check_alive()
            if self.crash is not None and self.crash.predicate(message):
                if self.crash.unordered:
                    self._append_elsewhere(messages[index + 1 :], message)
                self.end()
                self._check_alive()
            try:
                offsets.append(self._broker.append(message).offset)
            except PlaceGoneError as error:
                gone = gone or error
                gone.counts |= error.counts
        await asyncio.sleep(0)  # a broker's answer takes its time, and others get their turn
        self._check_alive()
        if gone is not None:
            raise gone
        return offsets

    def _append_elsewhere(self, messages: Iterable[OutMessage], lost: OutMessage) -> None:
        for message in messages:
            if (message.topic, message.partition) != (lost.topic, lost.partition):
                self._broker.append(message)

    def _check_alive(self) -> None:
        if not self.alive:
            message = "the worker has been killed"
            raise WorkerKilledError(message)

    def worker_calls(self) -> Set[object]:
        """The calls of the user's functions that run in threads or processes now."""
        calls = self.pipeline.stations.runner.executor.calls
        return calls.union(*(handler.threads.calls for handler in self.pipeline.handlers))

    def commit(self, topic: str, partition: int, offset: int) -> None:
        """Commit an offset if it is progress, as Faust does, with the note of its partition."""
        if offset <= self._broker.committed.get((topic, partition), 0):
            return
        self._broker.committed[topic, partition] = offset
        if topic == self._settings.station_events_topic:
            self._broker.notes[partition] = self._notes.texts.get(partition, "")

    def _is_current(self, fetched: Fetched) -> bool:  # noqa: ARG002 - there is no other worker that could own it
        return self.alive

    def _keep(self, task: asyncio.Task[None]) -> None:
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.end(error)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.pipeline.silence.tell(self._settings.context_names)
            await self.pipeline.aggregator.tick()


class _TopicReader:
    """Reads one topic from the committed offsets on, and commits what is acknowledged without a hole."""

    def __init__(self, topic: str, broker: MemoryBroker, worker: MemoryWorker) -> None:
        self._topic = topic
        self._broker = broker
        self._worker = worker
        self._ledger: OffsetLedger[int] = OffsetLedger()
        self._first = {number: broker.committed.get((topic, number), 0) for number in range(broker.partitions(topic))}
        for number, offset in self._first.items():
            self._ledger.rebase(number, offset)
        self._appended = asyncio.Event()
        broker.subscribe(topic, self._appended.set)

    async def stream(self) -> AsyncIterator[Sequence[Fetched]]:
        """Yield the messages that are there, and then those that come."""
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
        if committable is not None and self._worker.alive:
            self._worker.commit(self._topic, partition, committable)
