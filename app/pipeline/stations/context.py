"""The context of stations: of each context topic the newest records, or a window, kept in the table `context`.

`ContextSplitter` splits a context message into an update for each station, for that station's partition: `S7` of a
weather topic goes where the events of `S7` go, what is everyone's goes to all partitions. The station agent of the
partition keeps it (`StationContext`), and adds it to the callback's input under the topic's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from app.inputs.aligner import Aligner
from app.inputs.alignment import Alignment
from app.inputs.grouping import CONTEXT_ID_KEYS, BadMessage, Limits, Reject
from app.inputs.guns import AlignmentError
from app.inputs.layouts import Columns
from app.inputs.source_message import parse_context
from app.messages.dead_letters import Reason, Subject
from app.messages.frames import StationPacker, encode_context, encode_context_head, encode_tombstone, encode_update
from app.messages.message import Clock, Delivery, InMessage, OutMessage, Sender
from app.messages.partitioner import Partitioner
from app.observability.batch_log import BatchLog
from app.observability.counters import ContextSize, Statistics
from app.observability.log_lines import Throttle
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.ports import Backend, ConfirmingSender, Telemetry
from app.pipeline.splitting.limits import TimeLimit, oversize
from app.settings import Settings
from tables.context import (
    EVERYONE,
    ContextEvent,
    ContextUpdate,
    Get,
    Place,
    apply,
    context_key,
    decode_entry,
    encode_entry,
    owner_of,
    time_in,
)
from tables.model.events import Source
from tables.storage import exact_json
from tables.storage.records import Table, UnreadableRecordError, Write
from tables.storage.window import Content
from tables.windows import Windows

Making = Callable[[Aligner], Columns]
KnownContext = tuple[str, Making]
"""A context topic, and what makes its columns, anew each time."""
NO_TIME = "no usable time, and its message has none: it has no place in the window of AGG_CONTEXT_TOPICS"
NO_KEY = ", and no key that says what it deletes"
_SILENT_SECONDS = 60.0  # at least, between two lines about one topic


class ContextSplitter:
    """Splits context messages. It reads beside the splitter of source messages: context never waits for batches."""

    def __init__(
        self, settings: Settings, *, sender: Sender, partitioner: Partitioner, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._station_events_topic = settings.station_events_topic
        self._envelope_keys = settings.envelope_keys
        self._timezone = settings.timezone
        self._windows = frozenset(settings.context_windows)
        self._most = settings.context_max_bytes
        self._limits = Limits(settings.max_stations, settings.max_id_length)
        self._max_record_bytes = settings.max_record_bytes
        self._times = TimeLimit(settings, clock, telemetry)
        self._clock = clock
        self._sender = sender
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._partition_of = partitioner
        self._log = telemetry.log
        self._metrics = telemetry.statistics.metrics
        self._heard = telemetry.statistics.context_heard

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Split messages in their order, and acknowledge them when all that was made of them is stored."""
        letters: list[OutMessage] = []
        packer = StationPacker(self._station_events_topic, encode_context)
        for delivery in deliveries:
            message = delivery.message
            self._heard[message.topic] = self._clock()
            if message.value is None and message.key is not None:
                self._delete(message, message.key, packer)
            else:
                self._split(message, packer, letters)
        await self._sender.send([*letters, *packer.take()])
        self._metrics.context_messages += len(deliveries)
        for delivery in deliveries:
            delivery.ack()

    def _delete(self, message: InMessage, key: bytes, packer: StationPacker) -> None:
        """Send a tombstone to every partition: what is everyone's may have come with this key."""
        head = encode_context_head(message.topic, Place(message.partition, message.offset, message.timestamp), key)
        try:
            station_id = key.decode()
        except UnicodeDecodeError:  # no station's id, though it may be the key of what is everyone's
            station_id = ""
        own = self._partition_of(station_id) if station_id else None
        for partition in range(self._partition_of.partitions):
            packer.add(partition, head, encode_tombstone(station_id if partition == own else None))

    def _split(self, message: InMessage, packer: StationPacker, letters: list[OutMessage]) -> None:
        try:
            read = parse_context(
                message.value,
                topic=message.topic,
                envelope_keys=self._envelope_keys,
                timezone=self._timezone,
                latest=self._times.latest(message),
                limits=self._limits,
                window=message.topic in self._windows,
            )
        except BadMessage as error:
            hint = NO_KEY if message.value is None else ""
            letters.append(self._dead_letters.of_message(message, f"{error}{hint}"))
            return
        self._times.tell(message, read.unusable)
        letters.extend(self._dead_letters.of_record(message, reject) for reject in read.rejects)
        if not read.stations and not read.rejects:
            self._metrics.empty_messages += 1
            self._log.empty_message(message.source)
        place = Place(message.partition, message.offset, message.timestamp)
        head = encode_context_head(message.topic, place, message.key, exact=read.exact)
        for station_id, points in read.stations.items():
            if points[0].time is None and message.topic in self._windows and not message.is_dated:
                rejects = [Reject(exact_json.dumps(record), NO_TIME, station_id) for record in points[0].records]
                letters.extend(self._dead_letters.of_record(message, reject) for reject in rejects)
                continue
            updates = [
                ContextUpdate(message.topic, place, message.key, station_id, point.time, point.records)
                for point in points
            ]
            encoded = self._encoded(updates, letters)
            partitions: Sequence[int] = (self._partition_of(station_id),)
            if station_id == EVERYONE:
                partitions = range(self._partition_of.partitions)
            for partition in partitions:
                for update in encoded:
                    packer.add(partition, head, update)

    def _encoded(self, updates: Sequence[ContextUpdate], letters: list[OutMessage]) -> list[bytes]:
        """Return the bytes of the updates of a station; of one that is too large a letter is made."""
        kept: list[bytes] = []
        for update in updates:
            encoded = encode_update(update)
            if len(encoded) > self._most:
                letters.append(_too_large(self._dead_letters, update, encoded, len(encoded), self._most))
            elif too_large := oversize(_owner(update), update.records, len(encoded), self._max_record_bytes):
                letters.append(_refused(self._dead_letters, update, encoded, too_large))
            else:
                kept.append(encoded)
        return kept


