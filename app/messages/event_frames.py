"""Packing events into frames: many to one Kafka message, bounded by count and by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.messages.frames import encode_events, encode_stations
from app.messages.message import OutMessage
from tables.model.events import BatchEvent

__all__ = ["FRAME_BYTES", "FRAME_EVENTS", "StationPacker", "event_frames"]

FRAME_EVENTS = 500
FRAME_BYTES = 512 * 1024


class _Frame:
    """A frame of station events that is being filled."""

    __slots__ = ("count", "groups", "size")

    def __init__(self) -> None:
        self.groups: list[tuple[bytes, list[bytes]]] = []
        self.count = 0
        self.size = 0


class StationPacker:
    """Collects station events by partition. The events of a partition keep the order in which they were added.

    `encode` makes a frame of the events of some source messages: `encode_stations`, or `encode_context` for those of
    context messages.
    """

    def __init__(
        self, topic: str, encode: Callable[[Iterable[tuple[bytes, Iterable[bytes]]]], bytes] = encode_stations
    ) -> None:
        self._topic = topic
        self._encode = encode
        self._filling: dict[int, _Frame] = {}
        self._full: list[OutMessage] = []

    def add(self, partition: int, head: bytes, station: bytes) -> None:
        """Add the bytes of one event of a message, whose `head` its events share."""
        frame = self._filling.get(partition)
        if frame is None:
            frame = self._filling[partition] = _Frame()
        if not frame.groups or frame.groups[-1][0] is not head:
            frame.groups.append((head, []))
            frame.size += len(head)
        frame.groups[-1][1].append(station)
        frame.count += 1
        frame.size += len(station)
        if frame.count >= FRAME_EVENTS or frame.size >= FRAME_BYTES:
            self._full.append(self._message(partition, self._filling.pop(partition)))

    def take(self) -> list[OutMessage]:
        """All frames, the last ones as full as they are."""
        messages, self._full = self._full, []
        messages.extend(self._message(partition, frame) for partition, frame in self._filling.items())
        self._filling.clear()
        return messages

    def _message(self, partition: int, frame: _Frame) -> OutMessage:
        return OutMessage(self._topic, self._encode(frame.groups), partition=partition)


def event_frames(topic: str, partition: int, events: Iterable[BatchEvent]) -> list[OutMessage]:
    """Frames of whole batch events for one partition: for events that are few or bounded already."""
    chunk: list[BatchEvent] = []
    messages: list[OutMessage] = []
    for event in events:
        chunk.append(event)
        if len(chunk) >= FRAME_EVENTS:
            messages.append(OutMessage(topic, encode_events(chunk), partition=partition))
            chunk = []
    if chunk:
        messages.append(OutMessage(topic, encode_events(chunk), partition=partition))
    return messages
