"""One station's records become columns aligned in time."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.inputs.alignment import Alignment, align
from app.inputs.grouping import CONTEXT_ID_KEYS
from app.inputs.guns import AlignmentError
from app.settings.enums import Fill
from tables.storage.window import MAX_POINTS

SHANGHAI = ZoneInfo("Asia/Shanghai")
ZERO = Alignment(SHANGHAI)
H = "52000000000088"


def record(hour: int, guns: dict[str, Any] | None = None, *, host: Any = H, **fields: Any) -> dict[str, Any]:
    """Return a record of station A at that hour of the day."""
    made: dict[str, Any] = {"stationId": "A", "hostCode": host, "sendTime": f"2025-11-04 {hour:02d}:00:00"}
    return {**made, **({} if guns is None else {"gunPower": guns}), **fields}


def at(*hours: int) -> list[str]:
    return [f"2025-11-04 {hour:02d}:00:00" for hour in hours]


def test_the_columns_have_the_documented_shape_and_order() -> None:
    records = [
        record(
            9,
            {"gunNo": ["05", "01"], "outputPowerPerGunAvg": [34.29, 2.73], "outputPowerPerGunMax": [100.8, 7.0]},
            outputPowerPerStationAvg=37.02,
            note="b",
        ),
        record(
            8,
            {"gunNo": ["05", "01"], "outputPowerPerGunAvg": [30.1, 2.0], "outputPowerPerGunMax": [90, 6]},
            outputPowerPerStationAvg=32.1,
            note="a",
        ),
    ]
    columns = align(records, ZERO)
    assert columns == {
        "sendTime": ["2025-11-04 08:00:00", "2025-11-04 09:00:00"],
        "gunNo": ["05", "01"],
        "hostCode": [H, H],
        "outputPowerPerGunAvg": [[30.1, 2.0], [34.29, 2.73]],
        "outputPowerPerGunMax": [[90, 6], [100.8, 7.0]],
        "outputPowerPerStationAvg": [32.1, 37.02],
        "note": ["a", "b"],
    }
    assert list(columns) == [
        *("sendTime", "gunNo", "hostCode", "outputPowerPerGunAvg", "outputPowerPerGunMax"),
        *("outputPowerPerStationAvg", "note"),
    ]


def test_the_keys_of_station_id_and_time_are_no_columns() -> None:
    fields = {
        "stationId": "A",
        "station_id": "A",
        "sendTime": None,
        "send_time": 1_762_218_000_900,
        "timestamp": 5,
        "x": 1,
    }
    assert align([fields], ZERO) == {"sendTime": at(9), "x": [1]}


def test_no_records_are_no_points() -> None:
    assert align([], ZERO) == {"sendTime": []}


def test_records_of_one_second_are_one_point_whatever_form_their_times_have() -> None:
    times: list[Any] = ["2025-11-04 09:00:00.700", 1_762_218_000, "2025-11-04T01:00:00.1Z", 1_762_218_000_999.0]
    assert align([{"sendTime": time, "x": number} for number, time in enumerate(times)], ZERO) == {
        "sendTime": at(9),
        "x": [3],
    }


def test_of_one_point_the_last_known_value_of_a_scalar_wins() -> None:
    records = [record(9, x=1, y=1, host=None), record(9, x=2, y=None, host=None), record(9, z="t", host=None)]
    assert align(records, ZERO) == {"sendTime": at(9), "hostCode": [0.0], "x": [2], "y": [1], "z": ["t"]}


def test_guns_of_several_hosts_at_one_time_are_merged_by_host_and_gun() -> None:
    records = [
        record(9, {"gunNo": ["01", "02"], "p": [1, 2]}, host="h1", s=1),
        record(9, {"gunNo": ["01"], "p": [3]}, host="h2", s=2),
        record(8, {"gunNo": ["02"], "p": [4], "q": [5]}, host="h2"),
        record(8, {"gunNo": ["02", "01"], "p": [6, 7]}, host="h1"),
    ]
    assert align(records, Alignment(SHANGHAI, Fill.MISSING)) == {
        "sendTime": at(8, 9),
        "gunNo": ["01", "02", "01", "02"],
        "hostCode": ["h1", "h1", "h2", "h2"],
        "p": [[7, 6, None, 4], [1, 2, 3, None]],
        "q": [[None, None, None, 5], [None, None, None, None]],
        "s": [None, 2],
    }


def test_the_last_known_cell_of_a_gun_wins_within_one_record_and_over_several() -> None:
    twice = record(9, {"gunNo": ["01", "02", "01"], "p": [1, 2, 3]})
    assert align([twice], ZERO)["p"] == [[3, 2]]
    assert align([twice, record(9, {"gunNo": ["02", "01"], "p": [None, 4]})], ZERO)["p"] == [[4, 2]]
    same = [record(9, {"gunNo": ["01", "02"], "p": cells}) for cells in ([1, 2], [None, 4])]
    assert align(same, ZERO)["p"] == [[1, 4]]


def test_guns_that_come_in_another_order_keep_their_place() -> None:
    records = [record(8, {"gunNo": ["01", "02"], "p": [1, 2]}), record(9, {"gunNo": ["02", "01"], "p": [3, 4]})]
    columns = align(records, ZERO)
    assert (columns["gunNo"], columns["p"]) == (["01", "02"], [[1, 2], [4, 3]])


def test_numbers_of_guns_and_hosts_are_kept_as_text_and_a_record_without_a_host_has_none() -> None:
    records = [record(9, {"gunNo": [5, "5"], "p": [1, 2]}, host=7), record(9, {"gunNo": ["5"], "p": [3]}, host=None)]
    columns = align(records, ZERO)
    assert (columns["gunNo"], columns["hostCode"], columns["p"]) == (["5", "5"], ["7", None], [[2, 3]])


def test_without_any_gun_power_the_host_is_a_field_like_any_other() -> None:
    records = [record(8, host="h1", x=1), record(9, host="h2", gunPower=None)]
    assert align(records, ZERO) == {"sendTime": at(8, 9), "hostCode": ["h1", "h2"], "x": [1, 0.0]}
    assert align([record(9, host=5, gunNo="01")], ZERO) == {"sendTime": at(9), "hostCode": [5], "gunNo": ["01"]}


@pytest.mark.parametrize("guns", [{}, {"gunNo": []}, {"gunNo": None}])
def test_a_gun_power_without_guns_gives_empty_gun_columns(guns: dict[str, Any]) -> None:
    assert align([record(9, guns)], ZERO) == {"sendTime": at(9), "gunNo": [], "hostCode": []}
    two = [record(8, {**guns, "p": None}), record(9, {**guns, "p": []})]
    assert align(two, ZERO) == {"sendTime": at(8, 9), "gunNo": [], "hostCode": [], "p": [[], []]}


def test_a_gun_list_or_field_of_some_records_is_filled_in_the_others() -> None:
    records = [record(8, x=1.5), record(9, {"gunNo": ["01"], "p": [2], "q": None}, y="t")]
    assert align(records, ZERO) == {
        "sendTime": at(8, 9),
        "gunNo": ["01"],
        "hostCode": [H],
        "p": [[0.0], [2]],
        "q": [[0.0], [0.0]],
        "x": [1.5, 0.0],
        "y": [None, "t"],
    }


def test_fields_that_are_no_numbers_pass_as_they_came() -> None:
    nested = {"a": [1, {"b": None}]}
    records = [record(8, on=True, tags=["x"], info=nested), record(9, on=False, tags=[], info={})]
    columns = align(records, ZERO)
    assert (columns["on"], columns["tags"], columns["info"]) == ([True, False], [["x"], []], [nested, {}])


@pytest.mark.parametrize(
    ("fill", "numbers", "texts", "unknown"),
    [
        (Fill.ZERO, [0.0, 10, 0.0, 40.0, 0.0], [None, "a", None, "b", None], [0.0] * 5),
        (Fill.MISSING, [None, 10, None, 40.0, None], [None, "a", None, "b", None], [None] * 5),
        (Fill.FORWARD, [None, 10, 10, 40.0, 40.0], [None, "a", "a", "b", "b"], [None] * 5),
        (Fill.LINEAR, [10, 10, 20.0, 40.0, 40.0], [None, "a", "a", "b", "b"], [None] * 5),
    ],
)
def test_gaps_are_filled_as_asked(fill: Fill, numbers: list[Any], texts: list[Any], unknown: list[Any]) -> None:
    known: dict[int, tuple[float | None, str | None]] = {
        0: (None, None),
        1: (10, "a"),
        2: (None, None),
        4: (40.0, "b"),
        5: (None, None),
    }
    records = [
        record(hour, {"gunNo": ["1"], "g": [number]}, s=number, t=text, u=None)
        for hour, (number, text) in known.items()
    ]
    columns = align(records, Alignment(SHANGHAI, fill))
    assert columns["s"] == numbers
    assert columns["g"] == [[number] for number in numbers]
    assert columns["t"] == texts
    assert columns["u"] == unknown


def test_a_field_of_numbers_and_texts_is_filled_like_a_text() -> None:
    records = [record(7, x=1), record(8), record(9, x="t")]
    assert align(records, ZERO)["x"] == [1, None, "t"]
    assert align(records, Alignment(SHANGHAI, Fill.LINEAR))["x"] == [1, 1, "t"]


def test_records_without_any_time_are_rows_in_their_order_and_nothing_is_inserted() -> None:
    records: list[dict[str, Any]] = [{"x": 3, "gunPower": {"gunNo": ["1"], "p": [1]}}, {"sendTime": "soon"}, {"x": 1}]
    assert align(records, Alignment(SHANGHAI, Fill.LINEAR, 3600, 24)) == {
        "sendTime": [None, None, None],
        "gunNo": ["1"],
        "hostCode": [None],
        "p": [[1], [1], [1]],
        "x": [3, 2.0, 1],
    }


def test_a_window_inserts_the_missing_points_back_from_the_latest() -> None:
    records = [record(3, x=3), record(7, x=7), record(9, {"gunNo": ["1"], "p": [5]}, x=9)]
    columns = align(records, Alignment(SHANGHAI, Fill.ZERO, 3600, 4))
    assert columns["sendTime"] == at(6, 7, 8, 9)
    assert columns["x"] == [0.0, 7, 0.0, 9]
    assert columns["p"] == [[0.0], [0.0], [0.0], [5]]


def test_a_window_with_a_size_has_exactly_so_many_points_and_older_records_count_for_nothing() -> None:
    wrong = {"gunNo": ["old"], "p": []}
    old = [record(hour, wrong, host=f"h{hour}", note="old", outputPowerX="?") for hour in range(3)]
    for fill in Fill:
        columns = align([*old, record(9, x=2), record(4, x=1)], Alignment(SHANGHAI, fill, 3600, 5))
        assert columns["sendTime"] == at(5, 6, 7, 8, 9)
        assert list(columns) == ["sendTime", "hostCode", "x"]
        assert columns["x"][-1] == 2
        assert align([record(hour) for hour in range(10)], Alignment(SHANGHAI, fill, 3600, 5))["sendTime"] == at(
            5, 6, 7, 8, 9
        )


def test_a_window_completes_a_single_record() -> None:
    assert align([record(9, host="h")], Alignment(SHANGHAI, Fill.FORWARD, 1800, 3)) == {
        "sendTime": ["2025-11-04 08:00:00", "2025-11-04 08:30:00", "2025-11-04 09:00:00"],
        "hostCode": [None, None, "h"],
    }


def test_a_window_keeps_points_that_are_not_on_its_grid() -> None:
    off = {"sendTime": "2025-11-04 08:20:00", "x": 1}
    columns = align([off, record(9, x=2)], Alignment(SHANGHAI, Fill.LINEAR, 3600, 2))
    assert columns["sendTime"] == ["2025-11-04 08:20:00", "2025-11-04 09:00:00"]
    assert columns["x"] == [1, 2]


def test_a_step_without_a_size_inserts_between_the_earliest_and_the_latest() -> None:
    assert align([record(9), record(6)], Alignment(SHANGHAI, Fill.ZERO, 3600))["sendTime"] == at(6, 7, 8, 9)
    assert align([record(9)], Alignment(SHANGHAI, Fill.ZERO, 3600))["sendTime"] == at(9)


def test_a_wrong_time_makes_no_window_without_end() -> None:
    records = [record(9), {"sendTime": "1970-01-01 08:00:00"}]
    with pytest.raises(AlignmentError) as caught:
        align(records, Alignment(SHANGHAI, Fill.ZERO, 60))
    assert str(caught.value) == (
        "sendTime from 1970-01-01 08:00:00 to 2025-11-04 09:00:00 comes to 29370301 points 60 s apart;"
        f" at most {MAX_POINTS} are inserted without AGG_WINDOW_SIZE"
    )
    assert len(align([{"sendTime": "0001-01-05"}], Alignment(SHANGHAI, Fill.ZERO, 86_400, 10))["sendTime"]) == 3


def test_where_the_clock_is_set_back_the_points_still_ascend_without_repeats() -> None:
    one_local = 1_762_059_600  # 2025-11-02 01:00 in New York, an hour before the clock goes back to 01:00
    records = [{"sendTime": one_local + minutes * 60, "x": minutes} for minutes in (0, 30, 60, 120)]
    columns = align(records, Alignment(ZoneInfo("America/New_York"), Fill.LINEAR, 3600, 3))
    assert columns["sendTime"] == ["2025-11-02 01:00:00", "2025-11-02 01:30:00", "2025-11-02 02:00:00"]
    assert columns["x"] == [60, 30, 120]
    for size in range(1, 6):
        columns = align(records[-1:], Alignment(ZoneInfo("America/New_York"), Fill.LINEAR, 3600, size))
        assert len(columns["sendTime"]) == len(set(columns["sendTime"])) == size


@pytest.mark.parametrize("beside", [[], [{"gunNo": ["1"], "outputPowerX": [2.5]}]])
def test_an_empty_list_of_guns_is_no_gun(beside: list[Any]) -> None:
    empty = {**record(9, outputPowerPerStationAvg=1.5), "gunPower": []}
    records = [record(8, guns) for guns in beside] + [empty]
    columns = align(records, Alignment(SHANGHAI, Fill.ZERO))
    assert columns == align(
        [*records[:-1], record(9, {}, outputPowerPerStationAvg=1.5)], Alignment(SHANGHAI, Fill.ZERO)
    )
    assert columns["gunNo"] == ["1"] * len(beside)
    assert columns["outputPowerPerStationAvg"][-1] == 1.5


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"gunPower": {"gunNo": ["1", "2"], "p": [1]}},
            "gunPower.p at 2025-11-04 09:00:00 has 1 values for the 2 guns of gunNo",
        ),
        ({"gunPower": {"p": [1]}}, "gunPower.p at 2025-11-04 09:00:00 has 1 values for the 0 guns of gunNo"),
        (
            {"gunPower": {"gunNo": ["1"], "outputPowerX": ["3"]}},
            "gunPower.outputPowerX at 2025-11-04 09:00:00 holds '3', not a number",
        ),
        (
            {"gunPower": {"gunNo": ["1"], "outputPowerX": [True]}},
            "gunPower.outputPowerX at 2025-11-04 09:00:00 holds True, not a number",
        ),
        (
            {"gunPower": {"gunNo": ["1"], "outputPowerX": [[1]]}},
            "gunPower.outputPowerX at 2025-11-04 09:00:00 holds a list of 1, not a number",
        ),
        ({"gunPower": {"gunNo": ["1"], "p": 1}}, "gunPower.p at 2025-11-04 09:00:00 is 1, not a list"),
        ({"gunPower": [1]}, "gunPower at 2025-11-04 09:00:00 is a list of 1, not an object"),
        ({"gunPower": False}, "gunPower at 2025-11-04 09:00:00 is False, not an object"),
        ({"gunPower": {"gunNo": ""}}, "gunPower.gunNo at 2025-11-04 09:00:00 is '', not a list"),
        ({"gunPower": {"gunNo": [None]}}, "gunPower.gunNo at 2025-11-04 09:00:00 holds null, not text or an integer"),
        ({"gunPower": {"gunNo": [True]}}, "gunPower.gunNo at 2025-11-04 09:00:00 holds True, not text or an integer"),
        ({"gunPower": {"gunNo": []}, "hostCode": {}}, "hostCode at 2025-11-04 09:00:00 is an object of 0, not text"),
        ({"gunPower": {"sendTime": []}}, "gunPower.sendTime at 2025-11-04 09:00:00: a gun list cannot have the name"),
        ({"gunPower": {"gunNo": [], "p": []}, "p": 1}, "p is a field of a record and the name of a gun column"),
        ({"gunPower": {}, "gunNo": 2}, "gunNo is a field of a record and the name of a gun column"),
        ({"outputPowerMax": "a" * 99}, f"outputPowerMax at 2025-11-04 09:00:00 is '{'a' * 59}…, not a number"),
        ({"outputPowerOn": True}, "outputPowerOn at 2025-11-04 09:00:00 is True, not a number"),
        ({"outputPower": [1]}, "outputPower at 2025-11-04 09:00:00 is a list of 1, not a number"),
        ({"outputPower": "1", "sendTime": None}, "outputPower in record 1, which has no time, is '1', not a number"),
    ],
)
def test_what_cannot_be_aligned_is_an_error_that_names_the_field_the_time_and_the_value(
    fields: dict[str, Any], error: str
) -> None:
    with pytest.raises(AlignmentError) as caught:
        align([record(9, **fields)], ZERO)
    assert error in str(caught.value)


def test_an_error_names_the_time_of_the_record_that_is_wrong() -> None:
    records = [
        record(7, {"gunNo": ["1"], "p": [1]}, outputPower=1),
        record(8, outputPower="x"),
        record(8, outputPower=2),
    ]
    with pytest.raises(AlignmentError, match=r"^outputPower at 2025-11-04 08:00:00 is 'x', not a number$"):
        align(records, ZERO)


def test_records_with_and_without_a_time_cannot_be_aligned() -> None:
    with pytest.raises(AlignmentError, match=r"^record 2 of 2 has no usable time and others have one$"):
        align([record(9), {"x": 1}], ZERO)


@pytest.mark.parametrize(("step", "size"), [(0, None), (-1, 3), (60, 0), (None, 3)])
def test_an_alignment_with_an_impossible_window_is_refused(step: int | None, size: int | None) -> None:
    with pytest.raises(ValueError, match=r"^window_"):
        Alignment(SHANGHAI, Fill.ZERO, step, size)


def test_columns_share_no_list_with_the_records() -> None:
    records = [record(9, {"gunNo": ["1"], "p": [1.0]})]
    for given in (records, [*records, record(8, {"gunNo": ["1"], "p": [2.0]})]):
        columns = align(given, ZERO)
        columns["gunNo"].append("2")
        columns["p"][-1].append(9.9)
    assert records == [record(9, {"gunNo": ["1"], "p": [1.0]})]


def test_a_text_field_that_only_speaks_of_power_is_a_column_like_any_other() -> None:
    columns = align([record(9, gunPowerMode="eco", isPowerOn=True)], ZERO)
    assert (columns["gunPowerMode"], columns["isPowerOn"]) == (["eco"], [True])


def test_a_list_of_the_guns_that_is_no_output_power_may_hold_texts_and_has_rows_all_the_same() -> None:
    guns = {"gunNo": ["1", "2"], "outputPowerPerGunAvg": [1.5, None], "gunType": ["DC", None], "on": [True, False]}
    for records in ([record(9, guns)], [record(8, {"gunNo": ["1"]}), record(9, guns)]):
        columns = align(records, ZERO)
        assert columns["outputPowerPerGunAvg"][-1] == [1.5, 0.0]
        assert columns["on"][-1] == [True, False]
        assert columns["gunType"][-1] == ["DC", None]


def test_a_key_that_holds_the_station_id_on_its_topic_is_no_column_and_the_others_are() -> None:
    fields = {"sendTime": "2025-11-04 09:00:00", "host_id": "H", "meterId": "M", "meter_id": None, "x": 1}
    wide = align([fields], ZERO, id_keys=CONTEXT_ID_KEYS)
    assert wide == {"sendTime": ["2025-11-04 09:00:00"], "meterId": ["M"], "meter_id": [0.0], "x": [1]}
    assert align([{**fields, "stationId": "A"}], ZERO, id_keys=CONTEXT_ID_KEYS) == {**wide, "host_id": ["H"]}
    assert align([fields], ZERO) == {**wide, "host_id": ["H"]}
    both = align([fields, {**fields, "host_id": None, "hostCode": "C"}], ZERO, id_keys=CONTEXT_ID_KEYS)
    assert both.keys() == wide.keys()


def test_a_host_that_names_the_station_still_tells_its_guns_apart() -> None:
    fields = {"sendTime": "2025-11-04 09:00:00", "hostCode": "H", "gunPower": {"gunNo": ["1"], "p": [2]}}
    for times in (1, 2):
        columns = align([fields] * times, ZERO, id_keys=CONTEXT_ID_KEYS)
        assert columns == {"sendTime": ["2025-11-04 09:00:00"], "gunNo": ["1"], "hostCode": ["H"], "p": [[2]]}


def test_columns_that_are_mostly_gaps_are_refused_before_they_are_made() -> None:
    count = 2001
    times = [f"2025-11-04 {n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}" for n in range(count)]
    hosts = [
        {"stationId": "A", "sendTime": time, "hostCode": str(n), "gunPower": {"gunNo": ["1"], "p": [1]}}
        for n, time in enumerate(times)
    ]
    with pytest.raises(AlignmentError, match=r"2001 points of 2001 guns x 1 lists come to 4004001 values, more than"):
        align(hosts, ZERO)
    fields = [{"stationId": "A", "sendTime": time, f"x{n}": 1} for n, time in enumerate(times)]
    with pytest.raises(AlignmentError, match=r"2001 points of 2003 fields come to"):
        align(fields, ZERO)
    assert len(align(hosts[:100], ZERO)["p"]) == 100


@pytest.mark.parametrize(("first", "last"), [(1.7e308, -1.7e308), (-1.7e308, 1.7e308), (10**400, 0), (0, 10**400)])
def test_between_two_numbers_lies_a_finite_one(first: float, last: float) -> None:
    records = [record(8, x=first), record(9), record(10), record(11, x=last)]
    column = align(records, Alignment(SHANGHAI, Fill.LINEAR))["x"]
    assert column[0] == first
    assert column[-1] == last
    assert all(min(first, last) <= value <= max(first, last) for value in column)
