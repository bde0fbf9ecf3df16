"""Comparing the results of two topics: what is read as a result, and what belongs together."""

from __future__ import annotations

import random
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from app.cli.result_comparison import Pair, ResultReader, StationResult, join
from app.messages.message import InMessage

TEN = 1_763_085_600.0  # 2025-11-14 10:00:00 in Shanghai
SHANGHAI = ZoneInfo("Asia/Shanghai")


def message(value: Any, *, at: float = TEN, key: bytes | None = None, **headers: int) -> InMessage:
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return InMessage("t", 0, 7, at, key, raw, [(name, b"%d" % number) for name, number in headers.items()])


def read(*messages: InMessage, time_field: str | None = None) -> list[tuple[str, float, Any]]:
    reader = ResultReader(SHANGHAI, time_field)
    for one in messages:
        reader.take(one)
    assert reader.unreadable == []
    return sorted((result.station_id, result.at, result.value) for result in reader.results())


def batch(*stations: dict[str, Any], batch_id: str = "T_1763085600", **meta: float) -> dict[str, Any]:
    return {"batch_id": batch_id, "stations": list(stations)} | ({"meta": meta} if meta else {})


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "single",
    [
        {"station_id": "A", "module": "m", "result": {"load": 1.5}},
        {"stationId": "A", "result": {"station_id": "A", "load": 1.5}},
        {"station_id": "A", "module": "m", "load": 1.5},
    ],
)
def test_a_message_of_one_station_and_one_of_a_batch_have_the_same_result(single: dict[str, Any]) -> None:
    expected = [("A", TEN, {"load": 1.5})]
    assert read(message(single)) == expected
    assert read(message(batch({"station_id": "A", "load": 1.5}, opened_at=TEN), at=TEN + 3)) == expected


@pytest.mark.parametrize("value", [7, "x", [1, None], None, True, {"a": {"result": 1}}])
def test_what_is_no_object_is_wrapped_in_a_batch_and_is_the_same(value: Any) -> None:
    alone = {"station_id": "A", "module": "m", "result": value}
    wrapped = {"station_id": "A"} | (value if isinstance(value, dict) else {"result": value})
    assert read(message(alone)) == read(message(batch(wrapped))) == [("A", TEN, value)]


def test_the_key_names_the_station_where_the_value_does_not() -> None:
    assert read(message({"load": 1}, key=b"A")) == [("A", TEN, {"load": 1})]
    assert read(message(7, key=b"A")) == [("A", TEN, 7)]


def test_an_integer_is_a_station_id_too() -> None:
    assert read(message({"station_id": 17, "result": 1})) == [("17", TEN, 1)]


def test_of_a_batch_the_last_revision_counts_with_all_its_parts_and_copies_once() -> None:
    old = message(batch({"station_id": "A", "n": 1}, opened_at=TEN), revision=1, part=1)
    first = message(batch({"station_id": "A", "n": 2}, opened_at=TEN), revision=2, part=1)
    second = message(batch({"station_id": "B", "n": 3}, opened_at=TEN), revision=2, part=2)
    assert read(first, old, second, second) == [("A", TEN, {"n": 2}), ("B", TEN, {"n": 3})]


@pytest.mark.parametrize("number", [10**9, 10**30, 0])
def test_a_message_whose_revision_is_none_does_not_take_the_place_of_the_last(number: int) -> None:
    good = message(batch({"station_id": "A", "n": 1}, opened_at=TEN), revision=1, part=1)
    foreign = message(batch({"station_id": "A", "n": 2}, opened_at=TEN), revision=number, part=1)
    reader = ResultReader(SHANGHAI, None)
    for one in (good, foreign):
        reader.take(one)
    assert [result.value for result in reader.results()] == [{"n": 1}]
    assert len(reader.unreadable) == 1


def test_without_meta_a_batch_is_of_the_time_when_it_was_written() -> None:
    assert read(message(batch({"station_id": "A", "n": 1}), at=TEN + 3)) == [("A", TEN + 3, {"n": 1})]


@pytest.mark.parametrize("single", [{"time": "2025-11-14 10:00:00", "result": 1}, {"result": 1, "time": TEN * 1000}])
def test_a_time_of_its_own_joins_a_station_with_the_id_of_the_batch(single: dict[str, Any]) -> None:
    messages = (message({"station_id": "A"} | single, at=TEN + 99), message(batch({"station_id": "A", "result": 1})))
    assert [read(one, time_field="time") for one in messages] == [[("A", TEN, 1)], [("A", TEN, 1)]]


def test_the_key_names_the_batch_where_the_value_does_not() -> None:
    value = {"stations": [{"station_id": "A", "result": 1}]}
    assert read(message(value, key=b"T_1763085605"), time_field="time") == [("A", TEN + 5, 1)]


