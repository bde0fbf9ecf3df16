"""Reading context messages: whose the records are, and which of them are the newest."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from app.inputs.grouping import BadMessage
from app.inputs.source_message import Newest, parse_context
from tables.context import EVERYONE

TIME = "2025-11-14 10:00:00"
SECONDS = 1763085600
OUTPUT = {
    "batch_id": "X_1",
    "module": "weather",
    "timestamp": SECONDS + 0.75,
    "stations": [{"station_id": "A", "temp": 1}, {"station_id": "B", "sendTime": TIME, "temp": 2}],
    "station_count": 2,
}


def read(value: object, *envelope_keys: str) -> dict[str, Any]:
    """The stations of a message without rejects, as (time, records)."""
    message = parse_context(
        value if isinstance(value, bytes) else orjson.dumps(value),
        topic="WEATHER",
        envelope_keys=envelope_keys,
        timezone=ZoneInfo("Asia/Shanghai"),
    )
    assert message.rejects == ()
    return {station_id: (newest.time, list(newest.records)) for station_id, (newest,) in message.stations.items()}


A = {"stationId": "A", "sendTime": TIME, "temp": 1}


@pytest.mark.parametrize("value", [{"WEATHER": [A]}, {"realTimeData": [A]}, [A], A, {"mine": [A]}])
def test_each_form_of_a_source_message_is_read(value: object) -> None:
    assert read(value, "mine") == {"A": (SECONDS, [A])}


@pytest.mark.parametrize("key", ["stationId", "station_id", "hostCode", "host_id", "meterId", "meter_id"])
def test_each_key_of_a_station_id_counts(key: str) -> None:
    assert read({key: 17, "temp": 1}) == {"17": (None, [{key: 17, "temp": 1}])}


def test_of_a_window_the_newest_point_counts_with_all_of_its_hosts() -> None:
    older = {"stationId": "A", "sendTime": SECONDS - 1}
    hosts = [
        {"stationId": "A", "sendTime": SECONDS + part, "hostCode": host} for host, part in (("h1", 0), ("h2", 0.9))
    ]
    assert read([older, *hosts, older]) == {"A": (SECONDS, hosts)}


def test_where_a_window_is_wanted_each_point_counts_in_the_order_of_time() -> None:
    records = [{"stationId": "A", "sendTime": SECONDS + second, "n": second} for second in (2, 0, 1, 0)]
    message = parse_context(
        orjson.dumps([*records, {"stationId": "B"}]),
        topic="WEATHER",
        envelope_keys=(),
        timezone=ZoneInfo("Asia/Shanghai"),
        window=True,
    )
    points = [Newest(SECONDS, [records[1], records[3]]), Newest(SECONDS + 1, [records[2]])]
    assert message.stations == {
        "A": [*points, Newest(SECONDS + 2, [records[0]])],
        "B": [Newest(None, [{"stationId": "B"}])],
    }


def test_without_any_time_the_last_record_is_the_newest() -> None:
    assert read([{"stationId": "A", "n": 1}, {"stationId": "A", "n": 2}]) == {"A": (None, [{"stationId": "A", "n": 2}])}


@pytest.mark.parametrize("record", [{"holiday": True}, {"holiday": True, "stations": ["A"]}, {}])
def test_a_record_that_names_no_station_is_everyones(record: dict[str, Any]) -> None:
    assert read(record) == read([record]) == {EVERYONE: (None, [record])}


def test_results_of_a_modules_output_are_records_of_its_time_unless_they_have_their_own() -> None:
    assert read(OUTPUT) == {
        "A": (SECONDS, [{"station_id": "A", "temp": 1, "sendTime": SECONDS + 0.75}]),
        "B": (SECONDS, [{"station_id": "B", "sendTime": TIME, "temp": 2}]),
    }
    assert read({"stations": [{"station_id": "A"}]}) == {"A": (None, [{"station_id": "A"}])}
    assert read(OUTPUT | {"stations": []}) == {}


def test_a_record_with_a_station_id_is_no_output_though_it_has_stations() -> None:
    record = {"station_id": "A", "stations": [{"station_id": "B"}]}
    assert read(record) == {"A": (None, [record])}


def test_a_huge_station_id_in_an_output_keeps_its_digits() -> None:
    output = b'{"timestamp": 1763085600, "stations": [{"station_id": 123456789012345678901234567890, "n": 1}]}'
    ((station_id, (_, records)),) = read(output).items()
    assert station_id == str(records[0]["station_id"]) == "123456789012345678901234567890"


def test_a_record_whose_station_id_is_unusable_is_rejected_and_the_rest_goes_on() -> None:
    message = parse_context(
        orjson.dumps([{"stationId": "", "temp": 1}, A, 5, {"stationId": "A", "sendTime": "?"}]),
        topic="WEATHER",
        envelope_keys=(),
        timezone=ZoneInfo("Asia/Shanghai"),
    )
    assert message.stations == {"A": [Newest(SECONDS, [A])]}
    assert [reject.record for reject in message.rejects] == [
        b'{"stationId":"","temp":1}',
        b"5",
        b'{"stationId":"A","sendTime":"?"}',
    ]


@pytest.mark.parametrize("value", [None, b"", b"{", b"5", b'"A"', b'{"WEATHER": 5}'])
def test_anything_else_is_a_bad_message(value: bytes | None) -> None:
    with pytest.raises(BadMessage):
        parse_context(value, topic="WEATHER", envelope_keys=(), timezone=ZoneInfo("Asia/Shanghai"))


def test_an_object_whose_own_id_has_more_than_64_bits_is_a_record_and_no_output() -> None:
    # Read as floats and read exactly, the message once had lists of different lengths.
    huge = "52000000000088123456789"
    value = f'{{"hostCode":{huge},"stations":[{{"hostCode":1}},{{"stationId":{huge}}}]}}'
    stations = read(value.encode())
    assert list(stations) == [huge]
    assert stations[huge][1][0]["stations"][0] == {"hostCode": 1}
