"""A source message's bytes become stations with their records, and rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs.grouping import (
    CONTEXT_ID_KEYS,
    MOST_REJECTS,
    STATION_ID_KEYS,
    BadMessage,
    SourceBatch,
    UnusableTimes,
)
from app.inputs.source_message import batch_id, parse_message
from app.inputs.timestamps import parse_time
from app.words import told
from tables.storage import exact_json
from tests.examples import examples

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
SHANGHAI = ZoneInfo("Asia/Shanghai")
NINE = 1_762_218_000  # 2025-11-04 09:00:00 in Shanghai


def parse(message: Any, *, envelope_keys: Sequence[str] = (), id_keys: Sequence[str] = STATION_ID_KEYS) -> SourceBatch:
    value = message if isinstance(message, bytes) else exact_json.dumps(message)
    return parse_message(value, topic=TOPIC, envelope_keys=envelope_keys, timezone=SHANGHAI, id_keys=id_keys)


def record(station: Any = "A", time: Any = "2025-11-04 09:00:00", **fields: Any) -> dict[str, Any]:
    return {"stationId": station, "sendTime": time, **fields}


@pytest.mark.parametrize("envelope", [TOPIC, "realTimeData", None])
def test_each_form_of_a_list_gives_the_same_stations(envelope: str | None) -> None:
    records = [record("B", value=1), record("A", value=2), record("B", "2025-11-04 08:00:00", value=3)]
    batch = parse(records if envelope is None else {envelope: records, "other": [record("C")]})
    assert batch == SourceBatch(NINE, {"B": [records[0], records[2]], "A": [records[1]]}, ())
    assert list(batch.stations) == ["B", "A"]


def test_a_single_record_is_a_message_of_one_station() -> None:
    assert parse(record()) == SourceBatch(NINE, {"A": [record()]}, ())


def test_envelope_keys_are_tried_in_order_and_the_first_that_is_there_counts() -> None:
    one, two, three = [record("1")], [record("2")], [record("3")]
    keys = ("data", "rows")
    assert list(parse({"rows": three, "realTimeData": two, TOPIC: one}, envelope_keys=keys).stations) == ["1"]
    assert list(parse({"rows": three, "realTimeData": two}, envelope_keys=keys).stations) == ["2"]
    assert list(parse({"rows": three, "data": two, "stationId": "X"}, envelope_keys=keys).stations) == ["2"]
    assert list(parse({"rows": three}, envelope_keys=keys).stations) == ["3"]
    assert list(parse({"rows": three, **record("X")}).stations) == ["X"]


@pytest.mark.parametrize("message", [[], {TOPIC: []}, {"realTimeData": [], "stationId": "A"}])
def test_an_empty_list_has_no_stations_and_no_rejects(message: Any) -> None:
    assert parse(message) == SourceBatch(None, {}, ())


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "not JSON: the message has no value"),
        (b"", "not JSON: "),
        (b"\xff", "not JSON: "),
        (b"{", "not JSON: "),
        (b"[]]", "not JSON: "),
        (b"[NaN]", "not JSON: "),
        (b"\xef\xbb\xbf[]", "not JSON: UTF-8 byte order mark (BOM) is not supported"),
        (b'["\\ud800"]', "not JSON: "),
        (b"[1e999]", "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b"null", "none of the four forms: null, not an object or a list"),
        (b"true", "none of the four forms: a boolean, not an object or a list"),
        (b"1.5", "none of the four forms: a number, not an object or a list"),
        (b'"A"', "none of the four forms: a text, not an object or a list"),
        (b'{"realTimeData":{}}', "the envelope key 'realTimeData' holds an object, not a list of records"),
        (b'{"realTimeData":null,"stationId":"A"}', "the envelope key 'realTimeData' holds null, not a list"),
        (b"{}", "an object with the keys (none) has neither an envelope key"),
        (
            b'{"a":1,"b":2}',
            f"an object with the keys a, b has neither an envelope key ({TOPIC}, realTimeData; AGG_ENVELOPE_KEYS) nor "
            "a station id"
            " (stationId, station_id)",
        ),
    ],
)
def test_what_is_none_of_the_four_forms_is_a_bad_message_that_says_why(value: bytes | None, error: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_message(value, topic=TOPIC, envelope_keys=(), timezone=SHANGHAI)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "不是 JSON：消息没有值"),
        (b"[NaN]", "不是 JSON：第 2 个字符处有误"),
        (b"\xff", "不是 JSON：须为 UTF-8 编码，不带 BOM"),
        (b"1.5", "不是四种形式之一：数字，而不是对象或列表"),
        (b'{"realTimeData":{}}', "不是四种形式之一：信封键 'realTimeData' 下是对象，而不是记录列表"),
        (b"{}", "不是四种形式之一：对象的键为 （无），既没有信封键"),
    ],
)
def test_why_a_message_is_bad_is_there_in_chinese_too(value: bytes | None, error: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_message(value, topic=TOPIC, envelope_keys=(), timezone=SHANGHAI)
    assert told(caught.value, "zh").startswith(error)


def test_a_message_that_could_not_be_written_again_is_bad() -> None:
    def nested(levels: int) -> bytes:
        return b'{"stationId":"A","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert list(parse(nested(246)).stations) == ["A"]
    for levels in (247, 255, 1000):
        with pytest.raises(BadMessage, match="nested too deeply"):
            parse(nested(levels))


@pytest.mark.parametrize(
    ("element", "error"),
    [
        (None, "null is not a record"),
        (3, "a number is not a record"),
        ([], "a list is not a record"),
        (
            {},
            "no station id: none of stationId, station_id is there; text or an integer is wanted in one of",
        ),
        ({"stationId": " "}, 'no station id: stationId is " "; '),
        ({"stationId": True, "station_id": 1.5}, "no station id: stationId is true, station_id is 1.5; "),
        ({"stationId": ["A"]}, "no station id: stationId is a list; "),
        ({"hostCode": "H", "stationId": None}, "no station id: stationId is null; "),
    ],
)
def test_an_element_without_a_station_id_is_rejected_and_the_rest_goes_on(element: Any, error: str) -> None:
    batch = parse([record("A"), element, record("B")])
    assert list(batch.stations) == ["A", "B"]
    (reject,) = batch.rejects
    assert orjson.loads(reject.record) == element
    assert reject.error.startswith(error)


@pytest.mark.parametrize("message", [{"sendTime": NINE}, {"timestamp": None}, {"gunPower": {}}, {"stationId": ""}])
def test_a_single_record_without_a_station_id_is_a_reject_not_a_bad_message(message: dict[str, Any]) -> None:
    batch = parse(message)
    assert batch.stations == {}
    assert [orjson.loads(reject.record) for reject in batch.rejects] == [message]


@pytest.mark.parametrize(
    ("fields", "station"),
    [
        ({"stationId": "A", "station_id": "B"}, "A"),
        ({"stationId": "", "station_id": "B"}, "B"),
        ({"stationId": None, "station_id": 7}, "7"),
        ({"stationId": 1_881_540_927_845_654_529}, "1881540927845654529"),
        ({"stationId": 0}, "0"),
        ({"stationId": " A "}, " A "),
    ],
)
def test_the_first_usable_station_id_is_kept_as_text(fields: dict[str, Any], station: str) -> None:
    assert list(parse([fields]).stations) == [station]


def test_on_context_topics_hosts_and_meters_name_the_station_too() -> None:
    records: list[dict[str, Any]] = [
        {"hostCode": 5},
        {"host_id": "h"},
        {"meterId": "m"},
        {"meter_id": "n", "stationId": "A"},
    ]
    assert list(parse(records, id_keys=CONTEXT_ID_KEYS).stations) == ["5", "h", "m", "A"]
    assert list(parse(records[3], id_keys=CONTEXT_ID_KEYS).stations) == ["A"]
    assert len(parse(records).rejects) == 3


def test_the_timestamp_is_the_latest_usable_time_rounded_down() -> None:
    records = [
        record("A", NINE + 1.75),
        record("B", (NINE + 1) * 1000),
        record("C", "2025-11-04 09:00:00"),
        record("D", 10**17),
    ]
    batch = parse(records)
    assert batch.timestamp == NINE + 1
    assert batch_id(TOPIC, NINE + 1) == "SCHEDULE-STATION-REALTIME-DATA_1762218001"


def test_a_record_without_a_time_beside_others_of_its_station_is_rejected() -> None:
    timed, untimed, alone = record("A"), record("A", "soon", send_time=None), {"stationId": "B"}
    batch = parse([untimed, alone, timed, alone])
    assert batch.stations == {"A": [timed], "B": [alone, alone]}
    assert list(batch.stations) == ["A", "B"]
    (reject,) = batch.rejects
    assert orjson.loads(reject.record) == untimed
    assert reject.error == (
        'no usable time in a record of station A, which has records with one: sendTime is "soon", send_time is null'
    )


def test_a_message_without_any_time_has_no_timestamp_and_keeps_its_records() -> None:
    records = [record("A", None), record("A", True)]
    assert parse(records) == SourceBatch(
        None, {"A": records}, (), unusable=UnusableTimes("sendTime true"), untimed=True
    )


def test_the_last_of_two_equal_keys_counts() -> None:
    assert list(parse(b'[{"stationId":"A","stationId":"B"}]').stations) == ["B"]


def test_an_integer_beyond_64_bits_keeps_all_its_digits_as_a_station_id() -> None:
    batch = parse(
        b'{"realTimeData":[{"stationId":123456789012345678901234567890,"x":1},{"stationId":"A"},'
        b'{"station_id":123456789012345678901234567891},{"stationId":-99999999999999999999,"station_id":"B"},'
        b'{"stationId":123456789012345678901234567890}]}'
    )
    assert batch.stations == {
        "123456789012345678901234567890": [
            {"stationId": 123456789012345678901234567890, "x": 1},
            {"stationId": 123456789012345678901234567890},
        ],
        "A": [{"stationId": "A"}],
        "123456789012345678901234567891": [{"station_id": 123456789012345678901234567891}],
        "-99999999999999999999": [{"stationId": -99999999999999999999, "station_id": "B"}],
    }
    assert batch.rejects == ()


@pytest.mark.parametrize("digits", ["52000000000088123456789", "-9223372036854775809", "7" * 400])
def test_an_integer_of_any_size_keeps_its_digits_in_every_field(digits: str) -> None:
    text = f'{{"stationId":"A","hostCode":{digits},"x":[{{"y":{digits}}}],"gunPower":{{"gunNo":[{digits}]}}}}'
    batch = parse(f'[{text},{text[:-1]},"sendTime":1763085600}}]'.encode())
    assert batch.exact
    assert exact_json.dumps(batch.stations["A"][0])[:-1] + b"}" == f'{text[:-1]},"sendTime":1763085600}}'.encode()
    assert [reject.record for reject in batch.rejects] == [text.encode()]


@pytest.mark.parametrize("number", ["12345678901234567890.5", "1881540927845654529.0"])
def test_a_number_that_is_no_integer_is_no_station_id_and_its_letter_has_its_digits(number: str) -> None:
    (reject,) = parse(b'[{"stationId":%b}]' % number.encode()).rejects
    assert reject.record == b'{"stationId":%b}' % number.encode()
    assert f"stationId is {number};" in reject.error


def test_a_number_too_long_for_any_program_makes_a_bad_message_that_says_so() -> None:
    for number in (b"9" * 4301, b"9" * 100_000):
        with pytest.raises(BadMessage, match="a number that can't be held: an integer has more than 4300 digits"):
            parse(b'[{"stationId":"A","x":%b}]' % number)


def test_numbers_that_orjson_reads_leave_the_fast_way() -> None:
    assert not parse(
        b'[{"stationId":1881540927845654529,"hostCode":"52000000000088123456789","x":34.290000000000006}]'
    ).exact
    assert parse(b'[{"stationId":"A","gunPower":{"gunNo":[9007199254740993.0]}}]').exact


times = st.sampled_from(["2025-11-04 09:00:00", "2025-11-04T08:00:00Z", NINE, NINE * 1000, None, "soon", True, 1e300])
ids: st.SearchStrategy[Any] = st.sampled_from(["A", "B", "C", 7, "", " ", None, 1.5, True, [], {}])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["stationId", TOPIC]), inner)
)
record_like = st.fixed_dictionaries(
    {}, optional={"stationId": ids, "station_id": ids, "sendTime": times, "timestamp": times, "x": json_values}
)


@examples(200)
@given(st.lists(record_like | json_values, max_size=12))
def test_each_record_is_in_a_station_or_in_the_rejects_exactly_once(records: list[Any]) -> None:
    numbered = [{**one, "number": number} if isinstance(one, dict) else one for number, one in enumerate(records)]
    batch = parse({TOPIC: numbered})
    kept = [one for of_station in batch.stations.values() for one in of_station]
    found = [exact_json.dumps(one) for one in kept] + [reject.record for reject in batch.rejects]
    assert Counter(found) == Counter(exact_json.dumps(one) for one in numbered)
    assert all(batch.stations.values())


@examples(200)
@given(st.lists(record_like, max_size=12))
def test_a_station_keeps_its_records_in_order_and_all_or_none_of_them_have_a_time(
    records: list[dict[str, Any]],
) -> None:
    batch = parse([{**one, "number": number} for number, one in enumerate(records)])
    seen: list[float] = []
    for of_station in batch.stations.values():
        numbers = [one["number"] for one in of_station]
        assert numbers == sorted(numbers)
        found = [
            next(
                (time for key in ("sendTime", "timestamp") if (time := parse_time(one.get(key), SHANGHAI)) is not None),
                None,
            )
            for one in of_station
        ]
        assert len({time is None for time in found}) == 1
        seen += [time for time in found if time is not None]
    assert batch.timestamp == (int(max(seen)) if seen else None)


@examples(300)
@given(
    st.binary()
    | json_values.map(exact_json.dumps)
    | st.text(alphabet='[]{}",:0123456789eE+-.\\untrflasd ').map(str.encode)
)
def test_no_bytes_whatever_raise_anything_but_bad_message(value: bytes) -> None:
    try:
        batch = parse_message(value, topic=TOPIC, envelope_keys=("data",), timezone=SHANGHAI, id_keys=CONTEXT_ID_KEYS)
    except BadMessage as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        exact_json.dumps([batch.stations, [exact_json.loads(reject.record) for reject in batch.rejects]])


@pytest.mark.parametrize("bad", [b"1", b'{"soc":1}', b'{"stationId":"A"}'])
def test_a_message_of_which_too_many_records_cant_be_used_is_refused_as_a_whole(bad: bytes) -> None:
    good = b'{"stationId":"A","sendTime":"2025-11-04 09:00:00"}'
    fits = b"[" + b",".join([good] + [bad] * MOST_REJECTS) + b"]"
    batch = parse_message(fits, topic="T", envelope_keys=(), timezone=SHANGHAI)
    assert (len(batch.rejects), list(batch.stations)) == (MOST_REJECTS, ["A"])
    with pytest.raises(BadMessage, match=r"^more than 100000 of its records can't be used, the first one because: "):
        parse_message(fits[:-1] + b"," + bad + b"]", topic="T", envelope_keys=(), timezone=SHANGHAI)