def test_a_time_of_its_own_may_stand_in_the_result_and_copies_are_told_by_it() -> None:
    one = message({"station_id": "A", "result": {"time": "2025-11-14 10:00:00", "n": 1}}, at=TEN + 5)
    again = message({"station_id": "A", "result": {"n": 1, "time": "2025-11-14 10:00:00"}}, at=TEN + 9)
    other = message({"station_id": "A", "result": {"n": 2, "time": "2025-11-14 10:00:00"}}, at=TEN + 9)
    assert len(read(one, again, time_field="time")) == 1
    assert len(ResultReader(SHANGHAI, "time").results()) == 0
    reader = ResultReader(SHANGHAI, "time")
    for found in (one, again, other):
        reader.take(found)
    assert sorted(result.value["n"] for result in reader.results()) == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        {"load": 1},
        7,
        {"stations": [1]},
        {"stations": [{}], "batch_id": "b"},
        batch(opened_at=-1),
        batch(opened_at=1e300),
    ],
)
def test_a_message_in_which_no_result_can_be_read_is_named(value: Any) -> None:
    reader = ResultReader(SHANGHAI, None)
    reader.take(message(value))
    reader.take(message(None, key=b"A"))
    assert reader.unreadable == ["t[0]@7"]
    assert reader.results() == []


def test_a_message_without_the_time_that_was_asked_for_is_named() -> None:
    reader = ResultReader(SHANGHAI, "time")
    for value in ({"station_id": "A", "result": 1}, {"station_id": "A", "time": "soon", "result": {}}):
        reader.take(message(value))
    reader.take(message(7, key=b"A"))
    assert (len(reader.timeless), reader.unreadable) == (3, [])


# -- joining ---------------------------------------------------------------------------------------------------------


def found(station_id: str, at: float, result: Any = 1) -> StationResult:
    return StationResult(station_id, at, at + 100.0, result, "")


def joined(
    old: list[StationResult], new: list[StationResult], within: float = 60.0
) -> list[tuple[float | None, float | None]]:
    return [
        (pair.old.at if pair.old else None, pair.new.at if pair.new else None) for pair in join(old, new, within=within)
    ]


def test_results_of_one_station_belong_together_when_they_are_near() -> None:
    assert joined([found("A", 1.0), found("A", 6.0)], [found("A", 6.5), found("A", 1.5)]) == [(1.0, 1.5), (6.0, 6.5)]
    assert joined([found("A", 1.0)], [found("B", 1.0)]) == [(1.0, None), (None, 1.0)]
    assert joined([found("A", 1.0)], [found("A", 61.1)]) == [(1.0, None), (None, 61.1)]


def test_one_that_is_missing_does_not_shift_those_after_it() -> None:
    times = [float(at) for at in range(0, 100, 5)]
    old = [found("A", at) for at in times]
    new = [found("A", at + 0.7) for at in times if at != 20.0]
    assert joined(old, new) == [(at, None if at == 20.0 else at + 0.7) for at in times]
    assert joined(new, old) == [(None, at) if at == 20.0 else (at + 0.7, at) for at in times]


def test_each_result_is_in_exactly_one_pair() -> None:
    rng = random.Random(7)  # noqa: S311
    for _ in range(300):
        old, new = ([found(rng.choice("AB"), float(rng.randint(0, 9))) for _ in range(rng.randint(0, 6))] for _ in "ab")
        pairs = join(old, new, within=2.0)
        assert sorted(id(pair.old) for pair in pairs if pair.old) == sorted(map(id, old))
        assert sorted(id(pair.new) for pair in pairs if pair.new) == sorted(map(id, new))
        for pair in pairs:
            assert pair.old is None or pair.new is None or abs(pair.old.at - pair.new.at) <= 2.0


def test_a_pair_is_the_same_when_both_are_there_and_equal() -> None:
    assert Pair(found("A", 1.0, {"a": 1.0}), found("A", 2.0, {"a": 1})).same
    assert not Pair(found("A", 1.0, {"a": 1.0}), found("A", 2.0, {"a": None})).same
    assert not Pair(None, found("A", 1.0)).same
    assert Pair(found("A", 1.0), found("A", 3.0)).within(102.0, 104.0)
    assert not Pair(found("A", 1.0), None).within(102.0, 104.0)


@pytest.mark.parametrize("time_field", [None, "time"])
def test_integers_of_any_size_are_compared_by_all_their_digits(time_field: str | None) -> None:
    wide = 52000000000088123456789
    texts = [b'{"station_id":%d,"time":1763085600,"result":[%d]}' % (wide, number) for number in (wide, wide + 1)]
    found_in = [read(message(text), time_field=time_field) for text in texts]
    assert found_in == [[(str(wide), TEN, [number])] for number in (wide, wide + 1)]
    assert len(read(*(message(text) for text in texts), time_field=time_field)) == 2


@pytest.mark.parametrize("value", [b'{"station_id":"A","x":%s}' % (b"[" * 900 + b"1" * 30 + b"]" * 900)])
def test_a_wide_integer_in_what_is_nested_too_deeply_is_unreadable(value: bytes) -> None:
    reader = ResultReader(SHANGHAI, None)
    reader.take(message(value))
    assert reader.unreadable == ["t[0]@7"]


def test_a_time_that_no_float_holds_is_unreadable() -> None:
    reader = ResultReader(SHANGHAI, None)
    reader.take(message(b'{"batch_id":"T_1","stations":[],"meta":{"opened_at":%s}}' % (b"7" * 400)))
    assert reader.unreadable == ["t[0]@7"]


@pytest.mark.parametrize("time_field", [None, "time"])
def test_a_result_that_is_nested_deeper_than_can_be_shown_is_unreadable(time_field: str | None) -> None:
    reader = ResultReader(SHANGHAI, time_field)
    reader.take(message(b'{"station_id":"A","time":1,"x":' + b"[" * 400 + b"]" * 400 + b"}"))
    assert reader.unreadable == ["t[0]@7"]
    assert reader.results() == []