class StationContext:
    """Keeps the context of the stations of the partitions that this worker owns, and makes columns of it.

    `on_error` gets what must stop the worker: a change that could not be stored, a record that can't be read.

    Attributes:
        wants_time: there are windows that end with the batch's own time.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        partitioner: Partitioner,
        statistics: Statistics,
        clock: Clock,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._topics = settings.context_names
        self._spans = settings.context_windows
        self.wants_time = any(span.seconds is not None for span in self._spans.values())
        self._most = settings.context_max_bytes
        self._max_ahead = settings.max_ahead
        self._store = backend.store
        # An entry is one point in time: a window would only put nothing before it.
        self._alignment = Alignment(settings.timezone, settings.fill)
        self._alignments = {topic: _alignment_of(settings, topic) for topic in self._spans}
        self._partition_of = partitioner
        self._sender = backend.sender
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._changes = ConfirmingSender(backend.store.save, on_error)
        self._unsettled: dict[int, Windows] = {}
        self._statistics = statistics
        self._clock = clock
        self._on_error = on_error

    async def apply(self, partition: int, events: Sequence[ContextEvent], stored: Callable[[], None]) -> None:
        """Take in the changes of a frame: at once in memory; `stored` is called when they are durable."""
        changes: list[OutMessage] = []
        letters: list[OutMessage] = []
        get, now = self._stored(partition), self._clock()
        for event in events:
            self._statistics.context_heard[event.topic] = now
            if event.topic in self._spans:
                continue
            writes = apply(event, get, max_ahead=self._max_ahead)
            too_much = next((write.value for write in writes if len(write.value or b"") > self._most), None)
            if too_much is not None and isinstance(event, ContextUpdate):
                letters.append(_too_large(self._dead_letters, event, too_much, len(too_much), self._most))
            else:
                changes += self._store.apply(partition, writes)
        of_windows = [event for event in events if event.topic in self._spans]
        if of_windows:
            writes, refused = self._apply_to_windows(partition, of_windows)
            changes += self._store.apply(partition, writes)
            letters += refused
            stored = self._settling(partition, writes, stored)
        if letters:
            await self._sender.send(letters)
        self._changes.add(changes, stored)

    def _stored(self, partition: int) -> Get:
        """Return what gives the stored entry of a topic without a window.

        Where there is none, and the topic had a window before, that is the newest point of it.
        """
        records, windows = self._store.records(partition), self._store.windows(partition)

        def get(key: bytes) -> bytes | None:
            value = records.get(Table.CONTEXT, key)
            if value is None and windows:
                entry = windows.newest(*owner_of(key))
                return None if entry is None else encode_entry(entry)
            return value

        return get

    def _apply_to_windows(
        self, partition: int, events: Sequence[ContextEvent]
    ) -> tuple[list[Write], Sequence[OutMessage]]:
        """Return what is to be stored, and letters of what is refused."""
        records, windows = self._store.records(partition), self._windows(partition)
        before: list[ContextEvent] = []
        deleted: list[Write] = []
        # What was kept of a topic before it had a window is its first point.
        for topic, station_id in dict.fromkeys(
            (one.topic, name) for one in events for name in (one.station_id, EVERYONE)
        ):
            key = context_key(topic, station_id or EVERYONE)
            value = records.get(Table.CONTEXT, key)
            if value is not None:
                entry = decode_entry(key, value)
                deleted.append(Write(Table.CONTEXT, key, None))
                before += [
                    ContextUpdate(topic, one.place, entry.key, station_id or EVERYONE, entry.time, one.records)
                    for one in entry.messages
                ]
        changes = windows.apply([*before, *events], now=self._clock())
        self._statistics.metrics.context_too_old.update(changes.too_old)
        letters = []
        for one in changes.refused:
            whole = replace(one.updates[-1], records=[record for update in one.updates for record in update.records])
            letters.append(_too_large(self._dead_letters, whole, encode_update(whole), one.size, self._most))
        return [*changes.writes, *deleted], letters

    def _settling(self, partition: int, writes: Sequence[Write], stored: Callable[[], None]) -> Callable[[], None]:
        """Note that the windows' changes are on their way; return what is to be called when they are durable."""
        windows = self._unsettled[partition] = self._store.windows(partition)

        def settled() -> None:
            windows.settled(writes)
            stored()

        return settled

    def _windows(self, partition: int) -> Windows:
        """Return the windows of a partition; what can't be read ends the worker."""
        windows = self._store.windows(partition)
        if windows.unreadable is not None:
            self._on_error(windows.unreadable)
            raise windows.unreadable
        return windows

    def known(self, station_id: str, until: int | None = None) -> Sequence[KnownContext]:
        """Return what is known now, for `columns`: of each context topic of which there is something.

        The station's own context is taken; only where there is none, what everyone has. Windows of a duration end with
        `until` (Unix seconds), None: now.
        """
        partition = self._partition_of(station_id)
        get = self._stored(partition)
        known: list[KnownContext] = []
        for topic in self._topics:
            for owner in (station_id, EVERYONE):
                columns = self._of(topic, owner, partition, until, get)
                if columns is not None:
                    known.append((topic, columns))
                    break
        return known

    def _of(self, topic: str, owner: str, partition: int, until: int | None, get: Get) -> Making | None:
        """Return what makes the columns of one station, or of everyone; None where nothing is known."""
        span = self._spans.get(topic)
        window = self._windows(partition).window(topic, owner) if span is not None else None
        if span is not None and window is not None:
            content = window.content(span, int(self._clock()) if until is None else until)
            return partial(self._align_window, topic, content)
        key = context_key(topic, owner)
        value = get(key)
        return None if value is None else partial(self._align, topic, key, value)

    def columns(self, known: Sequence[KnownContext], aligner: Aligner) -> dict[str, Columns]:
        """Make the entries of `module_input`, anew each time: one for each context topic, empty where nothing is known.

        Raises:
            AlignmentError: a record can't be aligned; the text names its topic.
        """
        found: dict[str, Columns] = {topic: {} for topic in self._topics}
        for topic, columns in known:
            found[topic] = columns(aligner)
        return found

    def each(self, known: Sequence[KnownContext], aligner: Aligner) -> dict[str, Columns | AlignmentError]:
        """Make the same entries, with an error in the place of each that can't be aligned."""
        found: dict[str, Columns | AlignmentError] = {topic: {} for topic in self._topics}
        for topic, columns in known:
            try:
                found[topic] = columns(aligner)
            except AlignmentError as error:
                found[topic] = error
        return found

    def _align(self, topic: str, key: bytes, value: bytes, aligner: Aligner) -> Columns:
        try:
            entry = decode_entry(key, value)
            # No time of the records is usable if the entry has none; what is later than its second is none.
            latest = -math.inf if entry.time is None else entry.time + 1
            return aligner.records(entry.records, self._alignment, id_keys=CONTEXT_ID_KEYS, latest=latest)
        except UnreadableRecordError as error:
            self._on_error(error)  # it is no fault of the station's: nothing may come of it
            raise
        except AlignmentError as error:
            raise _of_topic(topic, error) from error

    def _align_window(self, topic: str, content: Content, aligner: Aligner) -> Columns:
        try:
            return aligner.window(content, self._alignments[topic])
        except AlignmentError as error:
            raise _of_topic(topic, error) from error

    def sizes(self, partitions: Iterable[int]) -> Mapping[str, ContextSize]:
        """Return what is known of each context topic in these partitions."""
        sizes = dict.fromkeys(self._topics, ContextSize())
        for partition in partitions:
            for (topic, _), window in self._store.windows(partition).items():
                if topic in sizes:
                    sizes[topic] = sizes[topic].plus(window.rows, window.size, window.newest)
            for key, value in self._store.records(partition).items(Table.CONTEXT):
                topic = key.partition(b"#")[0].decode()
                if topic in sizes:
                    sizes[topic] = sizes[topic].plus(1, len(key) + len(value), time_in(value))
        return sizes

    async def cancel(self) -> None:
        """Drop what has not been stored: the partitions are being taken away."""
        await self._changes.cancel()
        for windows in self._unsettled.values():
            windows.owes = True
        self._unsettled.clear()


