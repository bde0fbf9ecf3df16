"""The stored records of batches, their keys and their bytes: JSON with a format version. Pure.

`batch id`             the header: what has been decided, from the closing of the batch on
`batch id#places`      a segment: the messages and outcomes that one chunk of the log brought, written once
`batch id#places+`     the same of what came after the closing: it outlives what came in time
`batch id#r<number>`   a later revision of the output

All records of a batch stand in one changelog, in the order in which they were written. So whatever of it a crash leaves
is a state that the batch was in: no outcome without its message, nothing late without the header, no revision without
what made it. An id and a result are each written a constant number of times, so the changelog grows linearly with the
stations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, StrEnum
from typing import Any

import orjson

from tables.model.enums import Action, Code, CompletedBy, LatePolicy, State, Status
from tables.model.events import (
    ABSENT,
    Command,
    Extension,
    Group,
    Operator,
    Position,
    Segment,
    SourceState,
)
from tables.model.fast_dataclass import fast_dataclass
from tables.storage.checks import (
    NUMBER,
    NUMBER_OR_NONE,
    TEXT_OR_NONE,
    NewerFormatError,
    check_all,
    check_one,
    check_version,
    position_of,
    source_of,
)
from tables.storage.exact_json import loads_marked

LATE = b"+"  # ends the keys of what came late
REVISION = b"#r"


class Table(StrEnum):
    """The Faust tables: the aggregator's, and the station agents'."""

    BATCHES = "batches"
    CONTEXT = "context"


@fast_dataclass(frozen=True, slots=True)
class Write:
    """A record to be stored, or deleted where `value` is None."""

    table: Table
    key: bytes
    value: bytes | None


@fast_dataclass(frozen=True, slots=True)
class Destination:
    """Where a batch's output goes; decided with the batch, so that a new owner looks for it in the same place."""

    topic: str
    partition: int


@fast_dataclass(frozen=True, slots=True)
class Prepared:
    """The answer of a custom result handler: what to publish, nothing, or the error of a dead letter.

    Both are there when the answer was too large: then `value` is only the start of it.
    """

    value: str | None
    error: str | None = None


@fast_dataclass(frozen=True, slots=True)
class Counts:
    """How many stations a decision has of each kind."""

    expected: int
    arrived: int
    failed: int
    empty: int


@fast_dataclass(frozen=True, slots=True)
class Header:
    """A batch that has closed: all that is needed to publish it, to tell what comes late, and to revise it."""

    batch_id: str
    state: State
    status: Status
    completed_by: CompletedBy
    late_policy: LatePolicy
    opened_at: float
    deadline: float
    closed_at: float
    counts: Counts
    sources: tuple[SourceState, ...]
    errors: dict[str, str]
    destination: Destination
    tail: tuple[Group, ...] = ()
    prepared: Prepared | None = None
    operator: Operator | None = None
    arrived_at: float | None = None  # the last arrival in time
    extensions: tuple[Command, ...] = ()  # that moved the deadline: a repeat of one is no news


@fast_dataclass(frozen=True, slots=True)
class Revision:
    """A revision after the first: a few numbers. `position` is that of the event that led to it.

    It was made of the batch's other records, as far as they stand before it in the log.
    """

    batch_id: str
    number: int
    state: State
    status: Status
    closed_at: float
    counts: Counts
    position: Position
    destination: Destination
    prepared: Prepared | None = None


# -- keys --------------------------------------------------------------------------------------------------------------


class RecordKind(Enum):
    """The kinds of a batch's records, as their keys tell them apart, in the order in which they may be deleted."""

    LATE = 1  # a segment of what came after the closing
    REVISION = 2
    EARLY = 3  # a segment of what came in time
    HEADER = 4


def kind_of(key: bytes) -> RecordKind:
    """Return the kind of a record; `#` can't stand in a batch id."""
    if b"#" not in key:
        return RecordKind.HEADER
    if REVISION in key:
        return RecordKind.REVISION
    return RecordKind.LATE if key.endswith(LATE) else RecordKind.EARLY


