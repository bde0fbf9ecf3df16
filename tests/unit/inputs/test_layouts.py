"""The quick way to columns gives what the general way gives, whatever was aligned before."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs import alignment as inputs
from app.inputs.alignment import Alignment, align
from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS
from app.inputs.guns import AlignmentError
from app.inputs.layouts import Columns
from app.settings.enums import Fill
from tables.context import Record
from tests.examples import examples

SHANGHAI = ZoneInfo("Asia/Shanghai")
LATEST = 1_763_085_600.0  # 2025-11-14 10:00:00 in Shanghai
FIRST = 1_763_049_600  # midnight

HOURS = [f"2025-11-14 0{hour}:00:00" for hour in range(1, 10)]
FORMS = ["2025-11-14T08:00:00Z", "2025/11/14 08:30", "20251114083000", "2025-11-14 09:00:00 "]
UNUSABLE = ["2025-11-14 11:00:00", "never", "", "9" * 70, 1_763_082_000, 1_763_082_000.5, True, None]
times = st.sampled_from(HOURS + FORMS + UNUSABLE)
numbers = st.sampled_from([0, 1, 1.0, -2.5, 2**64, 10**400])
scalars = st.sampled_from([0, 1, 1.0, True, -0.0, 2**70, None, "", "NaN", [1, {"a": []}], {"b": [None]}])
ids = st.sampled_from(["A", "", " ", 7, 7.5, None])
gun_nos = st.sampled_from([["1", "2"], ["2", "1"], ["1"], [], ["1", "1"], ["1", 2], [True, False], None, "12"])


@st.composite
def gun_powers(draw: st.DrawFn) -> Any:
    """Draw a `gunPower`: mostly of two guns, and mostly faultless."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([None, [], {}, "guns", {"outputPowerAvg": [1]}]))
    guns = ["1", "2"] if draw(st.booleans()) else draw(gun_nos)
    width = len(guns) if isinstance(guns, list) else 2
    faultless = st.lists(numbers, min_size=width, max_size=width)
    lists = st.one_of(
        faultless,
        faultless,
        st.lists(numbers | st.none(), min_size=width, max_size=width),
        st.lists(scalars, min_size=width, max_size=width),
        st.lists(numbers, max_size=3),
        scalars,
        st.just("ab"),
    )
    optional = {"outputPowerMax": faultless, "gunType": lists}
    if draw(st.integers(0, 4)) == 0:
        optional["hostCode"] = lists
    return draw(st.fixed_dictionaries({"gunNo": st.just(guns), "outputPowerAvg": lists}, optional=optional))


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stationId": ids,
    "hostCode": st.sampled_from(["h", "h", "k", 5, None, 1.5]),
    "sendTime": times,
    "gunPower": gun_powers(),
    "outputPowerStation": numbers | scalars,
    "note": scalars,
    "timestamp": times,
    "meterId": ids,
    "gunType": scalars,
}
USUAL: dict[str, st.SearchStrategy[Any]] = {
    "stationId": st.just("A"),
    "hostCode": st.just("h"),
    "sendTime": st.sampled_from(HOURS),
    "gunPower": gun_powers(),
    "outputPowerStation": numbers,
    "note": scalars,
}
anything = st.fixed_dictionaries({}, optional=FIELDS)
usual = st.fixed_dictionaries(USUAL)


@st.composite
def windows(draw: st.DrawFn) -> list[Record]:
    """Draw records of the same fields at times of their own; up to three values are others, and maybe a field."""
    first = draw(st.one_of(usual, usual, anything))
    hours = draw(st.lists(st.sampled_from(HOURS), min_size=1, unique=True))
    if draw(st.booleans()):
        hours.sort()
    records = [copy.deepcopy(first) | {"sendTime": hour} for hour in hours]
    for _ in range(draw(st.integers(0, 3))):
        record = draw(st.sampled_from(records))
        name = draw(st.sampled_from(sorted(record)))
        record[name] = draw(FIELDS[name])
    if draw(st.integers(0, 3)) == 0:
        draw(st.sampled_from(records)).pop(draw(st.sampled_from(sorted(first))) if first else "", None)
    return records


stations = st.one_of(windows(), windows(), st.lists(anything, max_size=4), st.tuples(anything), st.tuples(usual))
alignments = st.builds(
    lambda fill, window: Alignment(SHANGHAI, fill, *window),
    st.sampled_from(Fill),
    st.sampled_from([(None, None), (None, None), (3600, None), (3600, 4), (1800, 9), (3600, 1)]),
)


def in_general(records: Sequence[Record], alignment: Alignment, id_keys: Sequence[str], latest: float) -> Columns:
    """Align by the general way, with an alignment that has seen nothing."""
    fresh = Alignment(alignment.timezone, alignment.fill, alignment.window_step, alignment.window_size)
    return inputs._align_any(*inputs._timeline(records, fresh, latest), id_keys)


def shown(way: Any, *args: Any, **options: Any) -> str:
    """Return as text what a way gives, or its error; spoil what it gives.

    A text tells 1, 1.0 and True apart, and the order of columns.
    """
    try:
        columns = way(*args, **options)
    except AlignmentError as error:
        return f"error: {error}"
    text = repr(columns)
    spoil(columns)
    return text