def _alignment_of(settings: Settings, topic: str) -> Alignment:
    """Return how the window of a topic is aligned: with a step, one of points has exactly so many."""
    step, span = settings.context_step_of(topic), settings.context_windows[topic]
    return Alignment(settings.timezone, settings.fill, step, None if step is None else span.points)


def _of_topic(topic: str, error: AlignmentError) -> AlignmentError:
    return AlignmentError(f"context topic {topic}: {error}")


def _too_large(dead_letters: DeadLetters, update: ContextUpdate, value: bytes, size: int, most: int) -> OutMessage:
    """Make the letter of context that is not kept: `value`; `size` is what would be kept with it."""
    error = (
        f"ValueError: the context of {_owner(update)} on {update.topic} would have {size} bytes of JSON,"
        f" more than the {most} that are kept; raise AGG_CONTEXT_MAX_BYTES if it needs them"
    )
    return _refused(dead_letters, update, value, error)


def _owner(update: ContextUpdate) -> str:
    return f"station {update.station_id}" if update.station_id else "everyone"


def _refused(dead_letters: DeadLetters, update: ContextUpdate, value: bytes, error: str) -> OutMessage:
    place = update.place
    source = Source(update.topic, place.partition, place.offset)
    subject = Subject(place.timestamp, source, station_id=update.station_id or None)
    return dead_letters.letter(Reason.TOO_LARGE, error, subject, value=value, key=update.key)


class SilentTopics:
    """Tells of context topics of which this worker has had nothing for longer than `AGG_CONTEXT_STALE`.

    Callbacks go on with what is known, and nobody would notice.
    """

    def __init__(self, settings: Settings, log: BatchLog, statistics: Statistics, clock: Clock) -> None:
        self._topics = settings.context_names
        self._limit = settings.context_stale
        self._log = log
        self._statistics = statistics
        self._clock = clock
        self._started = clock()
        self._told = Throttle(max(_SILENT_SECONDS, self._limit or 0.0))

    def tell(self, read: Collection[str]) -> None:
        """Write a line for each topic that is silent, of those that this worker reads."""
        if self._limit is None:
            return
        now = self._clock()
        for topic in self._topics:
            silent = now - self._statistics.context_heard.get(topic, self._started)
            if topic in read and silent > self._limit and self._told.passes(now, topic):
                self._log.silent(topic, silent, self._limit)
