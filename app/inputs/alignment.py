"""The callback's input: one station's records -> columns aligned in time (CONTRACT 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any
from zoneinfo import ZoneInfo

from app.inputs.gap_filling import NUMBERS, Timeline, fill_series, own_all
from app.inputs.grouping import STATION_ID_KEYS, id_key
from app.inputs.guns import POWER, AlignmentError, check_cells, gun_columns, misfit
from app.inputs.layouts import NO_SCALARS, Columns, Memory, Points
from app.inputs.timestamps import EARLIEST, Moment, format_time, read_moment, record_moment
from app.settings.enums import Fill
from tables.context import Record
from tables.storage.window import MAX_POINTS

_MOST_TIMES = 10_000  # remembered, of the records of a station


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
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)
    """What the records of other stations have shown; it makes the next ones faster and changes nothing."""

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
    if len(records) == 1 and alignment.window_size is None:
        columns = _align_one(records[0], alignment, id_keys, latest)
        if columns is not None:
            return columns
    records, timeline = _timeline(records, alignment, latest)
    if records and timeline.is_alone:
        layout = alignment.memory.layout(records[0], id_keys)
        columns = None if layout is None else layout.many(records, timeline)
        if columns is not None:
            return columns
    return _align_any(records, timeline, id_keys)


def _align_one(record: Record, alignment: Alignment, id_keys: Sequence[str], latest: float) -> Columns | None:
    memory = alignment.memory
    layout = memory.layout(record, id_keys)
    if layout is None:
        return None
    time, known = record.get("sendTime"), memory.moment
    if known is not None and known[0] == time and known[1].seconds <= latest:
        return layout.one(record, known[1].text, alignment.fill)
    moment = record_moment(record, alignment.timezone, latest)
    # Where a text can't be used, the time is from another field.
    if type(time) is str and moment is not None and moment == read_moment(time, alignment.timezone):
        memory.moment = time, moment
    return layout.one(record, None if moment is None else moment.text, alignment.fill)


def _align_any(records: Sequence[Record], timeline: Timeline, id_keys: Sequence[str] = STATION_ID_KEYS) -> Columns:
    """Align any records: the general way."""
    no_scalars = NO_SCALARS
    if id_keys is not STATION_ID_KEYS:
        no_scalars = no_scalars.union(key for record in records if (key := id_key(record, id_keys)))
    columns: Columns = {"sendTime": [*timeline.points]}
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
    memory = alignment.memory
    times = [record.get("sendTime") for record in records]
    known = memory.points
    if known is None or known.times != times or known.newest > latest:
        moments = [record_moment(record, alignment.timezone, latest) for record in records]
        timed = [moment for moment in moments if moment is not None]
        if not timed:
            return records, Timeline([None] * len(records), range(len(records)), alignment.fill)
        if len(timed) < len(records):
            message = f"record {moments.index(None) + 1} of {len(records)} has no usable time and others have one"
            raise AlignmentError(message)
        known = _points(times, timed, alignment)
        # Where a text can't be used, the time is from another field.
        if len(times) <= _MOST_TIMES and {*map(type, times)} == {str}:
            read = [read_moment(time, alignment.timezone) for time in times]
            memory.points = known if read == timed else None
    return (records if known.kept is None else [*compress(records, known.kept)]), known.timeline


def _points(times: list[Any], timed: list[Moment], alignment: Alignment) -> Points:
    """Find out where records stand whose times are `timed`, which came as `times`."""
    newest = max(moment.seconds for moment in timed)
    texts = {moment.text for moment in timed}
    if alignment.window_step is not None:
        texts.update(_window(timed, alignment.window_step, alignment))
    points = sorted(texts)
    kept = None
    if alignment.window_size is not None and len(points) > alignment.window_size:
        points = points[-alignment.window_size :]
        kept = [moment.text >= points[0] for moment in timed]
        timed = [*compress(timed, kept)]
    row_of = {text: row for row, text in enumerate(points)}
    timeline = Timeline([*points], [row_of[moment.text] for moment in timed], alignment.fill)
    return Points(times, newest, kept, timeline)


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
    return own_all(fill_series(values, timeline))
