"""The splitter: a source message becomes one `open` on the batch's log and station events, packed into frames.

What comes on a pass-through topic, or has no batch id, becomes station events alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS, BadMessage, Limits, SourceBatch, TooDeepError
from app.inputs.pieces import NotCutError, read_in_pieces
from app.inputs.source_message import Overrides, all_envelope_keys, batch_id, parse_message, read_overrides
from app.messages.dead_letters import TOO_LARGE_BYTES, Reason
from app.messages.frames import StationGroup, StationPacker, encode_group, event_frames
from app.messages.message import Clock, Delivery, InMessage, OutMessage, Sender
from app.messages.partitioner import Partitioner
from app.observability.tracing import SourceTrace
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.ports import Telemetry
from app.pipeline.splitting.flow_control import FlowControl, Load, Named
from app.pipeline.splitting.limits import TimeLimit
from app.pipeline.splitting.station_writer import (
    REJECTS_AT_ONCE,
    PieceWriter,
    Refused,
    StationWriter,
    WrittenStations,
)
from app.settings import Settings
from tables.model.enums import Code
from tables.model.events import Arrived, BatchEvent, FailureLetter, Open, Source
from tables.model.fast_dataclass import fast_dataclass
from tables.model.timeouts import TimeoutPolicy

LARGE_BYTES = 2 * 1024 * 1024  # that are read in pieces: up to this it takes less than a twentieth of a second
# Windows are read so from this size on: it takes half as long where stations have many records.
WINDOWS_BYTES = 64 * 1024
WINDOW_BYTES = 4 * 1024  # of a station

_NO_STATIONS = WrittenStations()


@fast_dataclass(slots=True, eq=False)
class _SourceMessage:
    """A source message: what has been read of it, and what it is split into where it has stations."""

    delivery: Delivery
    source: Source
    overrides: Overrides
    trace: SourceTrace
    letters: Sequence[OutMessage] = ()
    stations: WrittenStations = _NO_STATIONS
    latest: float | None = None  # see StationGroup
    batch_id: str | None = None  # None: pass-through
    group: StationGroup | None = None  # without its stations
    opening: Open | None = None


class Splitter:
    """Splits source messages."""

    def __init__(
        self,
        settings: Settings,
        *,
        sender: Sender,
        partitioner: Partitioner,
        timeouts: TimeoutPolicy,
        flow: FlowControl,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._station_events_topic = settings.station_events_topic
        self._batch_events_topic = settings.batch_events_topic
        self._passthrough_topics = frozenset(settings.passthrough_topics)
        self._envelope_keys = settings.envelope_keys
        self._timezone = settings.timezone
        self._limits = Limits(settings.max_stations, settings.max_id_length)
        self._writer = StationWriter(partitioner, settings.max_record_bytes)
        self._times = TimeLimit(settings, clock, telemetry)
        self._max_batch_age = settings.max_batch_age
        self._with_windows: dict[str, bool] = {}  # topic -> whether the stations of its last message had many records
        self._sender = sender
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._partition_of = partitioner
        self._timeouts = timeouts
        self._flow = flow
        self._open_batches = flow.open_batches
        self._clock = clock
        self._log = telemetry.log
        self._metrics = telemetry.statistics.metrics
        self._traces = telemetry.traces

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Split messages in their order, and acknowledge each when all that was made of it is stored.

        A message that would open one batch too many waits, and what came before it is stored meanwhile.
        """
        share: list[_SourceMessage] = []  # what is stored together
        named = Named()  # its stations
        load: Load | None = None  # what callbacks had to do before it
        for delivery in deliveries:
            message = await self._read(delivery)
            if ids := message.stations.ids:
                timeout = None if message.batch_id is None else self._timeout(message, self._clock())
                supplements = self._open_batches.has_opened(message.batch_id)
                if load is None or not self._flow.may_follow(load, named, ids, timeout, supplements=supplements):
                    await self._store(share)
                    share, named = [], Named()
                    load = await self._flow.turn(ids, timeout, supplements=supplements)
            if self._must_wait(message):
                await self._store(share)
                share, named, load = [], Named(), None
                await self._open_batches.room(message.batch_id or "")
            share.append(message)
            if ids:
                named.add(ids)
                self._split(message)
        await self._store(share)

    async def _store(self, share: Sequence[_SourceMessage]) -> None:
        """Send dead letters, then every `open`, and only then the station events.

        No outcome can stand in a batch's log before its `open`, because that is confirmed before the station events
        are sent.
        """
        if not share:
            return
        letters = [letter for message in share for letter in message.letters]
        frames = self._station_frames(share, letters)
        opens = self._batch_frames([message.opening for message in share if message.opening is not None])
        while len(letters) > REJECTS_AT_ONCE:  # each is logged when it is confirmed
            await self._sender.send(letters[:REJECTS_AT_ONCE])
            del letters[:REJECTS_AT_ONCE]
        await self._sender.send([*letters, *opens])
        offsets = await self._sender.send(frames)
        stations = sum([len(message.stations.ids) for message in share])
        for frame, offset in zip(frames, offsets, strict=True):
            if frame.topic == self._station_events_topic and frame.partition is not None:
                self._flow.sent(frame.partition, offset, stations / len(frames))
        self._metrics.source_messages += len(share)
        for message in share:
            message.trace.end()
        for message in share:
            message.delivery.ack()

    def _timeout(self, message: _SourceMessage, now: float) -> float:
        """Return the timeout in seconds that the batch of a message gets if it is opened now (Unix seconds)."""
        if message.overrides.timeout is not None:
            return message.overrides.timeout
        return self._timeouts.seconds(len(message.stations.ids), now)

    def _must_wait(self, message: _SourceMessage) -> bool:
        """Return whether a message would open a batch for which there is no room; a replayed one opens none."""
        if message.batch_id is None or not message.stations.ids or message.overrides.replayed:
            return False
        return not self._open_batches.has_room(message.batch_id)

    async def _read(self, delivery: Delivery) -> _SourceMessage:
        raw = delivery.message
        trace = self._traces.begin(raw)
        source = raw.source
        passes_through = raw.topic in self._passthrough_topics
        overrides = read_overrides(() if passes_through else raw.headers, max_age=self._max_batch_age)
        message = _SourceMessage(delivery, source, overrides, trace)
        latest = self._times.latest(raw)
        try:
            batch, stations = await self._stations(raw, latest)
        except BadMessage as error:
            trace.failed(str(error))
            message.letters = [
                self._dead_letters.of_message(raw, str(error), batch_id=overrides.batch_id, trace=trace.context)
            ]
            return message
        self._times.tell(raw, batch.unusable)
        for problem in overrides.problems:
            self._log.bad_header(source, problem)
        name = overrides.batch_id
        if name is None and batch.timestamp is not None and not passes_through:
            name = batch_id(raw.topic, batch.timestamp)
        if not stations.ids and not batch.rejects:
            self._metrics.empty_messages += 1
            self._log.empty_message(source)
        trace.stations(name, len(stations.ids))
        message.letters = letters = []
        for number, reject in enumerate(batch.rejects, 1):
            letters.append(self._dead_letters.of_record(raw, reject, batch_id=name, trace=trace.context))
            if number % REJECTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        message.stations, message.batch_id = stations, name
        message.latest = latest if batch.unusable.ahead else None
        return message

    async def _stations(self, raw: InMessage, latest: float) -> tuple[SourceBatch, WrittenStations]:
        """Read a message and write its stations: a large one in pieces, between which the loop has its turn."""
        batch, stations = await self._stations_by_pieces(raw, latest) or self._stations_at_once(raw, latest)
        self._with_windows[raw.topic] = raw.size > WINDOW_BYTES * len(stations.ids)
        return batch, stations

    def _stations_at_once(self, raw: InMessage, latest: float) -> tuple[SourceBatch, WrittenStations]:
        try:
            batch = self._parse(raw, latest, check_depth=False)
            return batch, self._writer.write(batch, raw.size)
        except TooDeepError:
            batch = self._parse(raw, latest, check_depth=True)
            return batch, self._writer.write(batch, raw.size)

    async def _stations_by_pieces(self, raw: InMessage, latest: float) -> tuple[SourceBatch, WrittenStations] | None:
        """Read a message in pieces; None where it is to be read at once."""
        if raw.size <= (WINDOWS_BYTES if self._with_windows.get(raw.topic) else LARGE_BYTES):
            return None
        with suppress(NotCutError, TooDeepError):
            return await self._piece_by_piece(raw, latest)
        return None

    async def _piece_by_piece(self, raw: InMessage, latest: float) -> tuple[SourceBatch, WrittenStations]:
        keys = all_envelope_keys(raw.topic, self._envelope_keys)
        id_keys = self._id_keys(raw)
        pieces = PieceWriter(self._writer, self._partition_of, self._limits.stations)
        value, limits = raw.value or b"", self._limits
        for piece in read_in_pieces(value, keys, self._timezone, id_keys, latest=latest, limits=limits):
            pieces.add(piece)
            await asyncio.sleep(0)
        for _ in pieces.settle():
            await asyncio.sleep(0)
        rest, stations = pieces.rest()
        for _ in pieces.write(stations):
            await asyncio.sleep(0)
        return rest, stations

    def _id_keys(self, raw: InMessage) -> Sequence[str]:
        return CONTEXT_ID_KEYS if raw.topic in self._passthrough_topics else STATION_ID_KEYS

    def _parse(self, raw: InMessage, latest: float, *, check_depth: bool) -> SourceBatch:
        return parse_message(
            raw.value,
            topic=raw.topic,
            envelope_keys=self._envelope_keys,
            timezone=self._timezone,
            id_keys=self._id_keys(raw),
            latest=latest,
            limits=self._limits,
            check_depth=check_depth,
        )

    def _split(self, message: _SourceMessage) -> None:
        """Give its times to a message that has stations: they run from here, however long it has waited for room."""
        raw, source, name = message.delivery.message, message.source, message.batch_id
        count = len(message.stations.ids)
        overrides, trace = message.overrides, message.trace.context
        self._metrics.stations_split += count
        if name is None:
            self._metrics.passthrough_stations += count
            for_want_of_id = raw.topic not in self._passthrough_topics
            self._log.passed_through(source, message.stations.ids, for_want_of_id=for_want_of_id)
            message.group = StationGroup(None, source, raw.timestamp, None, raw.key, (), trace, message.latest)
            return
        opened_at = self._clock()
        timeout = self._timeout(message, opened_at)
        if overrides.timeout is None and self._timeouts.adaptive:
            self._log.timeout(count, timeout)
        deadline = opened_at + timeout
        stamped = timeout if self._timeouts.adaptive else None
        expected, replayed = message.stations.ids, overrides.replayed
        message.opening = Open(name, source, opened_at, deadline, expected, replayed, stamped, trace)
        message.group = StationGroup(name, source, opened_at, deadline, raw.key, (), trace, message.latest)
        if not replayed:
            self._open_batches.opened(name, deadline)

    def _batch_frames(self, events: Iterable[BatchEvent]) -> list[OutMessage]:
        by_partition: dict[int, list[BatchEvent]] = {}
        for event in events:
            by_partition.setdefault(self._partition_of(event.batch_id), []).append(event)
        return [
            frame
            for partition, group in by_partition.items()
            for frame in event_frames(self._batch_events_topic, partition, group)
        ]

    def _station_frames(self, share: Sequence[_SourceMessage], letters: list[OutMessage]) -> list[OutMessage]:
        packer = StationPacker(self._station_events_topic)
        refused: list[BatchEvent] = []
        for message in share:
            group = message.group
            if group is None:
                continue
            head = encode_group(group)
            for partition, stations, data in message.stations.bodies:
                packer.add(partition, head, data, stations)
            message.stations.bodies.clear()  # they are in the packer's frames, or will be
            for station in message.stations.refused:
                self._traces.station(group.trace, station.station_id, Code.FAILED, station.error, self._traces.now())
                if message.opening is None:
                    letters.append(
                        self._dead_letters.of_station(
                            *(Reason.TOO_LARGE, station.error, group, station.station_id),
                            value=station.data,
                            key=group.key,
                        )
                    )
                else:
                    refused.append(_refused(message.opening, group.key, station))
        return packer.take() + self._batch_frames(refused)


def _refused(event: Open, key: bytes | None, station: Refused) -> Arrived:
    """Make the outcome of a station whose records no internal message can carry: failed, before any callback."""
    value = station.data[:TOO_LARGE_BYTES].decode(errors="ignore")
    letters = {0: FailureLetter(value, key, station.error, too_large=True)}
    stations: list[str] = [station.station_id]
    values: list[str | None] = [station.error]
    return Arrived(event.batch_id, event.source, event.opened_at, stations, Code.FAILED, values, letters, event.trace)