def deletions(keys: Iterable[bytes]) -> list[Write]:
    """Delete records of a batch. Whatever of it a crash leaves, a closed batch never looks like one that is open."""
    return [Write(Table.BATCHES, key, None) for key in sorted(keys, key=lambda key: kind_of(key).value)]


def batch_of_key(key: bytes) -> str:
    """Return the batch id of a key."""
    return key.partition(b"#")[0].decode()


def segment_key(batch_id: str, segment: Segment) -> bytes:
    """Make the key of a segment, of the places in the log of its first and its last event that concern the batch.

    Both, because two owners may cut the log differently, and neither's record may take the place of one of the other's
    that holds more.
    """
    lists: tuple[Sequence[SourceState | Group | Extension], ...] = (segment.sources, segment.groups, segment.extensions)
    places = [one.position for ends in lists if ends for one in (ends[0], ends[-1])]
    first, last = min(places), max(places)
    key = f"{batch_id}#{first.offset}.{first.ordinal}-{last.offset - first.offset}.{last.ordinal}".encode()
    return key + LATE if segment.late else key


def revision_key(batch_id: str, number: int) -> bytes:
    """Make the key of a revision after the first."""
    return batch_id.encode() + REVISION + str(number).encode()


# -- the format --------------------------------------------------------------------------------------------------------


FORMAT_VERSION = 1
_CODES = frozenset(Code)
_STORED_CODES = _CODES | {ABSENT}
_NOT_PARALLEL = "lists that run in parallel differ in length"


class UnreadableRecordError(ValueError):
    """A table's record can't be read: written by a newer version, or damaged. It ends a worker."""


@contextmanager
def reading(key: bytes) -> Iterator[None]:
    """Raise UnreadableRecordError for whatever is not as we write it."""
    try:
        yield
    except UnreadableRecordError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"the record of key {key!r} is not one of ours: {error!r}"
        raise UnreadableRecordError(message) from error


def load(key: bytes, value: bytes) -> dict[str, Any]:
    """Parse a record, if its version is one that this program reads."""
    record = loads_marked(value)
    try:
        check_version(record["v"], FORMAT_VERSION)
    except NewerFormatError as error:
        message = f"the record of key {key!r} can't be read: {error}"
        raise UnreadableRecordError(message) from error
    return dict(record)


# -- segments ----------------------------------------------------------------------------------------------------------


def encode_segment(segment: Segment) -> bytes:
    """Return the bytes of a segment."""
    record: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "sources": [source_list(source) for source in segment.sources],
        "groups": [group_list(group) for group in segment.groups],
    }
    if segment.extensions:
        record["extensions"] = [(one.position, one.deadline, one.at, one.by, one.seconds) for one in segment.extensions]
    return orjson.dumps(record, tuple)


def decode_segment(key: bytes, value: bytes) -> Segment:
    """Read back `encode_segment`."""
    with reading(key):
        record = load(key, value)
        return Segment(
            late=kind_of(key) is RecordKind.LATE,
            sources=[_load_source(source) for source in record["sources"]],
            groups=[_load_group(group) for group in record["groups"]],
            extensions=[_load_extension(*extension) for extension in record.get("extensions", ())],
        )


def source_list(source: SourceState) -> list[Any]:
    """Return a source message as it is stored."""
    fields = [source.position, source.source, source.opened_at, source.deadline, source.stations, source.codes]
    if source.trace is not None:
        return [*fields, source.timeout, source.trace]
    return fields if source.timeout is None else [*fields, source.timeout]


def _load_source(record: list[Any]) -> SourceState:
    position, source, opened_at, deadline, stations, codes, *rest = record
    timeout, trace = [*rest, None, None][: max(2, len(rest))]
    check_all([opened_at, deadline], *NUMBER)
    check_one(timeout, *NUMBER_OR_NONE)
    check_one(trace, *TEXT_OR_NONE)
    check_all(stations, str)
    _check_codes(codes, stations if codes else (), _STORED_CODES)
    place = position_of(position)
    return SourceState(source_of(source), opened_at, deadline, tuple(stations), place, codes, timeout, trace)


