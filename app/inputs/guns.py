"""The guns of one station: `gunPower` of its records -> the columns of T x G values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.inputs.gap_filling import NUMBERS_AND_GAPS, Timeline, fill_series, own
from app.settings.enums import Fill
from tables.context import Record

POWER = "outputPower"
"""A field whose name begins with this holds numbers. Others, such as `gunPowerMode` or `gunType`, may be text."""

MAX_CELLS = 4_000_000
"""The most values of all gun lists, or of all other fields, of a station: a day in seconds of 15 guns has a third."""

RESERVED = frozenset({"sendTime", "gunNo", "hostCode"})
"""No list of `gunPower` besides gunNo may be named like these."""

_CODES = frozenset({str, int})
_SHOWN = 60


class AlignmentError(ValueError):
    """A station's records cannot be aligned; the text names the field, the time and what was found."""


def misfit(place: str, name: str, verb: str, value: Any, wanted: str) -> AlignmentError:
    """Return the error that a field is, or holds, a value of another kind than the one wanted."""
    return AlignmentError(f"{name} {place} {verb} {_describe(value)}, not {wanted}")


def check_cells(timeline: Timeline, per_point: int, what: str) -> None:
    """Check that so many values a point are not more than columns may have; raises AlignmentError.

    Records that have little in common make columns that are mostly gaps: their size is the square of the message's.
    """
    points = len(timeline.points)
    if points * per_point > MAX_CELLS:
        message = (
            f"{points} points of {what} come to {points * per_point} values, more than {MAX_CELLS}: mostly gaps;"
            " the records of a station have to be of the same guns and fields, and of times near each other"
        )
        raise AlignmentError(message)


