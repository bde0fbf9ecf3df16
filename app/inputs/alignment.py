"""The callback's input: one station's records -> columns aligned in time (CONTRACT 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import compress
from typing import Any
from zoneinfo import ZoneInfo

from app.inputs.gap_filling import NUMBERS, Timeline, fill_series, gap_alone, own
from app.inputs.grouping import STATION_ID_KEYS, id_key
from app.inputs.guns import POWER, AlignmentError, check_cells, gun_columns, misfit, one_gun_row
from app.inputs.timestamps import EARLIEST, TIME_KEYS, Moment, format_time, record_moment
from app.settings.enums import Fill
from tables.context import Record

Columns = dict[str, list[Any]]
"""Name -> T values (`sendTime` and scalars), G values (`gunNo`, `hostCode`) or T rows of G values (gun lists)."""

MAX_POINTS = 100_000
"""The most points of a window without a size: one wrong time among the records must not fill memory."""

_NESTED = frozenset({list, dict})
_NO_SCALARS = frozenset({*STATION_ID_KEYS, *TIME_KEYS, "gunPower"})


@dataclass(frozen=True, slots=True)
class Alignment:
    """Rules by which the records of a station become columns.

    Raises:
        ValueError: A step or size below 1, or a size without a step.
    """

    timezone: ZoneInfo
    """The zone of times that name none, and of the column `sendTime`."""
    fill: Fill = Fill.ZERO
    """The rule for the gaps, where no record gave a value."""
    window_step: int | None = None
    """Seconds between the points of the window, inserted where no record is; None: nothing is inserted."""
    window_size: int | None = None
    """Points of the window, exactly, counted back from the latest one; None: back to the earliest one."""

    def __post_init__(self) -> None:
        if self.window_step is not None and self.window_step < 1:
            message = f"window_step is {self.window_step}, not at least 1 second"
            raise ValueError(message)
        if self.window_size is not None and (self.window_step is None or self.window_size < 1):
            message = (
                f"window_size is {self.window_size} with window_step {self.window_step}: it needs both to be at least 1"
            )
            raise ValueError(message)


def align(
    records: Sequence[Record],
    alignment: Alignment,
    *,
    id_keys: Sequence[str] = STATION_ID_KEYS,
    latest: float = math.inf,
) -> Columns:
    """Turn one station's records into aligned columns.

    Points: records of the same second of local time are one point. Missing points are inserted as `alignment` asks.
    With a size there are exactly so many points, the latest: older records are left out, as if they had not come.
    When no record has a usable time, each record is a row of its own, in the order given, with `sendTime` None, and
    nothing is inserted or left out.

    Columns, in this order:

    - `sendTime`: T texts `YYYY-MM-DD HH:MM:SS`, ascending, no repeats.
    - `gunNo`, `hostCode`: G texts, only when a record has a `gunPower`. See `app.inputs.guns.gun_columns`.
    - every list of `gunPower` besides gunNo: T rows of G values, numbers where its name begins with `outputPower`.
    - every other field of the records, except `stationId`, `station_id`, another key that holds the station id, and
      the keys of time: T values as they came, also text, booleans and nested values. The last known value of a point
      wins. `hostCode` is such a field when no record has a `gunPower`.

    null is the same as a field that is not there. Gaps are filled as `app.inputs.gap_filling.fill_series` says. The
    columns share nothing with the records, nor points with each other: who gets them may edit them.

    Args:
        records: The station's records, in the order they came in.
        alignment: Timezone, fill and window.
        id_keys: The keys that may hold a record's station id on their topic.
        latest: The latest usable time, Unix seconds: what is later is no time.

    Raises:
        AlignmentError: See `app.inputs.guns.gun_columns`; a scalar field whose name begins with `outputPower` is not a
            number; a field has the name of a gun column; some records have a usable time and others not, which
            `app.inputs.grouping.divide` rejects; the window comes to more than `MAX_POINTS`, or the columns come to
            more than `app.inputs.guns.MAX_CELLS`.
    """
    no_scalars = _NO_SCALARS
    if id_keys is not STATION_ID_KEYS:
        no_scalars = no_scalars.union(key for record in records if (key := id_key(record, id_keys)))
    if len(records) == 1 and alignment.window_size is None:
        columns = _align_one(records[0], alignment, no_scalars, latest)
        if columns is not None:
            return columns
    return _align_many(records, alignment, no_scalars, latest)


def _align_one(
    record: Record, alignment: Alignment, no_scalars: Set[str] = _NO_SCALARS, latest: float = math.inf
) -> Columns | None:
    """Align a single record as `_align_many` does, many times faster; None when it is not faultless."""
    moment = record_moment(record, alignment.timezone, latest)
    columns: Columns = {"sendTime": [None if moment is None else moment.text]}
    gun_power = record.get("gunPower")
    if gun_power is not None:
        guns = one_gun_row(record, gun_power)
        if guns is None:
            return None
        columns.update(guns)
    for name, value in record.items():
        if name in no_scalars or (name == "hostCode" and gun_power is not None):
            continue
        if name in columns:
            return None
        kind = type(value)
        if kind is float or kind is int:
            columns[name] = [value]
        elif value is None:
            columns[name] = [gap_alone(alignment.fill)]
        elif name.startswith(POWER):
            return None
        else:
            columns[name] = [value if kind is str else own(value)]
    return columns


def _align_many(
    records: Sequence[Record], alignment: Alignment, no_scalars: Set[str] = _NO_SCALARS, latest: float = math.inf
) -> Columns:
    records, timeline = _timeline(records, alignment, latest)
    columns: Columns = {"sendTime": timeline.points}
    guns = gun_columns(records, timeline)
    columns.update(guns)
    names: Record = {}
    for record in records:
        names.update(record)  # Only for its keys, in order of first appearance.
    check_cells(timeline, len(names), f"{len(names)} fields")
    for name in names:
        if name in no_scalars or (guns and name == "hostCode"):
            continue
        if name in guns:
            message = (
                f"{name} is a field of a record and the name of a gun column; only one of them can be the column {name}"
            )
            raise AlignmentError(message)
        columns[name] = _scalar_column(name, records, timeline)
    return columns


def _timeline(records: Sequence[Record], alignment: Alignment, latest: float) -> tuple[Sequence[Record], Timeline]:
    """Return the records that stand in the window, and where they do."""
    moments = [record_moment(record, alignment.timezone, latest) for record in records]
    timed = [moment for moment in moments if moment is not None]
    if not timed:
        return records, Timeline([None] * len(records), range(len(records)), alignment.fill)
    if len(timed) < len(records):
        message = f"record {moments.index(None) + 1} of {len(records)} has no usable time and others have one"
        raise AlignmentError(message)
    texts = {moment.text for moment in timed}
    if alignment.window_step is not None:
        texts.update(_window(timed, alignment.window_step, alignment))
    points = sorted(texts)
    if alignment.window_size is not None and len(points) > alignment.window_size:
        points = points[-alignment.window_size :]
        kept = [moment.text >= points[0] for moment in timed]
        records, timed = list(compress(records, kept)), list(compress(timed, kept))
    row_of = {text: row for row, text in enumerate(points)}
    return records, Timeline([*points], [row_of[moment.text] for moment in timed], alignment.fill)


def _window(timed: list[Moment], step: int, alignment: Alignment) -> Iterable[str]:
    """Return the texts of the window's points, from the latest back."""
    latest = math.floor(max(moment.seconds for moment in timed))
    if alignment.window_size is not None:
        # Where the clock was set back two points have one text: there must be so many texts.
        points: dict[str, None] = {}
        for seconds in range(latest, EARLIEST - 1, -step):
            if len(points) == alignment.window_size:
                break
            points[format_time(seconds, alignment.timezone)] = None
        return points
    earliest = math.floor(min(moment.seconds for moment in timed))
    size = (latest - earliest) // step + 1
    if size > MAX_POINTS:
        ends = [format_time(end, alignment.timezone) for end in (earliest, latest)]
        message = (
            f"sendTime from {ends[0]} to {ends[1]} comes to {size} points {step} s apart;"
            f" at most {MAX_POINTS} are inserted without AGG_WINDOW_SIZE"
        )
        raise AlignmentError(message)
    return [format_time(latest - back * step, alignment.timezone) for back in range(size)]


def _scalar_column(name: str, records: Sequence[Record], timeline: Timeline) -> list[Any]:
    given = [record.get(name) for record in records]
    if name.startswith(POWER):
        for row, value in zip(timeline.rows, given, strict=True):
            if value is not None and type(value) not in NUMBERS:
                raise misfit(timeline.place(row), name, "is", value, "a number")
    values: list[Any] = [None] * len(timeline.points)
    for row, value in zip(timeline.rows, given, strict=True):
        if value is not None:
            values[row] = value
    return _own_all(fill_series(values, timeline))


def _own_all(values: list[Any]) -> list[Any]:
    """Return the values with copies of those that are lists or objects; the same list where none is."""
    return values if _NESTED.isdisjoint(map(type, values)) else [own(value) for value in values]
