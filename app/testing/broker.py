"""Topics in memory: what stands in for Kafka, with its partitions, offsets, timestamps and committed offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from app.kafka.topics import topic_specs
from app.messages.message import Clock, InMessage, OutMessage
from app.messages.output import OutputId, output_id
from app.messages.partitioner import partition_of
from app.settings import Settings
from tables.model.events import Source

__all__ = ["MemoryBroker"]


class _Topic:
    def __init__(self, name: str, partitions: int, max_bytes: int | None) -> None:
        self.name = name
        self.max_bytes = max_bytes
        self.log: list[InMessage] = []  # of all partitions, in the order of their appending
        self.partitions: list[list[InMessage]] = [[] for _ in range(partitions)]
        self.appended: list[Callable[[], None]] = []


class MemoryBroker:
    """Topics whose messages stay: nothing of it is lost when a worker dies."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """The topics of the settings, empty; others are made when something is sent to them."""
        self._clock = clock
        self._default_partitions = settings.partitions
        self._topics = {name: _Topic(name, settings.partitions, None) for name in settings.foreign_topics}
        for spec in topic_specs(settings):
            limit = spec.config.get("max.message.bytes")
            self._topics[spec.name] = _Topic(spec.name, spec.partitions, int(limit) if limit else None)
        self.committed: dict[tuple[str, int], int] = {}

    @property
    def topics(self) -> list[str]:
        """The names of all topics."""
        return list(self._topics)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return len(self._topic(topic).partitions)

    def append(self, message: OutMessage) -> InMessage:
        """Append a message. Its key chooses the partition where none is given; without a key they take turns.

        Raises:
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
        partition = topic.partitions[number]
        at = self._clock() if message.timestamp is None else message.timestamp
        milliseconds = int(at * 1000)  # Kafka's timestamps are
        headers = tuple(message.headers)
        stored = InMessage(
            message.topic, number, len(partition), milliseconds / 1000, message.key, message.value, headers
        )
        partition.append(stored)
        topic.log.append(stored)
        for tell in topic.appended:
            tell()
        return stored

    def messages(self, topic: str) -> list[InMessage]:
        """All messages of a topic, in the order in which they were appended."""
        return list(self._topic(topic).log)

    def read(self, topic: str, start: int, stop: int, first_offsets: Mapping[int, int]) -> Iterator[InMessage]:
        """The `start`-th up to the `stop`-th message of a topic, but for each partition only from an offset on."""
        log = self._topic(topic).log
        return (log[at] for at in range(start, stop) if log[at].offset >= first_offsets[log[at].partition])

    def end(self, topic: str) -> int:
        """How many messages a topic has."""
        return len(self._topic(topic).log)

    def subscribe(self, topic: str, tell: Callable[[], None]) -> None:
        """Call that function whenever something has been appended to the topic."""
        self._topic(topic).appended.append(tell)

    def unsubscribe_all(self) -> None:
        """Forget every subscriber: their worker is dead."""
        for topic in self._topics.values():
            topic.appended.clear()

    async def find_outputs(self, topic: str, partition: int, since: float) -> set[OutputId]:
        """Which output messages stand in a partition from `since` (Unix seconds) on."""
        messages = [one for one in self._topic(topic).partitions[partition] if one.timestamp >= since - 1.0]
        ids = [output_id(message.key, message.headers) for message in messages]
        return {found_id for found_id in ids if found_id is not None}

    async def find_sources(self, sources: Sequence[Source]) -> dict[Source, InMessage]:
        """The messages that stand at these places."""
        return {source: self._topic(source.topic).partitions[source.partition][source.offset] for source in sources}

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(name, self._default_partitions, None)
        return topic
