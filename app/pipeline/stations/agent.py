"""The station agent: station events go in, the user's callback runs for each, outcomes go to the batches' log."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter

from app.callbacks.batch_runner import BatchCallbackRunner
from app.callbacks.handlers import StationResultHandler
from app.callbacks.loading import UserFunctions
from app.callbacks.missed_keys import with_columns
from app.callbacks.outcome import EMPTY, Outcome, failed
from app.callbacks.runner import CallbackRunner, ModuleInput, Reports, make_executor
from app.callbacks.scheduler import Call
from app.inputs.aligner import LISTS, Aligner, aligner_of
from app.inputs.alignment import Alignment
from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS
from app.inputs.guns import AlignmentError
from app.inputs.layouts import Columns
from app.inputs.timestamps import are_seconds, record_moment
from app.inputs.topic_columns import TopicColumns
from app.messages.frames import FrameError, StationFrame, StationGroup, decode_stations
from app.messages.message import Clock, Delivery, newer
from app.messages.partitioner import Partitioner
from app.messages.start_note import mark_of
from app.observability.batch_log import CallbackLog
from app.observability.counters import ContextSize
from app.pipeline.dead_letters import DeadLetters, failure_letter
from app.pipeline.ports import Backend, ConfirmingSender, Telemetry
from app.pipeline.splitting.flow_control import FramesInFlight, Load, Pace
from app.pipeline.stations.batch_group import BatchGroup, BatchStation, FrameInProgress, StationCall, together
from app.pipeline.stations.context import KnownContext, StationContext
from app.pipeline.stations.outcomes import OutcomeGatherer
from app.pipeline.stations.passthrough import PassThrough, SingleStation
from app.pipeline.stations.suspects import Suspects
from app.settings import Settings
from tables.context import Record
from tables.model.enums import Code
from tables.storage.checks import NewerFormatError

MAX_STATIONS = 20_000  # station events taken in and not stored yet, at most
MAX_BYTES = 64 * 1024 * 1024
ORDERED_STATIONS = 8_000  # that are put in order together, about: what the splitter stores at once, twice


class SubmissionOrder:
    """Groups of station events from the frames of several partitions, in the order in which their messages were split.

    A batch's stations are spread over all partitions. Taken one partition after the other, every batch of a backlog
    would wait for the last partition; in this order the oldest is complete first, and its outcomes travel together.
    The groups of one partition keep their order whatever the clocks of the splitters say, and so do a station's calls.
    """

    def __init__(self) -> None:
        self.stations = 0
        self._groups: list[tuple[float, StationGroup, FrameInProgress]] = []
        self._latest: dict[int, float] = {}

    def add(self, partition: int, groups: Iterable[StationGroup], frame: FrameInProgress) -> None:
        """Add the groups of a frame, behind those that the partition has here already."""
        latest = self._latest.get(partition, -math.inf)
        for group in groups:
            latest = max(latest, group.opened_at)
            self._groups.append((latest, group, frame))
            self.stations += group.count
        self._latest[partition] = latest

    def take(self) -> list[tuple[float, StationGroup, FrameInProgress]]:
        """Take all groups in order, each with its sort key and its frame; nothing is left."""
        groups = sorted(self._groups, key=itemgetter(0))
        self.stations = 0
        self._groups.clear()
        self._latest.clear()
        return groups


def _not_taken(error: Exception) -> Outcome:
    """Return the outcome of a station whose outcome could not be handed on."""
    bug = RuntimeError(f"the outcome could not be taken, which is a bug: {failed(error).value}")
    bug.__cause__ = error
    return failed(bug)


class StationAgent:
    """Feeds the callback runner and hands its outcomes on. One per worker, over all partitions that it owns.

    Attributes:
        runner: runs the callbacks.
        in_flight: frames on their way here from this worker's splitter.
        settled: outcomes since the start: what moves while a frame is not done yet.
        stored_singles: stored outcomes of stations that pass through, since the start.
        aligner: makes the columns of callbacks' inputs.
        times: when the callbacks of the latest batches ran here.
    """

    def __init__(
        self,
        settings: Settings,
        functions: UserFunctions,
        backend: Backend,
        *,
        partitioner: Partitioner,
        handler: StationResultHandler | None,
        telemetry: Telemetry,
        clock: Clock,
        on_error: Callable[[BaseException], None],
    ) -> None:
        """An agent whose runner is not started. `handler` gets the results of stations that pass through.

        Raises:
            FunctionError: the callback can't be run as the settings ask.
        """
        log = CallbackLog(logging.getLogger("app.callbacks"), settings.log_language, functions.name, clock)
        largest = backend.largest_result(settings)
        kind = BatchCallbackRunner if functions.many else CallbackRunner
        self.runner: CallbackRunner[BatchStation | SingleStation] = kind(
            make_executor(settings, functions, max_result_bytes=largest, on_death=log.process_died),
            settings,
            module_input=self._module_input,
            on_outcome=self._on_outcome,
            on_error=on_error,
            clock=clock,
            max_result_bytes=largest,
            reports=Reports(telemetry.statistics.callback, log.not_asked, telemetry.statistics.callbacks),
        )
        self.times = telemetry.statistics.times
        self._notes = backend.notes
        self._suspects = Suspects(backend.notes, submit=self.runner.submit, fail=self._on_outcome, clock=clock)
        self.in_flight = FramesInFlight()
        self.settled = 0
        self.stored_singles = 0
        self._gatherer = OutcomeGatherer(
            settings.batch_events_topic,
            sender=backend.sender,
            clock=clock,
            busy=self._more_is_coming,
            idle=self._nothing_is_left,
            on_error=on_error,
        )
        self._refused = ConfirmingSender(backend.sender.send, on_error)
        self._passthrough = PassThrough(settings, backend, handler=handler, on_error=on_error)
        self._on_error = on_error
        statistics = telemetry.statistics
        self._context = StationContext(
            settings, backend, partitioner=partitioner, statistics=statistics, clock=clock, on_error=on_error
        )
        self.aligner = aligner_of(settings.input)
        self._has_context = bool(settings.context_topics)
        self._alignment = Alignment(settings.timezone, settings.fill, settings.window_step, settings.window_size)
        self._passthrough_topics = frozenset(settings.passthrough_topics)
        self._partition_of = partitioner
        self._sender = backend.sender
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._traces = telemetry.traces
        self._clock = clock
        self._frames: dict[tuple[int, int], FrameInProgress] = {}  # by partition and offset
        self._stations = 0
        self._bytes = 0
        self._statistics = statistics
        self._pace = Pace(self.runner.places)
        self._room = asyncio.Event()
        self._room.set()

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Take in frames and start their callbacks; each is acknowledged when all that comes of it is stored.

        Returns when there is room for more, not when these are done.
        """
        order = SubmissionOrder()
        for delivery in deliveries:
            message = delivery.message
            try:
                content = decode_stations(message.value)
            except NewerFormatError as error:
                raise newer(message, error) from error
            except FrameError as error:
                await self._sender.send([self._dead_letters.of_message(message, str(error))])
                content = StationFrame((), ())
            if not self._room.is_set() or order.stations >= ORDERED_STATIONS:
                self._submit(order)
                await self._room.wait()
            self.in_flight.taken(message.partition, message.offset)
            count = sum([group.count for group in content.groups])
            if not count and not content.context:
                delivery.ack()
                continue
            frame = FrameInProgress(delivery, count + bool(content.context), self._finish)
            self._frames[message.partition, message.offset] = frame
            self._grow(count, message.size)
            suspicion = self._notes.suspicion(message.partition, message.offset)
            if content.context or suspicion is not None:
                self._submit(order)
            if content.context:
                await self._context.apply(message.partition, content.context, frame.stored)
            if suspicion is None:
                order.add(message.partition, content.groups, frame)
                continue
            calls = [(group.source, call) for group in content.groups for call in self._calls(group, frame)]
            marked = [(mark_of(source, call.station_id), call) for source, call in calls]
            await self._suspects.run(message.partition, suspicion, marked)
        self._submit(order)

    def _submit(self, order: SubmissionOrder) -> None:
        runner = self.runner
        takes_groups = runner.takes_groups
        for parts in together([(group, frame) for _, group, frame in order.take()]):
            group = parts[0][0]
            if takes_groups and group.trace is None and group.batch_id is not None and group.deadline is not None:
                partition = self._partition_of(group.batch_id)
                runner.submit_group(BatchGroup(self, group.batch_id, group.deadline, partition, parts))
                continue
            for part in parts:
                for call in self._calls(*part):
                    runner.submit(call)

    def _calls(self, group: StationGroup, frame: FrameInProgress) -> list[StationCall]:
        """Make the calls of a group's stations, none where they can't be read."""
        batch_id, deadline = group.batch_id, group.deadline
        if batch_id is None:
            return self._single_calls(group, frame)
        partition = self._partition_of(batch_id)
        return [
            Call(station_id, deadline, BatchStation(group, batch_id, records, frame, partition))
            for station_id, records in self.stations_of(group, frame)
        ]

    def _single_calls(self, group: StationGroup, frame: FrameInProgress) -> list[StationCall]:
        def stored() -> None:
            self.stored_singles += 1
            self._stations -= 1
            self._shrink()
            frame.stored()

        return [
            Call(station_id, None, SingleStation(station_id, group, records, stored), bare=True)
            for station_id, records in self.stations_of(group, frame)
        ]

    def stations_of(self, group: StationGroup, frame: FrameInProgress) -> Sequence[tuple[str, list[Record]]]:
        """Return stations and their records; none where they can't be read.

        Then a dead letter is made of their frame's message, one for all of its groups, and they are counted as settled.
        """
        try:
            return group.stations
        except FrameError as error:
            self.settled += group.count
            self._stations -= group.count
            self._shrink()
            letters = [] if frame.refused else [self._dead_letters.of_message(frame.delivery.message, str(error))]
            frame.refused = True
            self._refused.add(letters, partial(frame.stored, group.count))
            return ()

    async def cancel(self) -> None:
        """Stop everything that is in flight, unacknowledged: the partitions are being taken away."""
        await self.runner.cancel_all()
        await asyncio.gather(
            self._gatherer.cancel(), self._refused.cancel(), self._passthrough.cancel(), self._context.cancel()
        )
        self.in_flight.clear()
        self._pace = Pace(self.runner.places)
        self._suspects.clear()
        self._stations = self._bytes = 0
        self._frames.clear()
        self._room.set()

    @property
    def unsettled(self) -> int:
        """Stations that have been taken in, and whose outcome has not come, or not been stored if they pass through."""
        return self._stations

    def left(self, partition: int, offset: int) -> int | None:
        """Return for how many outcomes the frame at that offset still waits; None if it is not in progress."""
        frame = self._frames.get((partition, offset))
        return None if frame is None else frame.left

    def _more_is_coming(self) -> bool:
        """Return whether callbacks wait for their turn, or frames are on their way here."""
        return self.runner.upcoming is not None or self.in_flight.age(self._clock()) > 0

    def _nothing_is_left(self) -> bool:
        """Return whether no call is left, running or waiting, and no frame is on its way here."""
        return not self.runner.pending and not self.in_flight.are_expected(self._clock())

    def _grow(self, stations: int, size: int) -> None:
        self._stations += stations
        self._bytes += size
        if self._stations >= MAX_STATIONS or self._bytes >= MAX_BYTES:
            self._room.clear()

    def _shrink(self) -> None:
        if self._stations < MAX_STATIONS // 2 and self._bytes < MAX_BYTES:
            self._room.set()

    def _finish(self, delivery: Delivery) -> None:
        message = delivery.message
        self._frames.pop((message.partition, message.offset), None)
        self._bytes -= message.size
        self._shrink()
        delivery.ack()

    def load(self, lag: float) -> Load:
        """Return what callbacks have to do now, and their pace, of which skipped stations are no part."""
        now, runner, statistics = self._clock(), self.runner, self._statistics
        arriving, placed = self.in_flight.stations(now), runner.placed
        pending = runner.pending + arriving
        ended = statistics.callback_durations.count, statistics.callback_seconds
        self._pace.look(pending, pending - placed, ended, now)
        ahead = placed + runner.ready + arriving
        return Load(pending, ahead, arriving, runner.places, self._pace.rate, self._pace.duration, lag)

    def context_of(self, station_id: str, aligner: Aligner = LISTS) -> dict[str, Columns | AlignmentError]:
        """Return what is known of a station on the context topics, as its callback would get it, by default as lists.

        An error stands where a topic's records can't be aligned; the callback gets no context then.
        """
        return self._context.each(self._context.known(station_id), aligner) if self._has_context else {}

    def context_sizes(self, partitions: Iterable[int]) -> Mapping[str, ContextSize]:
        """Return what is known of each context topic in these partitions."""
        return self._context.sizes(partitions)

    def queued(self, station_id: str) -> int:
        """Return how many calls a station has that have no outcome yet."""
        return self.runner.queued(station_id)

    def lasting(self, seconds: float) -> set[str]:
        """Return the stations whose call has run for longer than that."""
        return self.runner.lasting(seconds)

    def _module_input(self, call: StationCall) -> ModuleInput:
        """Make the input of a call, of what is known now; once more, where it has failed and did not find a column."""
        job = call.context
        if job.group.trace is not None and job.started is None:
            job.started = self._traces.now()
        known = self._known(job.group, call.station_id, job.records) if self._has_context else ()
        if isinstance(job, SingleStation) and self._passthrough.has_handler:
            job.module_input = partial(self._columns, job.group, job.records, known)
        return self._columns(job.group, job.records, known)

    def _columns(self, group: StationGroup, records: Sequence[Record], known: Sequence[KnownContext]) -> ModuleInput:
        """Make an input for one call of one function, which may edit it: nothing in it is anybody else's."""
        topic, settings, id_keys, latest = self._about(group)
        module_input = TopicColumns()
        module_input[topic] = self.aligner.records(records, settings, id_keys=id_keys, latest=latest)
        if self._has_context:
            module_input |= self._context.columns(known, self.aligner)
        return module_input

    def _known(self, group: StationGroup, station_id: str, records: Sequence[Record]) -> Sequence[KnownContext]:
        """Return what is known of a station, up to the time of its batch where a window ends with that."""
        until = self._time_of(group, records) if self._context.wants_time else None
        return self._context.known(station_id, until)

    def _time_of(self, group: StationGroup, records: Sequence[Record]) -> int:
        """Return the own time of a batch (Unix seconds): that in its id.

        Where an id has none it is the station's latest time, and without that the time of the splitting. A header may
        have given the id, with a number that is no time: one in a row, a date.
        """
        name, _, seconds = (group.batch_id or "").rpartition("_")
        if name == group.source.topic and seconds.isdecimal() and are_seconds(int(seconds)):
            return int(seconds)
        _, alignment, _, latest = self._about(group)
        moments = [record_moment(record, alignment.timezone, latest) for record in records]
        times = [moment.seconds for moment in moments if moment is not None]
        return math.floor(max(times, default=group.opened_at))

    def _about(self, group: StationGroup) -> tuple[str, Alignment, Sequence[str], float]:
        """Return the topic of a group, and what its records are aligned with."""
        topic = group.source.topic
        id_keys = CONTEXT_ID_KEYS if topic in self._passthrough_topics else STATION_ID_KEYS
        return topic, self._alignment, id_keys, math.inf if group.latest is None else group.latest

    def inputs_of(self, group: StationGroup) -> Callable[[str, Sequence[Record]], ModuleInput]:
        """Return what makes the inputs of callbacks of stations of the group."""
        topic, settings, id_keys, latest = self._about(group)
        align = self.aligner.records
        if self._has_context:
            return lambda station_id, records: self._columns(group, records, self._known(group, station_id, records))

        def columns(_: str, records: Sequence[Record]) -> ModuleInput:
            module_input = TopicColumns()
            module_input[topic] = align(records, settings, id_keys=id_keys, latest=latest)
            return module_input

        return columns

    def take_results(self, group: BatchGroup, first: int, values: Sequence[str | None], times: Sequence[float]) -> None:
        """Take results of stations in a row, whatever goes wrong: one by one if they can't be taken together."""
        count = len(values)
        try:
            stations, stored = group.stations[first : first + count], list(group.stored(first, count))
            taken = self._gatherer.add_results(
                group.partition, group.batch_id, group.shared.source, stations, values, stored=stored
            )
        except Exception:  # noqa: BLE001 - one by one, what is wrong fails its station alone
            taken = False
        if taken:
            self.times.add(group.batch_id, stations, times, self._clock())
            self.settled += count
            self._stations -= count
            self._shrink()
            return
        for index, value in enumerate(values, first):
            call, end = group.call(index), index - first + 1
            call.seconds = times[end] - times[end - 1]
            self._on_outcome(call, EMPTY if value is None else Outcome(Code.RESULT, value))

    def _on_outcome(self, call: StationCall, outcome: Outcome) -> None:
        """Take an outcome, whatever goes wrong: an event whose outcome is lost could never be acknowledged."""
        self.settled += 1
        if self._suspects.begun:
            self._suspects.ended(call)
        if outcome.code == Code.FAILED:
            outcome = with_columns(outcome, partial(self._module_input, call))
        try:
            self._take(call, outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, it fails this station alone
            outcome = _not_taken(error)
            try:
                self._take(call, outcome)
            except Exception as second:  # noqa: BLE001 - then nothing may be acknowledged
                self._on_error(second)
                return
        if call.context.group.trace is not None:
            self._trace(call, outcome, call.context.group.trace)

    def _trace(self, call: StationCall, outcome: Outcome, trace: str) -> None:
        """Make the span of a call. That it can't be made is no failure of the station's."""
        try:
            if self._traces.wants(trace):
                started = self._traces.now() if call.context.started is None else call.context.started
                self._traces.station(trace, call.station_id, outcome.code, outcome.value, started)
        except Exception as error:  # noqa: BLE001 - as above
            about = {"message": f"the span of station {call.station_id} could not be made", "exception": error}
            asyncio.get_running_loop().call_exception_handler(about)

    def _take(self, call: StationCall, outcome: Outcome) -> None:
        """Hand an outcome on; if this raises, nothing of it has been handed on."""
        job = call.context
        if isinstance(job, SingleStation):
            self._passthrough.take(job, outcome)
            return
        if call.seconds is not None:
            self.times.add(job.batch_id, (call.station_id,), (0.0, call.seconds), self._clock())
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
