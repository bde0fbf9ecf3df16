"""Filters of batches: a part of the id or a time, the rule that closed, a range of time. Pure.

A range is of the time at which a batch closed first, or opened if it is open: `since` is in it, `until` is not.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import Query
from pydantic import Field

from app.inputs.timestamps import parse_duration, parse_time
from app.web.figures import rules_of
from app.web.paging import MayBeEmpty, Shape
from tables.closed_batches import Block, ClosedBatch
from tables.model.batch import Batch
from tables.model.enums import CompletedBy

_DAY: Final = 86_400
_QUARTER: Final = 900  # seconds in which no zone's clock is set twice
_EARLIEST_ID: Final = 978_307_200  # Unix seconds of 2001: a smaller number at the end of an id is no time
_TIME_OF_DAY: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_CLOCK: Final = re.compile(r"[0-9](?:[Tt]| +)([0-9]{1,2}(?::[0-9]{2}){0,2})", re.ASCII)
_PRECISIONS: Final = (3600, 60, 1)  # seconds, by the colons of a clock
_MOMENT: Final = r"^(?:[0-9]{1,11}(?:\.[0-9]{1,9})?|(?:[0-9]{1,9}(?:\.[0-9]{1,6})?[smhd]){1,4})$"

Moment = Annotated[str, Shape(_MOMENT, "Unix seconds, or a duration before now such as 15m or 1h30m")]
"""Unix seconds, or a duration before now."""

SinceQuery = Annotated[
    Moment | None,
    MayBeEmpty(),
    Query(description="Unix seconds, or a duration before now such as `15m` or `1h30m`; the range begins with it"),
]
UntilQuery = Annotated[
    Moment | None, MayBeEmpty(), Query(description="The same; the range ends before it. Without it there is no end")
]
SearchQuery = Annotated[
    Annotated[str, Field(max_length=300)] | None,
    MayBeEmpty(),
    Query(
        description="A part of the batch id, whatever its case; or a time in AGG_TIMEZONE, such as `10:00`, "
        "`10:00:30`, `2025-11-04` or `2025-11-04T10:00`: batches of that minute, second, day or hour, by the time in "
        "their id or by their opening"
    ),
]
StationQuery = Annotated[str | None, MayBeEmpty(), Query(description="Only batches that expected it")]
CompletedByQuery = Annotated[
    CompletedBy | None,
    MayBeEmpty(),
    Query(description="Only batches that this rule closed; `revision`: those that have been revised since"),
]


def moment_of(text: str | None, now: float) -> float | None:
    """Return the Unix seconds of a `Moment`, 0 at least; None for none."""
    if text is None:
        return None
    duration = parse_duration(text)
    return float(text) if duration is None else max(0.0, now - duration)


def moment_text(moment: float | None) -> str:
    """Write Unix seconds as a `Moment`, nothing for None."""
    return "" if moment is None else f"{moment:.6f}"


class Times:
    """Times that a search may mean: a span of Unix seconds, or a span of each day in a zone."""

    def __init__(self, start: float, seconds: int, zone: ZoneInfo | None) -> None:
        """A span of `seconds` from `start`, which is the second of the day in `zone`; without one, Unix seconds."""
        self._start = start
        self._seconds = seconds
        self._zone = zone

    def have(self, seconds: float) -> bool:
        """Say whether a time (Unix seconds) is one of them."""
        if self._zone is not None:
            seconds = (seconds + _offset(int(seconds // _QUARTER), self._zone)) % _DAY
        return 0 <= seconds - self._start < self._seconds


@lru_cache(4096)
def _offset(quarter: int, zone: ZoneInfo) -> float:
    """Return by how many seconds a zone's clock is ahead of UTC in a quarter of an hour since 1970."""
    try:
        offset = datetime.fromtimestamp(quarter * _QUARTER, zone).utcoffset()
    except (ValueError, OverflowError, OSError):
        return 0.0
    return offset.total_seconds() if offset is not None else 0.0


def times_of(text: str, zone: ZoneInfo) -> Times | None:
    """Return the times that a text means, None where it is no time."""
    text = text.strip()
    if (found := _TIME_OF_DAY.fullmatch(text)) is not None:
        hour, minute, second = int(found[1]), int(found[2]), found[3]
        return Times(hour * 3600 + minute * 60 + int(second or 0), 60 if second is None else 1, zone)
    moment = None if text.isdigit() else parse_time(text, zone)
    if moment is None:
        return None
    clock = _CLOCK.search(text)
    return Times(math.floor(moment), _DAY if clock is None else _PRECISIONS[clock[1].count(":")], None)


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that a batch must meet, but for the stations that it expects; None is no condition.

    Attributes:
        text: a part of the id, in lower case; where `times` are given, one of both is enough.
        times: times that the batch may be of.
        completed_by: the rule that closed it.
        since: Unix seconds; see the top.
        until: Unix seconds.
    """

    text: str | None = None
    times: Times | None = None
    completed_by: CompletedBy | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, batch: Batch | ClosedBatch) -> bool:
        """Say whether a batch meets the conditions."""
        rules, at = _closing_of(batch)
        if self.completed_by is not None and self.completed_by not in rules:
            return False
        if (self.since is not None and at < self.since) or (self.until is not None and at >= self.until):
            return False
        return self.text is None or self.text in batch.batch_id.lower() or self._is_of(batch)

    def may_match(self, block: Block) -> bool:
        """Say whether one of a block's batches may meet the conditions: false is sure, and cheap."""
        if self.since is not None and block.lines[-1].first_closed_at < self.since:
            return False
        if self.until is not None and block.lines[0].first_closed_at >= self.until:
            return False
        if self.completed_by is None or self.completed_by is CompletedBy.REVISION:
            return True
        rules = rules_of(block)
        return rules is None or self.completed_by in rules

    def _is_of(self, batch: Batch | ClosedBatch) -> bool:
        times = self.times
        if times is None:
            return False
        named = time_in_id(batch.batch_id)
        return times.have(batch.opened_at) or (named is not None and times.have(named))


EVERYTHING: Final = Filter()


def _closing_of(batch: Batch | ClosedBatch) -> tuple[Sequence[CompletedBy], float]:
    """Return the rules that closed and revised a batch, and when it closed first, or opened if it is open."""
    if isinstance(batch, ClosedBatch):
        return (batch.first_completed_by, batch.completed_by), batch.first_closed_at
    decision = batch.decision
    return ((), batch.opened_at) if decision is None else ((decision.completed_by,), decision.closed_at)


def time_in_id(batch_id: str) -> int | None:
    """Return the time that a batch id ends with (Unix seconds), None where it ends otherwise."""
    digits = batch_id.rpartition("_")[2]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 11):  # noqa: PLR2004 - as long as `Moment`s
        return None
    seconds = int(digits)
    return seconds if seconds >= _EARLIEST_ID else None


def filter_of(
    zone: ZoneInfo, *, q: str | None, completed_by: CompletedBy | None, since: str | None, until: str | None
) -> Filter:
    """Return the filter that a request asks for, as of now."""
    now = time.time()
    return Filter(
        text=q.lower() if q is not None else None,
        times=times_of(q, zone) if q is not None else None,
        completed_by=completed_by,
        since=moment_of(since, now),
        until=moment_of(until, now),
    )
