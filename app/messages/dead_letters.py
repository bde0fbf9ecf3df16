"""One message of the dead-letter topic: its reasons, and how it is read back. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from app.messages.message import Headers, InMessage
from app.messages.trace_context import TRACE_HEADERS
from tables.model.events import Source

__all__ = ["Letter", "Reason", "last_line", "light", "place_of", "read_letter"]


class Reason(StrEnum):
    """Why something is in the dead-letter topic; the header `reason`."""

    BAD_MESSAGE = "bad-message"
    BAD_RECORD = "bad-record"
    STATION_FAILED = "station-failed"
    DISCARDED = "discarded"
    HANDLER_FAILED = "handler-failed"
    TOO_LARGE = "too-large"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        partition: of the letter itself.
        offset: of the letter itself.
        written_at: when it was appended, Unix seconds.
        failed_at: its header `failed-at`; `written_at` where that can't be read.
        reason: its header, "" where there is none.
        error: its header, "" where there is none.
        source: the message that it is about.
        batch_id: where it is known.
        station_id: where it is known.
        size: bytes of the value.
        key: the message's key.
        value: None also in what a listing keeps.
        trace: those of its headers that name a span.
    """

    partition: int
    offset: int
    written_at: float
    failed_at: float
    reason: str
    error: str
    source: Source | None
    batch_id: str | None
    station_id: str | None
    size: int
    key: bytes | None
    value: bytes | None
    trace: Headers = ()

    @property
    def place(self) -> str:
        """What names the letter: `PARTITION@OFFSET`."""
        return place_of(self.partition, self.offset)


def last_line(error: str) -> str:
    """Of a traceback, the line that says what happened."""
    return error.rstrip().rpartition("\n")[2]


def place_of(partition: int, offset: int) -> str:
    """Name a letter by where it stands."""
    return f"{partition}@{offset}"


def read_letter(message: InMessage) -> Letter:
    """Read a message of the dead-letter topic, whoever has written it: nothing is raised."""
    headers = {name: value.decode(errors="replace") for name, value in message.headers if value is not None}
    return Letter(
        partition=message.partition,
        offset=message.offset,
        written_at=message.timestamp,
        failed_at=_seconds(headers.get("failed-at"), message.timestamp),
        reason=headers.get("reason", ""),
        error=headers.get("error", ""),
        source=_source(headers),
        batch_id=headers.get("batch-id"),
        station_id=headers.get("station-id"),
        size=message.size,
        key=message.key,
        value=message.value,
        trace=tuple((name, value) for name, value in message.headers if name in TRACE_HEADERS and value is not None),
    )


def light(letter: Letter) -> Letter:
    """What a listing keeps of a letter: no key, no value, and the last line of the error."""
    return replace(letter, error=last_line(letter.error), key=None, value=None)


def _seconds(text: str | None, otherwise: float) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        return otherwise
    return seconds if math.isfinite(seconds) else otherwise


def _source(headers: Mapping[str, str]) -> Source | None:
    topic, partition, offset = (headers.get(f"source-{name}", "") for name in ("topic", "partition", "offset"))
    if not topic or not partition.isdecimal() or not offset.isdecimal():
        return None
    return Source(topic, int(partition), int(offset))
