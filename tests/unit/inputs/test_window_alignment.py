"""The quick way from a window to columns gives what the general way gives, record by record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs.alignment import Alignment, align
from app.inputs.grouping import CONTEXT_ID_KEYS
from app.inputs.guns import AlignmentError
from app.inputs.timestamps import format_time, format_times
from app.inputs.window_alignment import align_window
from app.settings.enums import Fill
from tables.storage.packing import Columnar
from tables.storage.window import Row, Span, Window
from tests.examples import examples

SHANGHAI = ZoneInfo("Asia/Shanghai")
START = 1_763_085_600
ALL = Span()

values = st.sampled_from([1, 2.5, None, "x", True, [1], {"a": [2]}, 2**70])
shapes = st.sampled_from(
    [
        lambda value, n: {"stationId": "A", "v": value, "n": n},
        lambda value, _: {"meterId": 7, "v": value},
        lambda value, _: {"hostCode": "A", "v": value},
        lambda _, n: {"stationId": "A", "hostCode": "h", "outputPowerX": n},
        lambda value, n: {
            "stationId": "A",
            "gunPower": {"gunNo": ["1", "2"], "outputPowerP": [n, None], "x": [value, n]},
        },
        lambda _, n: {"stationId": "A", "gunPower": {"gunNo": [f"{n % 2}"], "outputPowerP": [n]}, "hostCode": "h"},
        lambda value, _: {"stationId": "A", "gunPower": None, "v": value},
        lambda _, n: {"stationId": "A", "gunPower": {}, "v": n},
        lambda _value, _n: {},
    ]
)


def aligned(find: Any) -> Any:
    try:
        return find()
    except AlignmentError as error:
        return f"AlignmentError: {error}"


@given(
    shapes,
    shapes,
    st.lists(st.tuples(st.integers(0, 40), values), min_size=1, max_size=40),
    st.sampled_from(Fill),
    st.sampled_from([(None, None), (60, None), (60, 7), (90, 12)]),
)
@examples(400)
def test_columns_of_a_window_are_those_of_its_records(
    shape: Any, other: Any, points: Any, fill: Fill, window: tuple[int | None, int | None]
) -> None:
    of_window = Window()
    for number, (minute, value) in enumerate(points):
        record = (shape if number % 7 else other)(value, number)
        of_window.add([Row(START + 60 * minute, 0, record)])
    content = of_window.content(ALL)
    alignment = Alignment(SHANGHAI, fill, *window)
    records = [
        {"sendTime": format_time(time, SHANGHAI), **record}
        for time, record in zip(content.times, content.as_records(), strict=True)
    ]
    expected = aligned(lambda: align(records, Alignment(SHANGHAI, fill, *window), id_keys=CONTEXT_ID_KEYS))
    for _ in range(2):  # the content is left as it was
        assert repr(aligned(lambda: align_window(content, alignment))) == repr(expected)


def test_where_the_clock_is_set_back_points_of_one_text_are_one() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begin = int(datetime(2025, 10, 26, 0, 0, tzinfo=UTC).timestamp())
    window = Window()
    window.add([Row(begin + 1800 * number, 0, {"n": number}) for number in range(6)])
    columns = align_window(window.content(ALL), Alignment(berlin))
    assert columns == {
        "sendTime": ["2025-10-26 02:00:00", "2025-10-26 02:30:00", "2025-10-26 03:00:00", "2025-10-26 03:30:00"],
        "n": [2, 3, 4, 5],
    }


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "UTC"])
def test_many_times_are_written_as_each_is(zone: str) -> None:
    timezone = ZoneInfo(zone)
    times = [*range(1_743_000_000, 1_763_085_600, 1777), *range(-2_000_000_000, -1_000_000_000, 7_777_777)]
    assert format_times(times, timezone) == [format_time(time, timezone) for time in times]


def test_records_of_the_same_fields_stay_columns_from_message_to_callback() -> None:
    window = Window()
    for number in range(1000):
        window.add([Row(START + number, number, {"stationId": "A", "n": number / 4})])
    assert isinstance(window.content(Span(points=700)).records, Columnar)
