"""What holds of the aligned columns for any records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.inputs.alignment import Alignment, align
from app.inputs.guns import AlignmentError
from app.inputs.layouts import Columns
from app.inputs.timestamps import record_moment
from app.settings.enums import Fill
from tests.examples import examples

SHANGHAI = ZoneInfo("Asia/Shanghai")
NAMES = {"avg", "max", "stationPower", "x", "note", "on"}
FIRST = 1_762_214_400  # 2025-11-04 08:00:00 in Shanghai

numbers = st.none() | st.integers(-1000, 1000) | st.floats(-1000, 1000)
texts = st.none() | st.text(max_size=3)
alignments = st.builds(
    lambda fill, window: Alignment(SHANGHAI, fill, *window),
    st.sampled_from(Fill),
    st.sampled_from([(None, None), (60, None), (3600, 5), (900, 20)]),
)


@st.composite
def gun_powers(draw: st.DrawFn, cells: st.SearchStrategy[Any] = numbers) -> dict[str, Any]:
    """Draw a `gunPower` of up to four guns with some of two gun lists, none ragged."""
    gun_nos = draw(st.lists(st.sampled_from(["01", "02", "05", 5]), max_size=4))
    lists = st.lists(cells, min_size=len(gun_nos), max_size=len(gun_nos))
    return {"gunNo": gun_nos, **draw(st.fixed_dictionaries({}, optional={"avg": lists, "max": lists}))}


def stations(time: st.SearchStrategy[Any], *, unique: bool = False) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw the faultless records of a station."""
    one = st.fixed_dictionaries(
        {"stationId": st.just("A"), "sendTime": time},
        optional={
            "hostCode": st.sampled_from(["h1", "h2", 3, None]),
            "gunPower": st.none() | gun_powers(),
            "stationPower": numbers,
            "x": numbers,
            "note": texts,
            "on": st.none() | st.booleans(),
        },
    )
    return st.lists(one, min_size=1, max_size=8, unique_by=(lambda record: record["sendTime"]) if unique else None)


quarters = st.integers(0, 30).map(lambda number: FIRST + number * 900)
faultless = stations(quarters) | stations(st.none())

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["gunNo", "avg", "sendTime"]), inner),
    max_leaves=6,
)
wild = st.dictionaries(
    st.sampled_from(["sendTime", "hostCode", "gunPower", "stationPower", "avg", "gunNo", "note"]),
    anything | gun_powers() | gun_powers(anything) | quarters,
)


def cells_of(columns: Columns) -> dict[tuple[Any, ...], Any]:
    """Return each known value by what it belongs to, so that the order of guns and columns does not matter."""
    guns = list(zip(columns.get("hostCode", []), columns["gunNo"], strict=True)) if "gunNo" in columns else None
    known: dict[tuple[Any, ...], Any] = {}
    for name, column in columns.items():
        if guns is not None and name in {"gunNo", "hostCode"}:
            continue
        for time, value in zip(columns["sendTime"], column, strict=True):
            if guns is not None and name in {"avg", "max"}:
                known |= {(name, time, *gun): cell for gun, cell in zip(guns, value, strict=True)}
            else:
                known[name, time] = value
    return known


