"""Arrays hold what the lists hold, and are nobody else's."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs.alignment import Alignment, align
from app.inputs.arrays import ArrayColumns, ArrayMaker
from app.inputs.guns import AlignmentError
from app.inputs.layouts import Columns
from app.inputs.window_alignment import align_window
from app.settings.enums import Fill
from tables.storage.window import Row, Span, Window
from tests.examples import examples
from tests.unit.inputs.test_alignment_properties import alignments, faultless, wild

SHANGHAI = ZoneInfo("Asia/Shanghai")
START = 1_763_085_600


def lists_of(arrays: ArrayColumns) -> Columns:
    """Return arrays as the lists that they are made of, None for NaN."""
    lists: Columns = {}
    for name, array in arrays.items():
        if array.dtype == np.dtype("datetime64[s]"):
            lists[name] = [None if np.isnat(time) else str(time).replace("T", " ") for time in array]
        else:
            lists[name] = none_for_nan(array.tolist())
    return lists


def none_for_nan(value: Any) -> Any:
    if type(value) is list:
        return [none_for_nan(one) for one in value]
    return None if type(value) is float and math.isnan(value) else value


def kinds_of(array: np.ndarray[Any, Any]) -> set[type]:
    return {*map(type, array.ravel().tolist())}


def check(arrays: ArrayColumns, columns: Columns, gun_lists: set[str]) -> None:
    assert lists_of(arrays) == columns
    assert list(arrays) == list(columns)
    for name, array in arrays.items():
        assert type(array) is np.ndarray
        assert array.flags.owndata or array.base is not None
        assert array.flags.writeable
        if name in gun_lists:
            assert array.shape == (len(columns["sendTime"]), len(columns["gunNo"]))
        else:
            assert array.shape == (len(columns[name]),)
        flat = [*chain.from_iterable(columns[name])] if name in gun_lists else columns[name]
        kinds = {*map(type, flat)}
        if name == "sendTime":
            assert array.dtype == np.dtype("datetime64[s]")
        elif name in {"gunNo", "hostCode"}:
            assert array.dtype == object
        elif kinds <= {int, float, type(None)} and all(value is None or abs(value) <= 2**53 for value in flat):
            assert array.dtype == np.float64
        else:  # bool, or what came
            assert kinds_of(array) == kinds


@given(faultless, alignments)
@examples(300)
def test_arrays_of_records_equal_the_lists(records: list[dict[str, Any]], alignment: Alignment) -> None:
    try:
        columns = align(records, alignment)
    except AlignmentError:
        with pytest.raises(AlignmentError):
            ArrayMaker().align(records, alignment)
        return
    check(ArrayMaker().align(records, alignment), columns, {"avg", "max"})


@given(st.lists(wild, min_size=1, max_size=4), alignments)
@examples(300)
def test_whatever_can_be_aligned_makes_arrays_of_the_same(records: list[dict[str, Any]], alignment: Alignment) -> None:
    try:
        columns = align(records, alignment)
    except AlignmentError:
        return
    assert lists_of(ArrayMaker().align(records, alignment)) == columns


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([1, 2.5, None, "x", True])), min_size=1, max_size=40),
    st.sampled_from(Fill),
    st.sampled_from([(None, None), (60, None), (60, 7)]),
    st.booleans(),
)
@examples(200)
def test_arrays_of_a_window_equal_the_lists(
    points: list[tuple[int, Any]], fill: Fill, step: tuple[int | None, int | None], guns: bool
) -> None:
    alignment = Alignment(SHANGHAI, fill, *step)
    window = Window()
    for time, value in points:
        record = {"stationId": "A", "v": value, "kwh": float(time)}
        if guns:
            record["gunPower"] = {"gunNo": ["1", "2"], "avg": [time, None], "x": [value, "y"]}
        window.add([Row(START + 60 * time, 1, record)])
    content = window.content(Span())
    maker = ArrayMaker()
    for _ in range(2):  # the second time its times are known
        check(maker.align_window(content, alignment), align_window(content, alignment), {"avg", "x"})
    assert maker.align_window(Window().content(Span()), alignment) == {}


def arrays_of(*values: Any, fill: Fill = Fill.MISSING) -> np.ndarray[Any, Any]:
    records = [{"stationId": "A", "sendTime": START + 60 * n, "v": value} for n, value in enumerate(values)]
    return ArrayMaker().align(records, Alignment(SHANGHAI, fill))["v"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], np.float64),
        ([1.5, None], np.float64),
        ([2**53, -(2**53), 1e300], np.float64),
        ([2**60, 1.5], np.float64),  # a float holds it
        ([2**53 + 1, 1.5], object),
        ([10**400], object),
        ([None, None], np.float64),
        ([True, False], np.bool_),
        ([True, None], object),
        ([True, 1], object),
        (["a", None], object),
        ([[1, 2], [3, 4]], object),
        ([{"a": 1}, [2]], object),
    ],
)
def test_the_dtype_follows_from_the_kinds_of_the_values(values: list[Any], dtype: Any) -> None:
    array = arrays_of(*values)
    assert (array.dtype, array.shape) == (np.dtype(dtype), (len(values),))
    assert none_for_nan(array.tolist()) == values


def test_times_are_local_and_none_is_no_time() -> None:
    maker, alignment = ArrayMaker(), Alignment(SHANGHAI)
    timed = maker.align([{"stationId": "A", "sendTime": START, "v": 1}], alignment)
    assert timed["sendTime"].tolist() == [np.datetime64("2025-11-14T10:00:00").item()]
    untimed = maker.align([{"stationId": "A", "v": 1}], alignment)
    assert np.isnat(untimed["sendTime"]).tolist() == [True]


def test_a_station_without_guns_has_rows_of_none() -> None:
    records = [{"stationId": "A", "sendTime": START, "gunPower": {"gunNo": [], "avg": []}}]
    arrays = ArrayMaker().align(records, Alignment(SHANGHAI))
    assert (arrays["avg"].shape, arrays["gunNo"].shape) == ((1, 0), (0,))
    assert arrays["avg"].dtype == np.float64


def test_who_edits_arrays_changes_no_later_ones() -> None:
    records = [
        {
            "stationId": "A",
            "sendTime": START + 60 * n,
            "v": n,
            "nested": [[n]],
            "gunPower": {"gunNo": ["1"], "avg": [n], "plan": [[n]]},
        }
        for n in range(50)
    ]
    window = Window()
    window.add([Row(START + 60 * n, 1, record) for n, record in enumerate(records)])
    content, maker, alignment = window.content(Span()), ArrayMaker(), Alignment(SHANGHAI)
    makes: list[Callable[[], ArrayColumns]] = [
        lambda: maker.align(records, alignment),
        lambda: maker.align_window(content, alignment),
    ]
    for make in makes:
        expected = lists_of(make())
        for _ in range(2):
            arrays = make()
            assert lists_of(arrays) == expected
            arrays["nested"][0][0].append("edited")
            arrays["plan"][0, 0].append("edited")
            for array in arrays.values():
                array[:] = array[-1]
            arrays.clear()