def _describe(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def gun_columns(records: Sequence[Record], timeline: Timeline) -> dict[str, list[Any]]:
    """Align the guns of a station.

    A gun is known by (hostCode, gunNo), both as text; hostCode is None where a record has none. Cells of one point and
    gun are merged: the last known one wins, within a record too. A gun list that is null, or not there, is all gaps.

    Args:
        records: The station's records.
        timeline: The T points, the records' rows on them, and how gaps are filled, each gun for itself.

    Returns:
        `gunNo` and `hostCode` (G values, guns in order of first appearance), then each list of `gunPower` (T rows of G
        values) in order of first appearance. Nothing at all when no record has a `gunPower`.

    Raises:
        AlignmentError: `gunPower` is no object, gunNo no list of texts or integers, a gun list ragged, one whose name
            begins with `outputPower` holding something else than numbers and nulls, hostCode neither text nor integer.
    """
    table = _GunTable(timeline)
    for record, row in zip(records, timeline.rows, strict=True):
        if record.get("gunPower") is not None:
            table.read(record, row)
    if not table.layouts:
        return {}
    check_cells(timeline, len(table.guns) * len(table.cells), f"{len(table.guns)} guns x {len(table.cells)} lists")
    columns: dict[str, list[Any]] = {
        "gunNo": [gun_no for _, gun_no in table.guns],
        "hostCode": [host for host, _ in table.guns],
    }
    for name in table.cells:
        matrix = table.matrix(name)
        columns[name] = matrix if name.startswith(POWER) else own(matrix)  # only numbers are sure to hold no lists
    return columns


@dataclass(slots=True)
class _GunTable:
    timeline: Timeline
    guns: dict[tuple[str | None, str], int] = field(default_factory=dict)
    """(hostCode, gunNo) -> column."""
    layouts: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)
    """(hostCode, *gunNo) as a record has them -> the columns of its guns, in the order of its lists."""
    cells: dict[str, list[tuple[int, list[int], list[Any]]]] = field(default_factory=dict)
    """Gun list -> of each record that has it: row, columns of its guns, values."""

    def read(self, record: Record, row: int) -> None:
        """Take in the `gunPower` of a record; raises AlignmentError."""
        gun_power = record["gunPower"]
        if gun_power == []:
            gun_power = {}  # what an object without fields becomes in PHP, among others: no gun
        if type(gun_power) is not dict:
            raise misfit(self.timeline.place(row), "gunPower", "is", gun_power, "an object")
        columns = self._columns(record.get("hostCode"), gun_power.get("gunNo"), row)
        for name, values in gun_power.items():
            if name == "gunNo":
                continue
            if name in RESERVED:
                place = self.timeline.place(row)
                message = f"gunPower.{name} {place}: a gun list cannot have the name of the column {name}"
                raise AlignmentError(message)
            entries = self.cells.setdefault(name, [])
            if values is not None:
                self._check(name, values, len(columns), row)
                entries.append((row, columns, values))

    def _columns(self, host: Any, gun_nos: Any, row: int) -> list[int]:
        if gun_nos is None:
            gun_nos = []
        if type(gun_nos) is not list:
            raise misfit(self.timeline.place(row), "gunPower.gunNo", "is", gun_nos, "a list")
        if not _CODES.issuperset(map(type, gun_nos)):
            wrong = next(gun_no for gun_no in gun_nos if type(gun_no) not in _CODES)
            raise misfit(self.timeline.place(row), "gunPower.gunNo", "holds", wrong, "text or an integer")
        if host is not None and type(host) not in _CODES:
            raise misfit(self.timeline.place(row), "hostCode", "is", host, "text or an integer")
        layout = (host, *gun_nos)
        columns = self.layouts.get(layout)
        if columns is None:
            code = None if host is None else str(host)
            columns = [self.guns.setdefault((code, str(gun_no)), len(self.guns)) for gun_no in gun_nos]
            self.layouts[layout] = columns
        return columns

    def _check(self, name: str, values: Any, guns: int, row: int) -> None:
        """Check that a gun list has a value for each gun, and numbers where its name asks for them."""
        if type(values) is not list:
            raise misfit(self.timeline.place(row), f"gunPower.{name}", "is", values, "a list")
        if len(values) != guns:
            place = self.timeline.place(row)
            message = f"gunPower.{name} {place} has {len(values)} values for the {guns} guns of gunNo"
            raise AlignmentError(message)
        if name.startswith(POWER) and not NUMBERS_AND_GAPS.issuperset(map(type, values)):
            wrong = next(value for value in values if type(value) not in NUMBERS_AND_GAPS)
            raise misfit(self.timeline.place(row), f"gunPower.{name}", "holds", wrong, "a number")

    def matrix(self, name: str) -> list[list[Any]]:
        """Return the T rows of one gun list, gaps filled."""
        rows: list[list[Any] | None] = [None] * len(self.timeline.points)
        # One layout with each gun once: the lists of the records are the rows already.
        straight = len(self.layouts) == 1 and all(len(columns) == len(self.guns) for columns in self.layouts.values())
        for row, columns, values in self.cells[name]:
            merged = rows[row]
            if merged is None and straight:
                rows[row] = values.copy()
                continue
            if merged is None:
                merged = rows[row] = [None] * len(self.guns)
            for column, value in zip(columns, values, strict=True):
                if value is not None:
                    merged[column] = value
        return fill_matrix([[None] * len(self.guns) if row is None else row for row in rows], self.timeline)


def fill_matrix(rows: list[list[Any]], timeline: Timeline) -> list[list[Any]]:
    """Fill the gaps of T rows of G values, each gun for itself; the same rows where there is none."""
    kinds: set[type] = set()
    for row in rows:
        kinds.update(map(type, row))
    if type(None) not in kinds:
        return rows
    if timeline.fill is Fill.ZERO and not kinds <= NUMBERS_AND_GAPS:
        return rows  # no text means zero, also for a gun of which nothing is known
    filled = [fill_series(list(series), timeline) for series in zip(*rows, strict=True)]
    return [list(row) for row in zip(*filled, strict=True)]
