"""Large source messages, read piece by piece: parsing 50 MB at once would hold up the event loop for a second.

Nothing tells where a record ends but reading it. So a message is cut where a record seems to end, between a brace, a
comma and another record that begins as the first one does, and each part is read by itself. That it can be read is the
proof that it was cut between records: in the middle of a record, or of a text, it would not be JSON. If all parts of a
message can be read, the message is JSON, and its records are theirs. Where no record begins as the first one does,
records are measured by their brackets instead. Whatever cannot be divided like this for certain is read as a whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson

from app.inputs.grouping import UNLIMITED, Limits
from app.inputs.records import Piece, RecordReader

PIECE_BYTES = 512 * 1024
_REACH = 4  # of a search for the end of a piece, in pieces
_ATTEMPTS = 4  # at finding the end of a piece
_MEASURED_BYTES = 4 * PIECE_BYTES  # of a record that is measured: to measure one of any size could take as long as it
_AROUND_BYTES = 64 * 1024  # before the list and behind it, in which other keys may stand

_BLANKS = rb"[ \t\r\n]*+"
# The start of a list, and of its first record up to its first value.
_LIST = rb"\[%b(?P<record>\{%b\"[^\"\\]*+\"%b:)" % ((_BLANKS,) * 3)
_ALONE = re.compile(_BLANKS + _LIST)
_COMMA = re.compile(rb"%b,%b" % (_BLANKS, _BLANKS))
_BLANK = re.compile(_BLANKS)
_LIST_END = re.compile(rb"%b\]" % _BLANKS)

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_LEVELS = 8  # of lists and objects in a record that is measured


def _record_pattern() -> re.Pattern[bytes]:
    inside = rb'[^][{}"]++|' + _TEXT
    for _ in range(_LEVELS):
        inside = rb'[^][{}"]++|%b|[{\[](?:%b)*+[}\]]' % (_TEXT, inside)
    return re.compile(rb"\{(?:%b)*+\}" % inside, re.DOTALL)


_RECORD = _record_pattern()


class NotCutError(ValueError):
    """The message is to be read as a whole: it has another form than is read in pieces, or it is a bad one."""


class _Start(NamedTuple):
    """The start of the records of a message, as far as it is JSON at all."""

    at: int
    head: bytes  # before the list
    first: bytes  # the start of the first record, up to its first value

    @property
    def in_object(self) -> bool:
        """Return whether the list is the value of an envelope key."""
        return self.head.endswith(b":")


def read_in_pieces(
    value: bytes,
    keys: Sequence[str],
    timezone: ZoneInfo,
    id_keys: Sequence[str],
    *,
    latest: float = math.inf,
    limits: Limits = UNLIMITED,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[Piece]:
    """Divide a source message by station, in pieces.

    Args:
        value: The message.
        keys: Its envelope keys, all of them.
        timezone: As for `app.inputs.grouping.divide`, like the others.
        id_keys: The keys that may hold a record's station id.
        latest: The latest usable time, Unix seconds.
        limits: What the message may have; how many stations is not looked at.
        piece_bytes: A piece ends with the first record that ends behind so many of its bytes.

    Yields:
        Each piece. A station may be in many of them.

    Raises:
        NotCutError: Even after pieces have been read: only at the end it is certain that they are the message's.
        TooDeepError: A record may be nested too deeply.
    """
    begin = _find(value, keys)
    between = re.compile(rb"\}%b,%b(?=%b)" % (_BLANKS, _BLANKS, re.escape(begin.first)))
    sample = between.search(value, begin.at, begin.at + _REACH * piece_bytes)
    reader = RecordReader(timezone, id_keys, latest, limits, first=begin.first, between=sample[0] if sample else b"},")
    start, last = begin.at, value.rfind(b"]")
    while value[start : start + 1] != b"]":
        for end, following in _ends(value, start, last, between, piece_bytes):
            piece = reader.read(value[start:end], in_object=begin.in_object)
            if piece is not None:
                yield piece
                start = following
                break
        else:
            message = f"no record ends where one seems to, behind byte {start + piece_bytes}"
            raise NotCutError(message)
    tail = value[start + 1 :]
    if not (_is_list_of(begin.head, tail, keys) if begin.in_object else _BLANK.fullmatch(tail)):
        message = "something else than an envelope is around its list of records"
        raise NotCutError(message)


def _ends(
    value: bytes, start: int, last: int, between: re.Pattern[bytes], piece_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yield where a piece from `start` may end, and where the next one begins then, or the list ends.

    `last`: where the last list of the message ends, which mostly is that of its records.
    """
    reach = min(last, start + (_REACH + 1) * piece_bytes)
    attempts = [*islice(between.finditer(value, start + piece_bytes, reach), _ATTEMPTS)]
    for attempt in attempts:
        yield attempt.start() + 1, attempt.end()
    if reach == last and len(attempts) < _ATTEMPTS:
        yield last, last
    if (measured := _measure(value, start, piece_bytes)) is not None:
        yield measured


def _measure(value: bytes, start: int, piece_bytes: int) -> tuple[int, int] | None:
    """Return the end of the last record, or of the first that ends so many bytes behind `start`, by its brackets.

    That takes ten times as long as to look for a record that begins as the first one does.
    """
    at, reach = start, start + piece_bytes + _MEASURED_BYTES
    while (record := _RECORD.match(value, at, reach)) is not None:
        end = record.end()
        comma = _COMMA.match(value, end)
        if comma is None:
            bracket = _LIST_END.match(value, end)
            return None if bracket is None else (end, bracket.end() - 1)
        at = comma.end()
        if end - start >= piece_bytes:
            return None if value[at : at + 1] == b"]" else (end, at)
    return None


def _find(value: bytes, keys: Sequence[str]) -> _Start:
    begin = _ALONE.match(value)
    if begin is not None:
        return _Start(begin.start("record"), b"", begin["record"])
    around = value[:_AROUND_BYTES]
    names = b"|".join([re.escape(orjson.dumps(key)) for key in keys])
    for begin in islice(re.finditer(rb"(?P<key>(?:%b)%b:)%b%b" % (names, _BLANKS, _BLANKS, _LIST), around), _ATTEMPTS):
        head = value[: begin.end("key")]
        if _is_list_of(head, b"}", keys):
            return _Start(begin.start("record"), head, begin["record"])
    message = "it does not begin as a list of records, or as an object that soon has one"
    raise NotCutError(message)


def _is_list_of(head: bytes, tail: bytes, keys: Sequence[str]) -> bool:
    """Return whether what stands between these is the value of the envelope key of a message that is an object."""
    if len(tail) > _AROUND_BYTES:
        return False
    for number in (1, 2):  # one of them could stand there anyway
        try:
            loaded = orjson.loads(b"%b%d%b" % (head, number, tail))
            # All of a message must be such that it can be written again, inside an envelope.
            orjson.dumps([[[[[[[[loaded]]]]]]]])
        except (ValueError, TypeError):
            return False
        if type(loaded) is not dict or next((loaded[key] for key in keys if key in loaded), None) != number:
            return False
    return True