def values_of(record: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each value of a faultless record with its name, and its gun if it has one."""
    guns = record.get("gunPower") or {"gunNo": []}
    host = record.get("hostCode")
    for name, value in record.items():
        if name in NAMES:
            yield (name,), value
    for name in guns.keys() - {"gunNo"}:
        for gun_no, cell in zip(guns["gunNo"], guns[name], strict=True):
            yield (name, None if host is None else str(host), str(gun_no)), cell


@examples(200)
@given(faultless, alignments)
def test_every_column_has_its_shape_and_the_points_ascend(records: list[dict[str, Any]], alignment: Alignment) -> None:
    columns = align(records, alignment)
    points = columns["sendTime"]
    assert points == sorted(set(points)) if points[0] is not None else points == [None] * len(records)
    if alignment.window_size is not None and points[0] is not None:
        assert len(points) == alignment.window_size
        moments = [record_moment(record, SHANGHAI) for record in records]
        records = [one for one, moment in zip(records, moments, strict=True) if moment and moment.text >= points[0]]
    has_guns = any(record.get("gunPower") is not None for record in records)
    assert list(columns)[:3] == ["sendTime", "gunNo", "hostCode"] if has_guns else "gunNo" not in columns
    assert {"stationId", "gunPower"}.isdisjoint(columns)
    for name, column in columns.items():
        if has_guns and name in {"gunNo", "hostCode"}:
            assert len(column) == len(columns["gunNo"])
        else:
            assert len(column) == len(points)
            if name in {"avg", "max"}:
                assert all(len(row) == len(columns["gunNo"]) for row in column)
    if has_guns:
        guns = list(zip(columns["hostCode"], columns["gunNo"], strict=True))
        assert len(set(guns)) == len(guns)


@examples(200)
@given(stations(quarters, unique=True), alignments, st.randoms(use_true_random=False))
def test_records_of_distinct_times_give_the_same_values_in_any_order(
    records: list[dict[str, Any]], alignment: Alignment, random: Any
) -> None:
    shuffled = random.sample(records, len(records))
    assert cells_of(align(shuffled, alignment)) == cells_of(align(records, alignment))


@given(stations(st.sampled_from([FIRST, FIRST + 60])))
def test_each_value_is_the_last_known_one_of_its_point(records: list[dict[str, Any]]) -> None:
    expected: dict[tuple[Any, ...], Any] = {}
    for record in records:
        point = f"2025-11-04 08:0{(record['sendTime'] - FIRST) // 60}:00"
        expected |= {(*place[:1], point, *place[1:]): value for place, value in values_of(record) if value is not None}
    found = cells_of(align(records, Alignment(SHANGHAI, Fill.MISSING)))
    assert {place: value for place, value in found.items() if value is not None and place[0] in NAMES} == expected


@examples(200)
@given(faultless, alignments)
def test_a_fill_changes_gaps_only(records: list[dict[str, Any]], alignment: Alignment) -> None:
    window = (alignment.window_step, alignment.window_size)
    known = cells_of(align(records, Alignment(SHANGHAI, Fill.MISSING, *window)))
    filled = cells_of(align(records, alignment))
    assert filled.keys() == known.keys()
    if None not in [place[1] for place in known]:
        assert all(filled[place] == value for place, value in known.items() if value is not None)


@given(faultless, st.sampled_from([(None, None), (3600, 5)]))
def test_zero_and_linear_leave_no_gap_where_numbers_are(records: list[dict[str, Any]], window: tuple[Any, Any]) -> None:
    missing = align(records, Alignment(SHANGHAI, Fill.MISSING, *window))
    zero = align(records, Alignment(SHANGHAI, Fill.ZERO, *window))
    linear = align(records, Alignment(SHANGHAI, Fill.LINEAR, *window))
    for name in missing.keys() & {"stationPower", "x"}:
        assert zero[name] == [0.0 if value is None else value for value in missing[name]]
        known = [value for value in missing[name] if value is not None]
        if known:
            assert all(min(known) - 1e-9 <= value <= max(known) + 1e-9 for value in linear[name])
    for name in missing.keys() & {"avg", "max"}:
        assert zero[name] == [[0.0 if cell is None else cell for cell in row] for row in missing[name]]


@given(st.lists(quarters, min_size=2, max_size=9, unique=True), st.floats(-5, 5), st.floats(-5, 5), st.data())
def test_linear_finds_the_points_of_a_straight_line_again(
    times: list[int], start: float, slope: float, data: st.DataObject
) -> None:
    line = {time: start + slope * (time - FIRST) / 900 for time in times}
    inner = sorted(times)[1:-1]
    gaps = data.draw(st.sets(st.sampled_from(inner))) if inner else set()
    records = [
        {"sendTime": time, "x": None if time in gaps else line[time], "gunPower": {"gunNo": ["1"], "p": [line[time]]}}
        for time in times
    ]
    for record in records:
        if record["sendTime"] in gaps:
            record["gunPower"] = None
    columns = align(records, Alignment(SHANGHAI, Fill.LINEAR))
    for row, time in enumerate(sorted(times)):
        assert math.isclose(columns["x"][row], line[time], abs_tol=1e-9)
        assert columns["p"][row] == [columns["x"][row]]


@examples(300)
@given(st.lists(wild, max_size=4), alignments)
def test_no_records_whatever_raise_anything_but_an_alignment_error(
    records: list[dict[str, Any]], alignment: Alignment
) -> None:
    try:
        columns = align(records, alignment)
    except AlignmentError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert "sendTime" in columns
