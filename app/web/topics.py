"""Looks into topics, as the web asks for them: each is bounded in time and in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from app.messages.message import InMessage
from tables.model.events import Source


class NotReadable(Exception):  # noqa: N818 - says it
    """A topic can't be read now, or nothing can be sent to it: Kafka does not answer, or refuses; the text says why."""


class Window(NamedTuple):
    """Offsets of a partition, from `start` up to before `end`."""

    start: int
    end: int


class OpenTopic(Protocol):
    """A topic that somebody reads without a group.

    Attributes:
        held: What each partition held when the topic was opened.
    """

    held: Mapping[int, Window]

    async def read(self, windows: Mapping[int, Window], most: int) -> Mapping[int, Sequence[InMessage]]:
        """Return the messages of these windows by partition, each partition's in order.

        A partition of which a window of several offsets holds more than `most` bytes is left out, and so may be others
        beside it. A window of one offset is never left out for that.

        Raises:
            NotReadable: The broker does not answer any more.
        """


class Published(NamedTuple):
    """Outputs of one batch as they stand in a partition, and whether others may have stood there that are gone."""

    messages: Sequence[InMessage]
    is_gone: bool


class Arrivals(NamedTuple):
    """When messages come to a topic.

    Attributes:
        last: Kafka's timestamp of the newest one, Unix seconds; None: there is none.
        usual_gap: Seconds between messages that are usual; None with less than two.
    """

    last: float | None
    usual_gap: float | None


class Topics(Protocol):
    """Looks into topics, each bounded in time and bytes; `WorkerTopics` (app/worker/topics.py) implements it.

    Each raises NotReadable.
    """

    async def count(self, topics: Sequence[str], since: float, until: float) -> Mapping[str, int]:
        """Count the messages that were written to topics of ours in a range (Unix seconds)."""

    async def arrivals(self, topics: Sequence[str]) -> Mapping[str, Arrivals]:
        """Find when messages come to topics; one that is not there is left out."""

    async def outputs(self, batch_id: str, topic: str, partition: int, closings: Mapping[int, float]) -> Published:
        """Find the outputs of a batch, given when each of its revisions was decided (Unix seconds)."""

    async def source_times(self, sources: Mapping[Source, float]) -> Mapping[Source, float]:
        """Find the Kafka timestamps of source messages that were read at about these times; Unix seconds."""

    async def source_message(self, source: Source) -> InMessage | None:
        """Read a source message; None if the broker does not have it any more."""
