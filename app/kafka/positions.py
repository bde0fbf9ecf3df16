"""Where reading of a partition starts, and how it goes on when its log is not the one that has been read. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

_FIRST_PARTITIONS = re.compile(r"first-partitions=(\d+)")
_CHANGELOG = re.compile(r"changelog=(\d+)")


class Cause(Enum):
    """Why a partition is read from an offset."""

    COMMITTED = auto()  # that is where the group was
    FRESH = auto()  # nothing is committed
    GONE = auto()  # the log begins after what is committed
    SHORTER = auto()  # the log ends before what is committed
    MADE_AGAIN = auto()  # the topic was deleted and made again


@dataclass(frozen=True, slots=True)
class Base:
    """Where reading of a partition starts, and why."""

    offset: int
    cause: Cause


def base_of(committed: int | None, first: int, end: int, *, made_again: bool, from_end: bool) -> Base:
    """Return where to read a partition from.

    A log that ends before our position holds other messages than those that we know: it was truncated, restored or
    made again, and nobody says which of them have been read. It is read from its beginning: what comes twice is told
    by topic, partition and offset as long as its batch is remembered, and what was passed over would be lost.

    Args:
        committed: offset that the group has committed, None or negative without one.
        first: where the log begins now.
        end: the offset behind its last.
        made_again: the topic is another one than the one that was read under its name.
        from_end: where nothing is committed, start behind what is there.
    """
    if made_again:
        return Base(first, Cause.MADE_AGAIN)
    if committed is None or committed < 0:
        return Base(end if from_end else first, Cause.FRESH)
    if committed > end:
        return Base(first, Cause.SHORTER)
    if committed < first:
        return Base(first, Cause.GONE)
    return Base(committed, Cause.COMMITTED)


def lost_before(start: int, stop: int, log_start: int) -> int:
    """Return up to where, exclusive, a hole from `start` to `stop` is what the broker has let go of.

    Nothing from there on was ever a message: markers of transactions, and what compaction has removed.
    """
    return max(start, min(stop, log_start))


# -- what commits say --------------------------------------------------------------------------------------------------


def first_partitions_text(count: int) -> str:
    """Return the metadata of a commit that says how many partitions its topic had when the group began to read it."""
    return f"first-partitions={count}"


def first_partitions_in(texts: Collection[str], count: int) -> int:
    """Return how many partitions a topic had when the group began to read it.

    Args:
        texts: metadata of the commits of its partitions. Without any, the group begins now. A commit whose metadata say
            nothing was made without AGG_START=latest: all partitions are read from their beginning then.
        count: partitions that it has now.
    """
    if not texts:
        return count
    found = [int(match[1]) for text in texts if (match := _FIRST_PARTITIONS.fullmatch(text))]
    return min(found) if len(found) == len(texts) else 0


def changelog_text(end: int) -> str:
    """Return the metadata of a commit that says up to where, exclusive, the partition's changelog had been written."""
    return f"changelog={end}"


def changelog_end_in(text: str) -> int:
    """Return up to where a changelog had been written when events were committed: one record where that is not said."""
    match = _CHANGELOG.fullmatch(text)
    return int(match[1]) if match else 1
