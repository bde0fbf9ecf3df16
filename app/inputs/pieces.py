"""Large source messages, read piece by piece: parsing 50 MB at once would hold up the event loop for a second.

Nothing tells where a record ends but reading it. So a message is cut where a record seems to end, between a brace, a
comma and another record that begins as the first one does, and each piece is read as a list of its own. That a piece
can be read is the proof that it was cut between records: in the middle of a record, or of a text, it would not be JSON.
If all pieces of a message can be read, the message is JSON, and its records are theirs. Whatever cannot be divided
like this for certain is read as a whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from app.inputs.grouping import UNLIMITED, BadMessage, Limits, SourceBatch, divide

PIECE_BYTES = 512 * 1024
_ATTEMPTS = 4  # at finding the end of a piece
_END_BYTES = 64  # of a message, in which its list ends

_BLANKS = rb"[ \t\r\n]*+"
# The start of a list, which may be all that an object has, and of the first record up to its first value.
_START = re.compile(
    rb'%b(?:(?P<object>\{)%b"(?P<key>[^"\\]*+)"%b:%b)?\[%b(?P<record>\{%b"[^"\\]*+"%b:)' % ((_BLANKS,) * 7)
)
_LIST_END = re.compile(rb"\]%b\Z" % _BLANKS)
_OBJECT_END = re.compile(rb"\]%b\}%b\Z" % (_BLANKS, _BLANKS))


class NotCutError(ValueError):
    """The message is to be read as a whole: it has another form than is read in pieces, or it is a bad one."""


class _Cut(NamedTuple):
    """The records of a message from `start` to `end`, as far as it is JSON at all."""

    start: int
    end: int
    between: re.Pattern[bytes]  # probably what parts two records
    in_object: bool


def batches_of(
    value: bytes,
    keys: Sequence[str],
    timezone: ZoneInfo,
    id_keys: Sequence[str],
    *,
    latest: float = math.inf,
    limits: Limits = UNLIMITED,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[SourceBatch]:
    """Divide a source message by station, in pieces.

    Args:
        value: The message.
        keys: Its envelope keys, all of them.
        timezone: As for `app.inputs.grouping.divide`, like the others.
        id_keys: The keys that may hold a record's station id.
        latest: The latest usable time, Unix seconds.
        limits: What the message may have.
        piece_bytes: A piece ends with the first record that ends behind so many of its bytes.

    Yields:
        What `divide` makes of each piece, with depths unchecked. A station may be in many of them.

    Raises:
        NotCutError: Even after pieces have been read: only at the end it is certain that they are the message's.
    """
    cut = _find(value, keys)
    start = cut.start
    while start < cut.end:
        attempts = list(islice(cut.between.finditer(value, start + piece_bytes, cut.end), _ATTEMPTS))
        ends = [(attempt.start() + 1, attempt.end()) for attempt in attempts]  # of the piece, and of what parts it
        if len(ends) < _ATTEMPTS:
            ends.append((cut.end, cut.end))
        for end, following in ends:
            batch = _read(value[start:end], cut, timezone, id_keys, latest=latest, limits=limits)
            if batch is not None:
                yield batch
                start = following
                break
        else:
            message = f"no record ends where one seems to, behind byte {start + piece_bytes}"
            raise NotCutError(message)


def _find(value: bytes, keys: Sequence[str]) -> _Cut:
    begin = _START.match(value)
    if begin is None:
        message = "it does not begin as a list of records, or as an object that has one"
        raise NotCutError(message)
    in_object = begin["object"] is not None
    if in_object and begin["key"] not in [key.encode() for key in keys]:
        message = "it has another envelope key"
        raise NotCutError(message)
    end = (_OBJECT_END if in_object else _LIST_END).search(value, max(0, len(value) - _END_BYTES))
    if end is None:
        message = "it does not end as a list of records, or as an object that has one"
        raise NotCutError(message)
    between = re.compile(rb"\}%b,%b(?=%b)" % (_BLANKS, _BLANKS, re.escape(begin["record"])))
    return _Cut(begin.start("record"), end.start(), between, in_object)


def _read(
    records: bytes, cut: _Cut, timezone: ZoneInfo, id_keys: Sequence[str], *, latest: float, limits: Limits
) -> SourceBatch | None:
    """Divide records, None where they are not whole. They stand as deep as in their message."""
    piece, find = (b"[[%b]]" % records, _only) if cut.in_object else (b"[%b]" % records, _all)
    try:
        batch = divide(piece, find, timezone, id_keys, latest=latest, limits=limits, check_depth=False)
    except BadMessage:
        return None
    return batch if batch.stations or batch.rejects else None


def _all(loaded: list[Any]) -> list[Any]:
    return loaded


def _only(loaded: list[Any]) -> list[Any]:
    """Return the one list of a list; the list that stands in an object may end early, and be followed by others."""
    if len(loaded) != 1:
        message = "more than a list of records"
        raise BadMessage(message)
    records: list[Any] = loaded[0]
    return records
