"""Looks into topics, as the web asks for them: each is bounded in time and in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from app.messages.message import InMessage
from tables.model.events import Source


class NotRead(Exception):  # noqa: N818 - says it
    """What was to be read stands in Kafka, or not: Kafka has not answered in time, or refuses; the text says which."""


class Published(NamedTuple):
    """Outputs of one batch as they stand in a partition, and whether others may have stood there that are gone."""

    messages: Sequence[InMessage]
    is_gone: bool


class Topics(Protocol):
    """Looks into topics, each bounded in time and bytes; `WorkerTopics` (app/worker/topics.py) implements it.

    Each raises NotRead.
    """

    async def count(self, topics: Sequence[str], since: float, until: float) -> Mapping[str, int]:
        """Count the messages that were written to topics of ours in a range (Unix seconds)."""

    async def outputs(self, batch_id: str, topic: str, partition: int, closings: Mapping[int, float]) -> Published:
        """Find the outputs of a batch, given when each of its revisions was decided (Unix seconds)."""

    async def source_times(self, sources: Mapping[Source, float]) -> Mapping[Source, float]:
        """Find the Kafka timestamps of source messages that were read at about these times; Unix seconds."""

    async def source_message(self, source: Source) -> InMessage | None:
        """Read a source message; None if the broker does not have it any more."""
