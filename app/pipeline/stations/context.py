"""The context of stations: the newest records of each on the context topics, kept in the table `context`.

`ContextSplitter` splits a context message into an update for each station, for that station's partition: `S7` of a
weather topic goes where the events of `S7` go, what is everyone's goes to all partitions. The station agent of the
partition keeps it (`StationContext`), and adds it to the callback's input under the topic's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from app.inputs.alignment import Alignment, align
from app.inputs.grouping import CONTEXT_ID_KEYS, BadMessage, Limits
from app.inputs.guns import AlignmentError
from app.inputs.layouts import Columns
from app.inputs.source_message import parse_context
from app.messages.dead_letters import Reason, Subject
from app.messages.frames import StationPacker, encode_context, encode_context_head, encode_tombstone, encode_update
from app.messages.message import Clock, Delivery, InMessage, OutMessage, Sender
from app.messages.partitioner import Partitioner
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.ports import Backend, ConfirmingSender, Telemetry
from app.pipeline.splitting.limits import TimeLimit, oversize
from app.settings import Settings
from tables.context import EVERYONE, ContextEvent, ContextUpdate, Place, apply, context_key, decode_entry
from tables.model.events import Source
from tables.storage.records import Table, UnreadableRecordError

CONTEXT_BYTES = 8 * 1024 * 1024  # of what is kept of one station on one topic
KnownContext = tuple[str, bytes, bytes]
"""A context topic, and the key and the value of the table's entry."""
NO_KEY = ", and no key that says what it deletes"


class ContextSplitter:
    """Splits context messages. It reads beside the splitter of source messages: context never waits for batches."""

    def __init__(
        self, settings: Settings, *, sender: Sender, partitioner: Partitioner, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._station_events_topic = settings.station_events_topic
        self._envelope_keys = settings.envelope_keys
        self._timezone = settings.timezone
        self._limits = Limits(settings.max_stations, settings.max_id_length)
        self._max_record_bytes = settings.max_record_bytes
        self._times = TimeLimit(settings, clock, telemetry)
        self._sender = sender
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._partition_of = partitioner
        self._log = telemetry.log
        self._metrics = telemetry.statistics.metrics

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Split messages in their order, and acknowledge them when all that was made of them is stored."""
        letters: list[OutMessage] = []
        packer = StationPacker(self._station_events_topic, encode_context)
        for delivery in deliveries:
            message = delivery.message
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
        for station_id, newest in read.stations.items():
            update = ContextUpdate(message.topic, place, message.key, station_id, newest.time, newest.records)
            encoded = encode_update(update)
            if len(encoded) > CONTEXT_BYTES:
                letters.append(_too_large(self._dead_letters, update, encoded))
                continue
            if too_large := oversize(_owner(update), newest.records, len(encoded), self._max_record_bytes):
                letters.append(_refused(self._dead_letters, update, encoded, too_large))
                continue
            partitions: Sequence[int] = (self._partition_of(station_id),)
            if station_id == EVERYONE:
                partitions = range(self._partition_of.partitions)
            for partition in partitions:
                packer.add(partition, head, encoded)


class StationContext:
    """Keeps the context of the stations of the partitions that this worker owns, and makes columns of it.

    `on_error` gets what must stop the worker: a change that could not be stored, a record that can't be read.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        partitioner: Partitioner,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._topics = settings.context_topics
        self._max_ahead = settings.max_ahead
        self._store = backend.store
        # An entry is one point in time: a window would only put nothing before it.
        self._alignment = Alignment(settings.timezone, settings.fill)
        self._partition_of = partitioner
        self._sender = backend.sender
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._changes = ConfirmingSender(backend.store.save, on_error)
        self._on_error = on_error

    async def apply(self, partition: int, events: Sequence[ContextEvent], stored: Callable[[], None]) -> None:
        """Take in the changes of a frame: at once in memory; `stored` is called when they are durable."""
        changes: list[OutMessage] = []
        letters: list[OutMessage] = []
        records = self._store.records(partition)
        for event in events:
            writes = apply(event, lambda key: records.get(Table.CONTEXT, key), max_ahead=self._max_ahead)
            too_much = next((write.value for write in writes if len(write.value or b"") > CONTEXT_BYTES), None)
            if too_much is not None and isinstance(event, ContextUpdate):
                letters.append(_too_large(self._dead_letters, event, too_much))
            else:
                changes += self._store.apply(partition, writes)
        if letters:
            await self._sender.send(letters)
        self._changes.add(changes, stored)

    def known(self, station_id: str) -> Sequence[KnownContext]:
        """Return what is known now, for `columns`: of each context topic of which there is something.

        The station's own context is taken; only where there is none, what everyone has.
        """
        records = self._store.records(self._partition_of(station_id))
        known: list[KnownContext] = []
        for topic in self._topics:
            for owner in (station_id, EVERYONE):
                key = context_key(topic, owner)
                value = records.get(Table.CONTEXT, key)
                if value is not None:
                    known.append((topic, key, value))
                    break
        return known

    def columns(self, known: Sequence[KnownContext]) -> dict[str, Columns]:
        """Make the entries of `module_input`, anew each time: one for each context topic, empty where nothing is known.

        Raises:
            AlignmentError: a record can't be aligned; the text names its topic.
        """
        found: dict[str, Columns] = {topic: {} for topic in self._topics}
        for topic, key, value in known:
            found[topic] = self._align(topic, key, value)
        return found

    def _align(self, topic: str, key: bytes, value: bytes) -> Columns:
        try:
            entry = decode_entry(key, value)
            # No time of the records is usable if the entry has none; what is later than its second is none.
            latest = -math.inf if entry.time is None else entry.time + 1
            return align(entry.records, self._alignment, id_keys=CONTEXT_ID_KEYS, latest=latest)
        except UnreadableRecordError as error:
            self._on_error(error)  # it is no fault of the station's: nothing may come of it
            raise
        except AlignmentError as error:
            message = f"context topic {topic}: {error}"
            raise AlignmentError(message) from error

    async def cancel(self) -> None:
        """Drop what has not been stored: the partitions are being taken away."""
        await self._changes.cancel()


def _too_large(dead_letters: DeadLetters, update: ContextUpdate, value: bytes) -> OutMessage:
    """Make the letter of context that is not kept; `value` is what it would be."""
    error = (
        f"ValueError: the context of {_owner(update)} on {update.topic} would have {len(value)} bytes of JSON,"
        f" more than the {CONTEXT_BYTES} that are kept"
    )
    return _refused(dead_letters, update, value, error)


def _owner(update: ContextUpdate) -> str:
    return f"station {update.station_id}" if update.station_id else "everyone"


def _refused(dead_letters: DeadLetters, update: ContextUpdate, value: bytes, error: str) -> OutMessage:
    place = update.place
    source = Source(update.topic, place.partition, place.offset)
    subject = Subject(place.timestamp, source, station_id=update.station_id or None)
    return dead_letters.letter(Reason.TOO_LARGE, error, subject, value=value, key=update.key)