def spoil(value: Any) -> None:
    """Empty every list and object in a value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            spoil(item)
        value.clear()


PLAIN: dict[str, Any] = {
    "stationId": "A",
    "hostCode": "h",
    "gunPower": {"gunNo": ["1", "2"], "outputPowerAvg": [1.0, 2], "outputPowerMax": [3.5, 4.0], "gunType": [1, 2]},
    "outputPowerStation": 1.5,
    "note": 7,
}
OTHER_CELLS = [
    [1.0],
    [1.0, 2, 3],
    [None, 1],
    [None, None],
    [True, 1],
    ["x", 1],
    ["x", None],
    [[], {}],
    None,
    "ab",
    5,
    {},
]
OTHERS: dict[str, list[Any]] = {
    "stationId": ["", 7, None],
    "hostCode": ["k", 5, None, 1.5, "remove"],
    "sendTime": ["never", None, "2025-11-14T01:30:00Z", "2025-11-14 01:00:00", 1_763_053_200],
    "outputPowerStation": [1, 10**400, None, True, "x", [], "remove"],
    "note": [None, True, "x", [1, {}], {"a": []}, "remove"],
    "more": [1, None],
    "gunNo": [1],
    "gunType": [1],
    "gunPower": [
        *(None, [], {}, "guns", "remove", {"gunNo": ["1", "2"]}, {"gunNo": None}),
        *(
            PLAIN["gunPower"] | {"gunNo": guns}
            for guns in (["2", "1"], ["1", "3"], [1, 2], ["1", "1"], ["1"], [], None)
        ),
        *(PLAIN["gunPower"] | {name: cells} for name in ("outputPowerAvg", "gunType", "new") for cells in OTHER_CELLS),
        *(PLAIN["gunPower"] | {name: [1, 2]} for name in ("hostCode", "sendTime")),
    ],
}


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("name", OTHERS)
def test_a_record_that_differs_in_one_thing_is_aligned_as_the_general_way_does(name: str, count: int) -> None:
    alignment = Alignment(SHANGHAI, Fill.LINEAR)
    for other, row, id_keys in product(OTHERS[name], {0, count // 2, count - 1}, [STATION_ID_KEYS, CONTEXT_ID_KEYS]):
        records = [copy.deepcopy(PLAIN) | {"sendTime": HOURS[hour]} for hour in range(count)]
        align(records, alignment, id_keys=id_keys)
        records[row][name] = other
        if other == "remove":
            del records[row][name]
        expected = shown(in_general, records, alignment, id_keys, math.inf)
        assert shown(align, records, alignment, id_keys=id_keys) == expected, (row, other)


EIGHT, NINE = {"stationId": "A", "sendTime": HOURS[7]}, {"stationId": "A", "sendTime": HOURS[8]}
NEVER = {"stationId": "A", "sendTime": "never"}


@pytest.mark.parametrize("before", [[], [EIGHT]])
def test_a_time_that_was_usable_is_not_where_less_is(before: list[Record]) -> None:
    alignment = Alignment(SHANGHAI)
    assert align([*before, NINE], alignment)["sendTime"][-1] == HOURS[8]
    records = [*before, NINE | {"timestamp": HOURS[0]}]
    eight = FIRST + 8 * 3600
    assert align(records, alignment, latest=eight)["sendTime"][0] == HOURS[0]
    assert align(records, alignment)["sendTime"][-1] == HOURS[8]


@pytest.mark.parametrize("more", [[], [NEVER | {"timestamp": HOURS[1]}]])
def test_a_time_of_another_field_is_not_taken_for_that_of_the_text_beside_it(more: list[Record]) -> None:
    alignment = Alignment(SHANGHAI)
    assert align([NEVER | {"timestamp": HOURS[0]}, *more], alignment)["sendTime"][0] == HOURS[0]
    none = [NEVER | {"timestamp": None}, *({**record, "timestamp": None} for record in more)]
    assert align(none, alignment)["sendTime"] == [None] * len(none)


def test_a_layout_is_of_the_keys_that_may_hold_an_id() -> None:
    alignment, records = Alignment(SHANGHAI), [{"meterId": "A", "x": 1}]
    assert "meterId" in align(records, alignment)
    assert "meterId" not in align(records, alignment, id_keys=CONTEXT_ID_KEYS)
    assert "meterId" in align(records, alignment)


def test_what_is_remembered_is_bounded() -> None:
    alignment = Alignment(SHANGHAI)
    for number in range(1000):
        align([{"stationId": "A", f"x{number}": 1}], alignment)
    memory = alignment.memory
    align([{"stationId": "A", **{f"x{number}": 1 for number in range(1000)}}], alignment)
    align([{"stationId": "A", "x" * 10_000: 1}], alignment)
    align([{"stationId": "A", "gunPower": {"gunNo": ["1" * 10_000]}}], alignment)
    assert len(memory._layouts) <= 64
    assert sum(len(name) for layout in memory._layouts.values() for name in layout.fields + layout._gun_nos) < 10_000
    align([{"stationId": "A", "sendTime": HOURS[0]}] * 20_000, alignment)
    assert memory.points is None


@examples(400)
@given(
    st.lists(stations, min_size=1, max_size=4),
    alignments,
    st.lists(st.sampled_from([math.inf, math.inf, LATEST, -math.inf]), min_size=4, max_size=4),
    st.sampled_from([STATION_ID_KEYS, STATION_ID_KEYS, CONTEXT_ID_KEYS]),
)
def test_the_quick_way_gives_what_the_general_way_gives_whatever_came_before(
    every: list[Sequence[Record]], alignment: Alignment, latests: list[float], id_keys: Sequence[str]
) -> None:
    for records, latest in zip(every, latests, strict=False):
        before = repr(records)
        expected = shown(in_general, copy.deepcopy(records), alignment, id_keys, latest)
        assert shown(align, records, alignment, id_keys=id_keys, latest=latest) == expected
        assert repr(records) == before
