"""A broker in memory, with partitions, offsets and committed offsets, and tables kept in its changelogs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from app.kafka.topics import changelog_topic, topic_specs
from app.messages.message import Clock, InMessage, OutMessage, PlaceGoneError, Sender, UnknownTopicError
from app.messages.output import OutputId, output_id
from app.messages.partitioner import partition_of
from app.settings import Settings
from app.words import counted_word
from tables.model.events import Source
from tables.storage.records import Table, Write
from tables.window_segments import PREFIX
from tables.windows import Windows


class _MemoryTopic:
    def __init__(self, name: str, partitions: int, max_bytes: int | None) -> None:
        self.name = name
        self.max_bytes = max_bytes
        self.log: list[InMessage] = []  # of all partitions, in the order of their appending
        self.partitions: list[list[InMessage]] = [[] for _ in range(partitions)]
        self.appended: list[Callable[[], None]] = []


class MemoryBroker:
    """Topics whose messages stay when a worker dies."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """The topics of the settings, empty; others are made when something is sent to them."""
        self._clock = clock
        self._default_partitions = settings.partitions
        self._topics = {name: _MemoryTopic(name, settings.partitions, None) for name in settings.foreign_topics}
        for spec in topic_specs(settings):
            limit = spec.config.get("max.message.bytes")
            self._topics[spec.name] = _MemoryTopic(spec.name, spec.partitions, int(limit) if limit else None)
        self._deleted: set[str] = set()
        self.committed: dict[tuple[str, int], int] = {}
        self.notes: dict[int, str] = {}  # partition of the station events -> what stands beside its committed offset

    @property
    def topics(self) -> list[str]:
        """The names of all topics."""
        return list(self._topics)

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""
        return len(self._topic(topic).partitions)

    def append(self, message: OutMessage) -> InMessage:
        """Append a message. Its key chooses the partition where none is given; without a key they take turns.

        Raises:
            PlaceGoneError: the topic has no such partition, or was deleted.
            ValueError: the message is larger than the topic takes.
        """
        topic = self._topic(message.topic)
        size = len(message.value or b"") + len(message.key or b"")
        if topic.max_bytes is not None and size > topic.max_bytes:
            text = f"{message.topic}: a message of {size} bytes is over the topic's max.message.bytes {topic.max_bytes}"
            raise ValueError(text)
        number = message.partition
        if number is None:
            count = len(topic.partitions)
            number = len(topic.log) % count if message.key is None else partition_of(message.key, count)
        if number >= len(topic.partitions):
            has = counted_word(len(topic.partitions), "partition")
            text = f"there is no partition {number} of {topic.name}: it has {has} now"
            raise PlaceGoneError(text, topic.name, len(topic.partitions))
        partition = topic.partitions[number]
        at = self._clock() if message.timestamp is None else message.timestamp
        milliseconds = int(at * 1000)  # Kafka's timestamps are
        headers = tuple(message.headers)
        stored = InMessage(
            message.topic, number, len(partition), milliseconds / 1000, message.key, message.value, headers
        )
        partition.append(stored)
        topic.log.append(stored)
        for notify in topic.appended:
            notify()
        return stored

    def make_again(self, topic: str, partitions: int) -> None:
        """Delete a topic, with all that stands in it, and make it again with so many partitions."""
        old = self._topic(topic)
        new = self._topics[topic] = _MemoryTopic(topic, partitions, old.max_bytes)
        new.appended = old.appended

    def delete(self, topic: str) -> None:
        """Delete a topic, with all that stands in it; sending to it does not make it again."""
        del self._topics[topic]
        self._deleted.add(topic)

    def messages(self, topic: str) -> list[InMessage]:
        """All messages of a topic, in the order in which they were appended."""
        return list(self._topic(topic).log)

    def read(self, topic: str, start: int, stop: int, first_offsets: Mapping[int, int]) -> Iterator[InMessage]:
        """The `start`-th up to the `stop`-th message of a topic, but for each partition only from an offset on."""
        log = self._topic(topic).log
        return (log[at] for at in range(start, stop) if log[at].offset >= first_offsets[log[at].partition])

    def end(self, topic: str) -> int:
        """Number of messages of a topic."""
        return len(self._topic(topic).log)

    def end_of(self, topic: str, partition: int) -> int:
        """Offset that the next message of a partition gets."""
        return len(self._topic(topic).partitions[partition])

    def subscribe(self, topic: str, notify: Callable[[], None]) -> None:
        """Call that function whenever a message has been appended to the topic."""
        self._topic(topic).appended.append(notify)

    def unsubscribe_all(self) -> None:
        """Drop every subscriber: their worker is dead."""
        for topic in self._topics.values():
            topic.appended.clear()

    async def find_outputs(self, topic: str, partition: int, since: float) -> set[OutputId]:
        """Find the output messages that stand in a partition from `since` (Unix seconds) on."""
        partitions = self._topics[topic].partitions if topic in self._topics else []
        if partition >= len(partitions):
            return set()
        those = [one for one in partitions[partition] if one.timestamp >= since - 1.0]
        ids = {output_id(one.key, one.headers, one.value) for one in those}
        return {found for found in ids if found is not None}

    async def find_sources(self, sources: Sequence[Source]) -> dict[Source, InMessage]:
        """Find the messages that stand at these places, as far as they are still there."""
        found: dict[Source, InMessage] = {}
        for source in sources:
            partitions = self._topics[source.topic].partitions if source.topic in self._topics else []
            if source.partition < len(partitions) and source.offset < len(partitions[source.partition]):
                found[source] = partitions[source.partition][source.offset]
        return found

    def _topic(self, name: str) -> _MemoryTopic:
        topic = self._topics.get(name)
        if name in self._deleted:
            text = f"there is no topic {name}, and the broker does not create it: create it, or name another"
            raise UnknownTopicError(text, name, 0)
        if topic is None:
            topic = self._topics[name] = _MemoryTopic(name, self._default_partitions, None)
        return topic


class PartitionRecords:
    """The records of one partition of all tables."""

    def __init__(self, windows: Windows) -> None:
        self.tables: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self.windows = windows

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""
        return self.tables[table].items()

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""
        return self.tables[table].get(key)

    def write(self, write: Write) -> None:
        """Set a record, or delete it."""
        if write.table is Table.CONTEXT and write.key[:1] == PREFIX:
            self.windows.write(write.key, write.value)
        elif write.value is None:
            self.tables[write.table].pop(write.key, None)
        else:
            self.tables[write.table][write.key] = write.value


class MemoryTables:
    """The tables as dicts, recovered from their changelogs."""

    def __init__(self, settings: Settings, broker: MemoryBroker, sender: Sender) -> None:
        self._settings = settings
        self._sender = sender
        self._topics = {table: changelog_topic(settings.app_id, table) for table in Table}
        self._partitions: dict[int, PartitionRecords] = {}
        for table, topic in self._topics.items():
            for message in broker.messages(topic):
                self.records(message.partition).write(Write(table, message.key or b"", message.value))

    def records(self, partition: int) -> PartitionRecords:
        """The records of one partition."""
        records = self._partitions.get(partition)
        if records is None:
            windows = Windows(self._settings.context_windows, self._settings.context_max_bytes)
            records = self._partitions[partition] = PartitionRecords(windows)
        return records

    def windows(self, partition: int) -> Windows:
        """The windows of context of one partition."""
        return self.records(partition).windows

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory; the messages are what `save` has to be given."""
        records = self.records(partition)
        messages = []
        for write in writes:
            records.write(write)
            messages.append(OutMessage(self._topics[write.table], write.value, key=write.key, partition=partition))
        return messages

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Append changes to the changelogs."""
        await self._sender.send(messages)
