"""Segments: the records of what each chunk of the log brought to a batch, and the keys of all records of a batch. Pure.

`batch id`             the header, from the closing of the batch on
`batch id#places`      a segment: the messages and outcomes that one chunk of the log brought, written once
`batch id#places+`     the same of what came after the closing: it outlives what came in time
`batch id#r<number>`   a later revision of the output
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import orjson

from tables.model.events import Position, Source
from tables.model.fast_dataclass import dataclass
from tables.model.sources import Extension, Group, Piece, SourceState
from tables.storage.formats import FORMAT_VERSION, load, reading

__all__ = [
    "Segment",
    "StoredSource",
    "batch_of_key",
    "decode_segment",
    "encode_segment",
    "group_list",
    "is_header",
    "is_late",
    "is_revision",
    "load_group",
    "load_source",
    "revision_key",
    "segment_key",
    "source_list",
]

LATE = b"+"  # ends the keys of what came late
REVISION = b"#r"


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A source message of a batch. `codes` are those that its stations had when the batch closed; "" in a segment."""

    source: Source
    opened_at: float
    deadline: float
    stations: tuple[str, ...]
    codes: str
    position: Position
    timeout: float | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """What one chunk of the log brought to one batch, all of it in time or all of it late."""

    sources: list[StoredSource] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)


# -- keys ------------------------------------------------------------------------------------------------------------


def segment_key(batch_id: str, piece: Piece) -> bytes:
    """Key of a segment, by the places in the log of its first and its last event that concern the batch.

    Both, because two owners may cut the log differently, and neither's record may take the place of one of the other's
    that holds more.
    """
    lists: tuple[Sequence[SourceState | Group | Extension], ...] = (piece.sources, piece.groups, piece.extensions)
    places = [one.position for ends in lists if ends for one in (ends[0], ends[-1])]
    first, last = min(places), max(places)
    key = f"{batch_id}#{first.offset}.{first.ordinal}-{last.offset - first.offset}.{last.ordinal}".encode()
    return key + LATE if piece.late else key


def revision_key(batch_id: str, number: int) -> bytes:
    """Key of a revision after the first."""
    return batch_id.encode() + REVISION + str(number).encode()


def is_header(key: bytes) -> bool:
    """Whether a record is a header; `#` can't stand in a batch id."""
    return b"#" not in key


def is_revision(key: bytes) -> bool:
    """Whether a record is a later revision."""
    return REVISION in key


def is_late(key: bytes) -> bool:
    """Whether a record is a segment of what came after its batch had closed."""
    return key.endswith(LATE)


def batch_of_key(key: bytes) -> str:
    """Batch id of a key."""
    return key.partition(b"#")[0].decode()


# -- bytes -----------------------------------------------------------------------------------------------------------


def encode_segment(piece: Piece) -> bytes:
    """Bytes of a segment."""
    record: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "sources": [source_list(source) for source in piece.sources],
        "groups": [group_list(group) for group in piece.groups],
    }
    if piece.extensions:
        record["extensions"] = [(one.position, one.deadline, one.at, one.by, one.seconds) for one in piece.extensions]
    return orjson.dumps(record, tuple)


def decode_segment(key: bytes, value: bytes) -> Segment:
    """Read back `encode_segment`."""
    with reading(key):
        record = load(key, value)
        return Segment(
            [load_source(source) for source in record["sources"]],
            [load_group(group) for group in record["groups"]],
            [Extension(Position(*position), *rest) for position, *rest in record.get("extensions", ())],
        )


def source_list(source: StoredSource | SourceState) -> list[Any]:
    """A source as it is written."""
    fields = [source.position, source.source, source.opened_at, source.deadline, source.stations, source.codes]
    if source.trace is not None:
        return [*fields, source.timeout, source.trace]
    return fields if source.timeout is None else [*fields, source.timeout]


def load_source(record: list[Any]) -> StoredSource:
    """Read back `source_list`."""
    position, source, opened_at, deadline, stations, codes, *rest = record
    if codes and len(codes) != len(stations):
        message = "lists that run in parallel differ in length"
        raise ValueError(message)
    return StoredSource(Source(*source), opened_at, deadline, tuple(stations), codes, Position(*position), *rest)


def group_list(group: Group) -> list[Any]:
    """A group as it is written."""
    return [group.position, group.source, group.stations, group.codes, group.values, group.at]


def load_group(record: list[Any]) -> Group:
    """Read back `group_list`."""
    position, source, stations, codes, values, at = record
    if not len(stations) == len(codes) == len(values):
        message = "lists that run in parallel differ in length"
        raise ValueError(message)
    return Group(Position(*position), Source(*source), stations, codes, values, at)