def group_list(group: Group) -> list[Any]:
    """Return outcomes as they are stored."""
    return [group.position, group.source, group.stations, group.codes, group.values, group.at]


def _load_group(record: list[Any]) -> Group:
    position, source, stations, codes, values, at = record
    check_all(stations, str)
    check_all(values, *TEXT_OR_NONE)
    check_one(at, *NUMBER)
    _check_codes(codes, stations, _CODES)
    if len(values) != len(stations):
        raise ValueError(_NOT_PARALLEL)
    return Group(position_of(position), source_of(source), stations, codes, values, at)


def _load_extension(position: Any, deadline: Any, at: Any, by: Any, seconds: Any) -> Extension:
    check_all([deadline, at, seconds], *NUMBER)
    check_one(by, str)
    return Extension(position_of(position), deadline, at, by, seconds)


def _check_codes(codes: Any, parallel: Sequence[Any], known: frozenset[str]) -> None:
    check_one(codes, str)
    if len(codes) != len(parallel):
        raise ValueError(_NOT_PARALLEL)
    if not known.issuperset(set(codes)):
        message = f"unknown outcome among {codes!r}"
        raise ValueError(message)


# -- headers and revisions ---------------------------------------------------------------------------------------------


def decode_header(key: bytes, value: bytes) -> Header:
    """Read back a header's record."""
    with reading(key):
        record = load(key, value)
        operator, arrived_at = record.get("operator"), record.get("arrived_at")
        sources = tuple(_load_source(source) for source in record["sources"])
        if not sources or any(len(source.codes) != len(source.stations) for source in sources):
            message = "a batch without a message, or a message without its outcomes"
            raise ValueError(message)
        return Header(
            **_load_decided(key, record),
            completed_by=CompletedBy(record["completed_by"]),
            late_policy=LatePolicy(record["late_policy"]),
            opened_at=_number(record["opened_at"]),
            deadline=_number(record["deadline"]),
            sources=sources,
            errors=_errors(record["errors"]),
            tail=tuple(_load_group(group) for group in record.get("tail", ())),
            operator=_operator(*operator) if operator else None,
            arrived_at=None if arrived_at is None else _number(arrived_at),
            extensions=tuple(_extend(record["id"], *extension) for extension in record.get("extensions", ())),
        )


def decode_revision(key: bytes, value: bytes) -> Revision:
    """Read back a revision's record."""
    with reading(key):
        record = load(key, value)
        return Revision(
            **_load_decided(key, record),
            number=_whole(record["revision"]),
            position=position_of(record["position"]),
        )


def _load_decided(key: bytes, record: dict[str, Any]) -> dict[str, Any]:
    """Read back what a header and a revision share, as arguments."""
    if record["id"] != batch_of_key(key):
        message = f"it is of batch {record['id']!r}"
        raise ValueError(message)
    check_all(record["counts"], int)
    topic, partition = record["destination"]
    check_one(topic, str)
    prepared = record.get("prepared")
    if prepared:
        check_all(prepared, *TEXT_OR_NONE)
    return {
        "batch_id": record["id"],
        "state": State(record["state"]),
        "status": Status(record["status"]),
        "closed_at": _number(record["closed_at"]),
        "counts": Counts(*record["counts"]),
        "destination": Destination(topic, _whole(partition)),
        "prepared": Prepared(*prepared) if prepared else None,
    }


def _errors(errors: Any) -> dict[str, str]:
    check_all(list(errors.values()), str)
    return dict(errors)


def _operator(action: Any, by: Any, at: Any) -> Operator:
    check_one(by, str)
    return Operator(Action(action), by, _number(at))


def _extend(batch_id: str, at: Any, by: Any, seconds: Any) -> Command:
    check_one(by, str)
    return Command(batch_id, Action.EXTEND, _number(at), by, _number(seconds))


def _number(value: Any) -> float:
    check_one(value, *NUMBER)
    number: float = value
    return number


def _whole(value: Any) -> int:
    check_one(value, int)
    return int(value)
