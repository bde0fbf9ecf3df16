"""Filling the gaps of a column (`AGG_FILL`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import count, pairwise
from operator import eq
from typing import Any

from app.settings.enums import Fill

NUMBERS = frozenset({int, float})
"""The types of JSON numbers. A bool is an int to isinstance, so types are compared."""
NUMBERS_AND_GAPS = NUMBERS | {type(None)}

_NESTED = frozenset({list, dict})


@dataclass(frozen=True)
class Timeline:
    """The T points of a station and where its records stand on them."""

    points: list[str | None]
    """T texts `YYYY-MM-DD HH:MM:SS`, strictly ascending, or T times None."""
    rows: Sequence[int]
    """For each record the row of its point."""
    fill: Fill
    """The rule for the gaps, where no record gave a value."""

    @cached_property
    def positions(self) -> list[float]:
        """T places on an axis of seconds, strictly ascending; points without a time are equally far apart.

        The axis is local time as the texts have it: they ascend even where the clock is set back.
        """
        return [
            float(row) if point is None else datetime.fromisoformat(point).replace(tzinfo=UTC).timestamp()
            for row, point in enumerate(self.points)
        ]

    @cached_property
    def is_alone(self) -> bool:
        """Whether each record has a point of its own."""
        return len(set(self.rows)) == len(self.rows)

    @cached_property
    def is_whole(self) -> bool:
        """Whether the records are the points, one by one."""
        rows = self.rows
        if type(rows) is range:  # a window's, whose comparison costs nothing
            return rows == range(len(self.points))
        return len(self.points) == len(rows) and all(map(eq, rows, count()))

    def spread(self, values: Sequence[Any]) -> list[Any]:
        """Put one value of each record, all of which have points of their own, in its row; None where no record is."""
        if self.is_whole:
            return [*values]
        column: list[Any] = [None] * len(self.points)
        for row, value in zip(self.rows, values, strict=True):
            column[row] = value
        return column

    def place(self, row: int) -> str:
        """Name the place of a row, for an error."""
        point = self.points[row]
        return f"in record {row + 1}, which has no time," if point is None else f"at {point}"


def own(value: Any) -> Any:
    """Return the JSON value with copies of all lists and objects in it, so that whoever edits it changes no other.

    `copy.deepcopy` takes ten times as long: it looks for what is in there twice, which JSON does not know.
    """
    kind = type(value)
    if kind is list:
        return [own(item) for item in value]
    if kind is dict:
        return {name: own(item) for name, item in value.items()}
    return value


def own_all(values: list[Any]) -> list[Any]:
    """Return the values with copies of those that are lists or objects; the same list where none is."""
    return values if _NESTED.isdisjoint(map(type, values)) else [own(value) for value in values]


def gap_alone(fill: Fill) -> float | None:
    """Return the value of a gap in a column that has no value at all."""
    return 0.0 if fill is Fill.ZERO else None


def fill_series(values: list[Any], timeline: Timeline) -> list[Any]:
    """Fill the gaps (None) of one series of values in ascending time.

    A series is numeric when every known value is a number; one without any known value counts as numeric.

    - `zero`: 0.0 in a numeric series; other gaps stay None, since no text means zero.
    - `missing`: gaps stay None.
    - `forward`: the last known value before; leading gaps stay None, nothing is known there.
    - `linear`: numeric: on the straight line in time between the known neighbours, and at both ends the nearest known
      value; other series: as `forward`.

    Args:
        values: T values; not changed.
        timeline: The rule, and the places in time.

    Returns:
        T values; the same list when it has no gaps.
    """
    fill = timeline.fill
    kinds = set(map(type, values))
    if type(None) not in kinds or fill is Fill.MISSING:
        return values
    kinds.discard(type(None))
    numeric = kinds <= NUMBERS
    if not kinds:
        return [gap_alone(fill)] * len(values)
    if fill is Fill.ZERO:
        return [0.0 if value is None else value for value in values] if numeric else values
    if fill is Fill.LINEAR and numeric:
        return _interpolate(values, timeline.positions)
    return _carry_forward(values)


def _carry_forward(values: list[Any]) -> list[Any]:
    filled: list[Any] = []
    last: Any = None
    for value in values:
        if value is not None:
            last = value
        filled.append(last)
    return filled


def _interpolate(values: list[Any], positions: Sequence[float]) -> list[Any]:
    """Fill between known values on a straight line; at least one value is known."""
    known = [row for row, value in enumerate(values) if value is not None]
    filled = values.copy()
    filled[: known[0]] = [values[known[0]]] * known[0]
    filled[known[-1] :] = [values[known[-1]]] * (len(values) - known[-1])
    for left, right in pairwise(known):
        span = positions[right] - positions[left]
        for row in range(left + 1, right):
            filled[row] = _on_line(values[left], values[right], (positions[row] - positions[left]) / span)
    return filled


def _on_line(start: float, end: float, share: float) -> float:
    """Return the value between two others, `share` of the way from `start`; they are finite, and so is this."""
    try:
        value = start + (end - start) * share
    except OverflowError:  # an integer that no float holds
        return start
    # The difference of two floats may be more than a float holds.
    return value if math.isfinite(value) else start * (1.0 - share) + end * share
