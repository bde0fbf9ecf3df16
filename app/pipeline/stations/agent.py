"""The station agent: station events go in, the user's callback runs for each, outcomes go to the batches' log."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Container, Sequence
from functools import partial

from app.callbacks.outcome import Outcome
from app.callbacks.runner import Call, CallbackRunner, ModuleInput
from app.inputs.alignment import Alignment, align
from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS
from app.messages.frames import FrameError, StationFrame, StationGroup, decode_stations
from app.messages.message import Clock, Delivery, InMessage, Sender
from app.messages.partitioner import Partitioner
from app.observability.tracing import Traces
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.failure_letters import failure_letter
from app.pipeline.splitting.backlog import Backlog, Pace
from app.pipeline.splitting.transit import Transit
from app.pipeline.stations.context import StationContext
from app.pipeline.stations.outcomes import OutcomeGatherer
from app.pipeline.stations.passthrough import PassThrough, SingleStation
from app.pipeline.stations.turns import Turns
from tables.context import Record
from tables.model.enums import Code
from tables.model.fast_dataclass import fast_dataclass

__all__ = ["StationAgent"]

MAX_STATIONS = 20_000  # station events taken in and not stored yet, at most
MAX_BYTES = 64 * 1024 * 1024
TURNS_STATIONS = 8_000  # whose order is made out together, about: what the splitter stores at once, twice


class _Frame:
    """A frame that has been taken in: acknowledged when its context and the outcome of its last station are stored."""

    __slots__ = ("_done", "_left")

    def __init__(self, left: int, done: Callable[[], None]) -> None:
        self._left = left
        self._done = done

    def stored(self) -> None:
        """One more of its outcomes is stored, or its context."""
        self._left -= 1
        if not self._left:
            self._done()


@fast_dataclass(slots=True, eq=False)
class _Job:
    """What a call needs to know about where it comes from. `started` is set only where it is traced."""

    group: StationGroup
    batch_id: str
    records: list[Record]
    frame: _Frame
    batch_partition: int
    started: float | None = None


class StationAgent:
    """Feeds the callback runner and hands its outcomes on. One per worker, over all partitions that it owns."""

    def __init__(
        self,
        *,
        make_runner: Callable[[Callable[[Call], ModuleInput], Callable[[Call, Outcome], None]], CallbackRunner],
        gatherer: OutcomeGatherer,
        alignment: Alignment,
        partitioner: Partitioner,
        sender: Sender,
        dead_letters: DeadLetters,
        passthrough: PassThrough,
        passthrough_topics: Container[str],
        context: StationContext,
        traces: Traces,
        transit: Transit,
        clock: Clock,
    ) -> None:
        self.runner = make_runner(self._module_input, self._on_outcome)
        self._gatherer = gatherer
        self._alignment = alignment
        self._partition_of = partitioner
        self._sender = sender
        self._dead_letters = dead_letters
        self._passthrough = passthrough
        self._passthrough_topics = passthrough_topics
        self._context = context
        self._traces = traces
        self._transit = transit
        self._clock = clock
        self._stations = 0
        self._bytes = 0
        # Seconds from the splitting of a message to its callback: the least of all that began since the last look.
        self._waited = math.inf
        self._backlog = Backlog()
        self.settled = 0  # outcomes since the start: what moves while a frame is not done yet
        self._room = asyncio.Event()
        self._room.set()

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Take in frames and start their callbacks; each is acknowledged when all that comes of it is stored.

        Returns when there is room for more, not when these are done.
        """
        turns: Turns[_Frame] = Turns()
        for delivery in deliveries:
            message = delivery.message
            content = await self._read(message)
            if not self._room.is_set() or turns.stations >= TURNS_STATIONS:
                self._submit(turns)
                await self._room.wait()
            self._transit.taken(message.partition, message.offset)
            count = sum([len(group.stations) for group in content.groups])
            if not count and not content.context:
                delivery.ack()
                continue
            frame = _Frame(count + bool(content.context), partial(self._finish, delivery))
            self._grow(count, message.size)
            if content.context:
                self._submit(turns)
                await self._context.apply(message.partition, content.context, frame.stored)
            turns.add(message.partition, content.groups, frame)
        self._submit(turns)

    async def _read(self, message: InMessage) -> StationFrame:
        try:
            return decode_stations(message.value)
        except FrameError as error:
            await self._sender.send([self._dead_letters.of_message(message, str(error))])
            return StationFrame((), ())

    def _submit(self, turns: Turns[_Frame]) -> None:
        submit = self.runner.submit
        for _, group, frame in turns.take():
            batch_id, deadline = group.batch_id, group.deadline
            if batch_id is None:
                self._submit_singles(group, frame)
                continue
            partition = self._partition_of(batch_id)
            for station_id, records in group.stations:
                submit(Call(station_id, deadline, _Job(group, batch_id, records, frame, partition)))

    def _submit_singles(self, group: StationGroup, frame: _Frame) -> None:
        def stored() -> None:
            self._stations -= 1
            self._shrink()
            frame.stored()

        for station_id, records in group.stations:
            self.runner.submit(Call(station_id, None, SingleStation(group, records, stored), bare=True))

    async def cancel(self) -> None:
        """Stop everything that is in flight, unacknowledged: the partitions are being taken away."""
        await self.runner.cancel_all()
        await asyncio.gather(self._gatherer.cancel(), self._passthrough.cancel(), self._context.cancel())
        self._transit.drop()
        self._stations = self._bytes = 0
        self._room.set()

    def _grow(self, stations: int, size: int) -> None:
        self._stations += stations
        self._bytes += size
        if self._stations >= MAX_STATIONS or self._bytes >= MAX_BYTES:
            self._room.clear()

    def _shrink(self) -> None:
        if self._stations < MAX_STATIONS // 2 and self._bytes < MAX_BYTES:
            self._room.set()

    def _finish(self, delivery: Delivery) -> None:
        self._bytes -= delivery.message.size
        self._shrink()
        delivery.ack()

    def pace(self) -> Pace:
        """The pace of the callbacks, and by how many seconds they lag behind the splitting of messages.

        The lag is the least that any has waited of those that began since the last look, or what the last in the queue
        still has to wait: whichever is more. Where there are places for all that may begin, the rest waits for calls of
        its own stations, and what has begun tells more: it lags where all stations are slow, not where one hangs.
        """
        now, runner = self._clock(), self.runner
        queued = runner.pending - runner.running + self._transit.stations(now)
        pace = self._backlog.pace(queued, self.settled, now)
        waited, self._waited = self._waited, math.inf
        if waited == math.inf:
            return pace
        return Pace(waited if runner.upcoming is None else max(waited, pace.lag), pace.rate)

    def _module_input(self, call: Call) -> ModuleInput:
        job: _Job | SingleStation = call.context
        if isinstance(job, _Job):
            self._waited = min(self._waited, self._clock() - job.group.opened_at)
        topic = job.group.source.topic
        if job.group.trace is not None and job.started is None:
            job.started = self._traces.now()
        id_keys = CONTEXT_ID_KEYS if topic in self._passthrough_topics else STATION_ID_KEYS
        module_input = {topic: align(job.records, self._alignment, id_keys=id_keys)}
        module_input |= self._context.columns(call.station_id)
        if isinstance(job, SingleStation) and self._passthrough.has_handler:
            job.module_input = module_input
        return module_input

    def _on_outcome(self, call: Call, outcome: Outcome) -> None:
        job: _Job | SingleStation = call.context
        self.settled += 1
        if job.group.trace is not None:
            self._trace(job.group.trace, call.station_id, outcome, job.started)
        if isinstance(job, SingleStation):
            self._passthrough.take(call.station_id, job, outcome)
            return
        letter = None
        if outcome.code == Code.FAILED:
            error = outcome.traceback or outcome.value or ""
            letter = failure_letter(job.group.source.topic, job.records, job.group.key, error)
        self._gatherer.add(
            job.batch_partition,
            job.batch_id,
            job.group.source,
            call.station_id,
            outcome,
            trace=job.group.trace,
            letter=letter,
            stored=job.frame.stored,
        )
        self._stations -= 1
        self._shrink()

    def _trace(self, context: str, station_id: str, outcome: Outcome, started: float | None) -> None:
        traces = self._traces
        if traces.wants(context):
            now = traces.now() if started is None else started
            traces.station(context, station_id, outcome.code, outcome.value, now)
