"""What the pipeline asks of a transport: messages in, messages out, and the meaning of "sent".

The worker has Kafka behind this, the test driver a log in memory; splitter, station agents, aggregator and publisher
know neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tables.model.events import Source
from tables.model.fast_dataclass import fast_dataclass
from tables.storage.checks import NewerFormatError

Clock = Callable[[], float]  # Unix seconds

Headers = Sequence[tuple[str, bytes]]


@fast_dataclass(frozen=True, slots=True)
class InMessage:
    """A message as it was read. `timestamp` is the broker's or producer's, Unix seconds."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def source(self) -> Source:
        """The place where it stands."""
        return Source(self.topic, self.partition, self.offset)

    @property
    def is_dated(self) -> bool:
        """Return whether it has a timestamp; Kafka's word for none is -1."""
        return self.timestamp > 0

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value or b"")


def newer(message: InMessage, error: NewerFormatError) -> NewerFormatError:
    """Return the error with the message's place in front."""
    return NewerFormatError(f"{message.topic}[{message.partition}]@{message.offset}: {error}")


@fast_dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message on its way through the pipeline. `ack` is called once, when all that was made of it is stored."""

    message: InMessage
    ack: Callable[[], None]


@fast_dataclass(frozen=True, slots=True)
class OutMessage:
    """A message to be sent. `partition` None leaves the choice to the key; `timestamp` is Unix seconds or None: now."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: Headers = ()
    timestamp: float | None = None


class SendError(RuntimeError):
    """The broker did not confirm a message within AGG_BROKER_PATIENCE, or refused it for good."""


class PlaceGoneError(SendError):
    """The partition that a message was for is not there any more, or never was.

    Attributes:
        topic: the topic.
        partitions: how many partitions it has now; 0: there is no such topic.
        counts: the same of this topic and of others to which messages of the same send were not sent for that reason.
            All its messages for other places have been confirmed.
    """

    def __init__(self, text: str, topic: str, partitions: int) -> None:
        super().__init__(text)
        self.topic = topic
        self.partitions = partitions
        self.counts = {topic: partitions}

    def is_of(self, message: OutMessage) -> bool:
        """Say whether a message of the same send was not sent for that reason."""
        partition = message.partition
        return message.topic in self.counts and partition is not None and partition >= self.counts[message.topic]


class UnknownTopicError(PlaceGoneError, ValueError):
    """There is no topic of that name: what named it has a wrong value."""


class Sender(Protocol):
    """Sends messages so that the caller may acknowledge what they were made of."""

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Append the messages in this order; returns their offsets when the broker has confirmed every one of them.

        Raises:
            PlaceGoneError: a message's partition is not there, while its topic is, or a topic that is not ours is not.
            SendError: a message was not taken for another reason.
        """
