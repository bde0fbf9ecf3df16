"""The window of a context topic -> columns aligned in time, as those of a source message (CONTRACT 3).

A window keeps its records by field. Where they are faultless, all of the same fields and each at a point of its own,
the columns are taken whole (`app.inputs.layouts`): 2,016 points cost less than a millisecond. All else takes the
general way, record by record, which is the reference: both give the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from app.inputs.alignment import Alignment, align
from app.inputs.gap_filling import Timeline
from app.inputs.grouping import CONTEXT_ID_KEYS
from app.inputs.layouts import Columns, Memory
from app.inputs.timestamps import EARLIEST, TIME_KEYS, format_times
from tables.storage.packing import Columnar
from tables.storage.window import MAX_POINTS, Content


def align_window(content: Content, alignment: Alignment) -> Columns:
    """Turn a window into columns, as `app.inputs.alignment.align` turns records; `{}` where nothing is in it.

    They share nothing with the content: it may be aligned again.

    Raises:
        AlignmentError: As `align` does.
    """
    if not content.times:
        return {}
    if isinstance(content.records, Columnar):
        columns = _by_field(content.times, content.records, alignment)
        if columns is not None:
            return columns
    texts = format_times(content.times, alignment.timezone)
    records = [{TIME_KEYS[0]: text, **record} for text, record in zip(texts, content.as_records(), strict=True)]
    return align(records, alignment, id_keys=CONTEXT_ID_KEYS)


def _by_field(times: list[int], records: Columnar, alignment: Alignment) -> Columns | None:
    """Align records by field; None where only the general way will do."""
    memory, guns = alignment.memory, records.gun_fields
    layout = memory.layout_of([*records.fields], None if guns is None else [*guns], CONTEXT_ID_KEYS)
    if layout is None:
        return None
    known = memory.texts
    if alignment.window_step is None and known is not None and known[0] == times:
        # No time is there twice: it would have the same text.
        whole = Timeline([*known[1]], range(len(times)), alignment.fill)
        return layout.by_field(records.columns, None if guns is None else records.guns, whole)
    if len(set(times)) != len(times):
        return None
    points = _with_inserted(times, alignment)
    if points is None:
        return None
    first = bisect_left(times, points[0])
    texts = _texts(memory, points, alignment.timezone)
    if texts is None:
        return None
    rows: Sequence[int] = range(len(points))
    if len(points) != len(times) - first:
        row_of = {point: row for row, point in enumerate(points)}
        rows = [row_of[time] for time in times[first:]]
    kept = records.cut(first)
    return layout.by_field(kept.columns, None if guns is None else kept.guns, Timeline([*texts], rows, alignment.fill))


def _with_inserted(times: list[int], alignment: Alignment) -> list[int] | None:
    """Return the points of a window, ascending; None where they would be too many, or before the first year."""
    step, size = alignment.window_step, alignment.window_size
    if step is None:
        return times
    latest = times[-1]
    count = (latest - times[0]) // step + 1 if size is None else size
    if count > MAX_POINTS or latest - step * count < EARLIEST:
        return None
    points = {*times, *range(latest, latest - step * count, -step)}
    return sorted(points) if size is None else sorted(points)[-size:]


def _texts(memory: Memory, points: list[int], timezone: ZoneInfo) -> list[str] | None:
    """Return the texts of points, which are those of the last window for most; None where two have the same text."""
    known = memory.texts
    if known is None or known[0] != points:
        texts = format_times(points, timezone)
        if len(set(texts)) != len(texts) or sorted(texts) != texts:  # the clock was set back
            return None
        known = memory.texts = ([*points], texts)
    return known[1]
