"""The splitter: a source message becomes one `open` on the batch's log and station events, packed into frames.

What comes on a pass-through topic, or has no batch id, becomes station events alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from zoneinfo import ZoneInfo

from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS, BadMessage
from app.inputs.source_message import Overrides, batch_id, parse_message, read_overrides
from app.messages.dead_letters import TOO_LARGE_BYTES, Reason
from app.messages.frames import StationGroup, StationPacker, encode_group, encode_station, event_frames
from app.messages.message import Clock, Delivery, InMessage, OutMessage, Sender
from app.messages.partitioner import Partitioner
from app.messages.trace_context import station_trace
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics
from app.observability.tracing import SourceTrace, Traces
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.splitting.flow_control import OpenBatches
from app.pipeline.splitting.pacing import Pacer
from app.pipeline.splitting.transit import Transit
from tables.context import Record
from tables.model.enums import Code
from tables.model.events import Arrived, BatchEvent, FailureLetter, Open, Source
from tables.model.fast_dataclass import fast_dataclass
from tables.model.timeouts import TimeoutPolicy

__all__ = ["Splitter", "SplitterConfig"]

STATION_BYTES = 60 * 1024 * 1024  # of one station in one source message: what the internal topics take, less a frame


@fast_dataclass(frozen=True, slots=True)
class SplitterConfig:
    """What the splitter goes by. Times in seconds."""

    station_events_topic: str
    batch_events_topic: str
    passthrough_topics: frozenset[str]
    envelope_keys: tuple[str, ...]
    timezone: ZoneInfo
    max_batch_age: float


@fast_dataclass(frozen=True, slots=True)
class _Read:
    """A source message that has been read: its stations, its dead letters, and the batch that it belongs to."""

    message: InMessage
    source: Source
    letters: Sequence[OutMessage]
    overrides: Overrides
    trace: SourceTrace
    stations: dict[str, list[Record]] = field(default_factory=dict)
    batch_id: str | None = None  # None: pass-through


@fast_dataclass(frozen=True, slots=True)
class _Split:
    """A source message on its way to the station agents; pass-through where it has no `open`."""

    group: StationGroup  # its stations are below
    stations: dict[str, list[Record]]
    event: Open | None = None


@fast_dataclass(slots=True)
class _Share:
    """What messages that are stored together have been made into."""

    deliveries: list[Delivery] = field(default_factory=list)
    traces: list[SourceTrace] = field(default_factory=list)
    stations: int = 0
    letters: list[OutMessage] = field(default_factory=list)
    splits: list[_Split] = field(default_factory=list)


class Splitter:
    """Splits source messages."""

    def __init__(
        self,
        config: SplitterConfig,
        *,
        sender: Sender,
        dead_letters: DeadLetters,
        partitioner: Partitioner,
        timeouts: TimeoutPolicy,
        open_batches: OpenBatches,
        pacer: Pacer,
        transit: Transit,
        clock: Clock,
        log: BatchLog,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._config = config
        self._sender = sender
        self._dead_letters = dead_letters
        self._partition_of = partitioner
        self._timeouts = timeouts
        self._open_batches = open_batches
        self._pacer = pacer
        self._transit = transit
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._traces = traces

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Split messages in their order, and acknowledge each when all that was made of it is stored.

        A message that would open one batch too many is waited with, and what came before it is stored meanwhile.
        """
        share, most = _Share(), 0
        for delivery in deliveries:
            if not share.deliveries:
                most = await self._pacer.next_share()
            read = self._read(delivery.message)
            if self._must_wait(read):
                await self._store(share)
                share = _Share()
                await self._open_batches.room(read.batch_id or "")
            share.deliveries.append(delivery)
            share.traces.append(read.trace)
            share.letters += read.letters
            if read.stations:
                share.stations += len(read.stations)
                share.splits.append(self._split(read))
            if share.stations >= most:
                await self._store(share)
                share = _Share()
        await self._store(share)

    async def _store(self, share: _Share) -> None:
        """Send dead letters, then every `open`, and only then the station events.

        No outcome can stand in a batch's log before its `open`, because that is confirmed before the station events
        are sent.
        """
        if not share.deliveries:
            return
        frames = self._station_frames(share.splits, share.letters)
        await self._sender.send([*share.letters, *self._opens(share.splits)])
        offsets = await self._sender.send(frames)
        now = self._clock()
        for frame, offset in zip(frames, offsets, strict=True):
            if frame.topic == self._config.station_events_topic and frame.partition is not None:
                self._transit.sent(frame.partition, offset, share.stations / len(frames), now)
        self._metrics.source_messages += len(share.deliveries)
        for trace in share.traces:
            trace.end()
        for delivery in share.deliveries:
            delivery.ack()

    def _must_wait(self, read: _Read) -> bool:
        """Whether a message may open a batch for which there is no room. A replayed one opens none."""
        if read.batch_id is None or not read.stations or read.overrides.replayed:
            return False
        return not self._open_batches.has_room(read.batch_id)

    def _read(self, message: InMessage) -> _Read:
        config = self._config
        trace = self._traces.begin(message)
        source = Source(message.topic, message.partition, message.offset)
        passed_through = message.topic in config.passthrough_topics
        overrides = read_overrides(() if passed_through else message.headers, max_age=config.max_batch_age)
        try:
            batch = parse_message(
                message.value,
                topic=message.topic,
                envelope_keys=config.envelope_keys,
                timezone=config.timezone,
                id_keys=CONTEXT_ID_KEYS if passed_through else STATION_ID_KEYS,
            )
        except BadMessage as error:
            trace.failed(str(error))
            letter = self._dead_letters.of_message(
                message, str(error), batch_id=overrides.batch_id, trace=trace.context
            )
            return _Read(message, source, [letter], overrides, trace)
        for problem in overrides.problems:
            self._log.bad_header(source, problem)
        name = overrides.batch_id
        if name is None and batch.timestamp is not None and not passed_through:
            name = batch_id(message.topic, batch.timestamp)
        if not batch.stations and not batch.rejects:
            self._metrics.empty_messages += 1
            self._log.empty_message(source)
        trace.stations(name, len(batch.stations))
        letters = [
            self._dead_letters.of_record(message, reject, batch_id=name, trace=trace.context)
            for reject in batch.rejects
        ]
        return _Read(message, source, letters, overrides, trace, batch.stations, name)

    def _split(self, read: _Read) -> _Split:
        """Give its times to a message that has stations: they run from here, however long it has waited for room."""
        message, source, stations, name = read.message, read.source, read.stations, read.batch_id
        key, trace = message.key, read.trace.context
        self._metrics.stations_split += len(stations)
        if name is None:
            self._metrics.passthrough_stations += len(stations)
            return _Split(StationGroup(None, source, message.timestamp, None, key, (), trace), stations)
        overrides = read.overrides
        opened_at = self._clock()
        timeout = self._timeout(len(stations), opened_at) if overrides.timeout is None else overrides.timeout
        deadline = opened_at + timeout
        event = Open(
            name,
            source,
            opened_at,
            deadline,
            tuple(stations),
            overrides.replayed,
            timeout if self._timeouts.adaptive else None,
            trace,
        )
        if not overrides.replayed:
            self._open_batches.opened(name, deadline)
        return _Split(StationGroup(name, source, opened_at, deadline, key, (), trace), stations, event)

    def _timeout(self, stations: int, now: float) -> float:
        timeout = self._timeouts.seconds(stations, now)
        if self._timeouts.adaptive:
            self._log.timeout(stations, timeout)
        return timeout

    def _opens(self, splits: Sequence[_Split]) -> list[OutMessage]:
        by_partition: dict[int, list[Open]] = {}
        for split in splits:
            if split.event is not None:
                by_partition.setdefault(self._partition_of(split.event.batch_id), []).append(split.event)
        return [
            frame
            for partition, events in by_partition.items()
            for frame in event_frames(self._config.batch_events_topic, partition, events)
        ]

    def _station_frames(self, splits: Sequence[_Split], letters: list[OutMessage]) -> list[OutMessage]:
        packer = StationPacker(self._config.station_events_topic)
        refused: dict[int, list[BatchEvent]] = {}
        for split in splits:
            head = encode_group(split.group)
            for station_id, records in split.stations.items():
                station = encode_station(station_id, records)
                if len(station) <= STATION_BYTES:
                    packer.add(self._partition_of(station_id), head, station)
                    continue
                now, error = self._traces.now(), _too_large(station_id, station)
                self._traces.station(split.group.trace, station_id, Code.FAILED, error, now)
                if split.event is None:
                    letters.append(self._too_large_letter(split.group, station_id, station))
                else:
                    partition = self._partition_of(split.event.batch_id)
                    refused.setdefault(partition, []).append(
                        self._refused(split.event, split.group.key, station_id, station)
                    )
        frames = packer.take()
        for partition, events in refused.items():
            frames += event_frames(self._config.batch_events_topic, partition, events)
        return frames

    def _too_large_letter(self, group: StationGroup, station_id: str, station: bytes) -> OutMessage:
        return self._dead_letters.letter(
            Reason.TOO_LARGE,
            _too_large(station_id, station),
            value=station,
            key=group.key,
            failed_at=group.opened_at,
            source=group.source,
            station_id=station_id,
            trace=station_trace(group.trace, station_id),
        )

    @staticmethod
    def _refused(event: Open, key: bytes | None, station_id: str, station: bytes) -> Arrived:
        """A station whose records no internal message can carry has failed, before any callback."""
        error = _too_large(station_id, station)
        value = station[:TOO_LARGE_BYTES].decode(errors="ignore")
        letter = FailureLetter(value, key, error, too_large=True)
        return Arrived(
            event.batch_id, event.source, event.opened_at, [station_id], Code.FAILED, [error], {0: letter}, event.trace
        )


def _too_large(station_id: str, station: bytes) -> str:
    return (
        f"ValueError: the records of station {station_id} are {len(station)} bytes of JSON, more than the "
        f"{STATION_BYTES} that a station may have in one message"
    )
