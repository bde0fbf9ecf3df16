"""Marks: how far a window has taken in the partitions of its topic. By them a repeat is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Mark(NamedTuple):
    """How far one partition was taken in: what stands before the offset is a repeat.

    Attributes:
        partition: of the topic.
        offset: of the latest message that was applied, or the next one.
        timestamp: Kafka's, the latest of these messages; Unix seconds.
        seen: the message at the offset has been applied, and may go on in another frame. Not seen: it is still to
            come, and all of what stands before was deleted.
    """

    partition: int
    offset: int
    timestamp: float
    seen: bool = True


Marks = tuple[Mark, ...]
"""One of each partition at most."""


def is_repeat(message: Mark, marks: Marks) -> bool:
    """Return whether a message stands before the mark of its partition."""
    partition, offset, timestamp, _ = message
    for mark in marks:  # by hand: once for each record, and `any` takes three times as long
        if mark[0] == partition:
            return offset < mark[1] and timestamp <= mark[2]
    return False


def marked(marks: Marks, new: Iterable[Mark]) -> Marks:
    """Return marks with new ones, the latest of each partition."""
    for mark in new:
        before = None
        for one in marks:
            if one[0] == mark[0]:
                before = one
        if before is None:
            marks = (*marks, mark)
            continue
        # A lower offset with a later timestamp is not before: the topic has been made anew.
        if mark.offset < before.offset and mark.timestamp <= before.timestamp:
            continue
        latest = mark
        if mark.timestamp < before.timestamp:
            latest = latest._replace(timestamp=before.timestamp)
        if before.seen and not mark.seen and mark.offset == before.offset:
            latest = latest._replace(seen=True)
        marks = (latest,) if len(marks) == 1 else (*(one for one in marks if one is not before), latest)
    return marks


def all_deleted(marks: Marks) -> Marks:
    """Return marks by which the last message of each partition is a repeat, too, and nothing that is still to come."""
    return tuple([mark._replace(offset=mark.offset + 1, seen=False) if mark.seen else mark for mark in marks])
