"""What came out, as `outputs` and `late` read it and tell it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import click
import orjson
import pytest

from app.cli.base import speak
from app.cli.outputs import Request, _late_teller, output_teller
from app.cli.published import (
    Output,
    StationOutcome,
    is_single,
    json_line,
    late_outcome,
    late_pieces,
    outcomes_of,
    output_pieces,
)
from app.messages.message import InMessage
from app.settings.enums import Language

BATCH = "T_1763085600"
META = {
    "status": "partial",
    "completed_by": "timeout",
    "revision": 1,
    "expected_count": 4,
    "arrived_count": 3,
    "missing": ["D"],
    "failed": [{"station_id": "C", "error": "ValueError: no\nmodel"}],
    "empty": ["B"],
    "opened_at": 1763085603.0,
    "deadline": 1763085608.0,
    "closed_at": 1763085608.25,
    "part": 1,
    "parts": 1,
}
PAYLOAD = {
    "batch_id": BATCH,
    "module": "m",
    "timestamp": 1763085608.25,
    "stations": [{"station_id": "A", "kw": 1.5}],
    "station_count": 1,
    "meta": META,
}
HEADERS = (("completed-by", b"timeout"), ("revision", b"1"), ("part", b"1"), ("parts", b"1"))


def message(value: Any, headers: Any = HEADERS, key: bytes | None = BATCH.encode()) -> InMessage:
    content = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
    return InMessage("OUT", 3, 17, 1763085608.5, key, content, headers)


def line_of(value: Any, headers: Any = HEADERS) -> str:
    got = message(value, headers)
    return "".join(text for text, _ in output_pieces(Output.read(got.key, got.value, dict(got.headers))))


def test_an_output_is_told_on_one_line() -> None:
    assert line_of(PAYLOAD) == f"{BATCH}  partial   3/4 stations  5.25 s  missing: D  failed: C  empty: B"


def test_parts_revisions_and_many_names_are_told_too() -> None:
    headers = (("completed-by", b"revision"), ("revision", b"2"), ("part", b"2"), ("parts", b"3"))
    told = line_of(PAYLOAD | {"meta": META | {"missing": [f"S{number}" for number in range(7)]}}, headers)
    assert "part 2 of 3  revision 2" in told
    assert "missing: S0 S1 S2 S3 S4 +2" in told


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no JSON",
        b"\xff\xfe",
        b"[1]",
        b"1e400",
        {"anything": 1},
        {"stations": 7, "meta": 8, "station_count": "x"},
        {"stations": [1, {"no": "id"}], "meta": {"failed": [3], "missing": 5, "empty": None, "status": 9}},
        {"meta": {"opened_at": "x", "closed_at": None}},
    ],
)
def test_whatever_a_payload_is_it_is_told(value: Any) -> None:
    assert line_of(value).startswith(f"{BATCH}  timeout")
    assert list(outcomes_of(message(value).value)) == []
    assert orjson.loads(json_line(message(value)))["kafka"]["offset"] == 17
    assert late_outcome(message(value).value) is None
    assert late_pieces(b"k", message(value).value)


def test_what_is_not_printable_is_escaped() -> None:
    got = message(PAYLOAD, key=b"a\x1b[31m\nb")
    told = "".join(text for text, _ in output_pieces(Output.read(got.key, got.value, {})))
    assert told.startswith(r"a\x1b[31m\nb  partial")


def test_an_output_says_something_of_each_station() -> None:
    assert list(outcomes_of(orjson.dumps(PAYLOAD))) == [
        StationOutcome("A", "result", '{"kw":1.5}'),
        StationOutcome("C", "failed", "ValueError: no\nmodel"),
        StationOutcome("B", "empty"),
        StationOutcome("D", "missing"),
    ]


def test_a_result_that_passed_through_is_of_no_batch() -> None:
    assert is_single(message({"station_id": "A", "module": "m", "result": [1]}, headers=()))
    assert list(outcomes_of(b'{"station_id":"A","module":"m","result":[1]}')) == [StationOutcome("A", "result", "[1]")]
    assert not is_single(message(PAYLOAD))


def lines_of(told: InMessage, **asked: Any) -> list[str] | None:
    """The lines of a message, without the time that they begin with."""
    lines = output_teller(ZoneInfo("Asia/Shanghai"), Request(**asked))(told)
    return None if lines is None else [line.removeprefix("2025-11-14 10:00:08  ") for line in lines]


@pytest.mark.parametrize("payload", [b'{"station":"A","load":37.02}', b"no JSON", b"[1]", b'{"result": 1}'])
def test_what_a_handler_makes_of_a_station_that_passed_through_is_told_as_it_stands(payload: bytes) -> None:
    single = message(payload, headers=(), key=b"A")
    assert lines_of(single) == lines_of(single, station=("A", "B")) == [f"A  custom  {payload.decode()}"]
    assert lines_of(single, station=("B",)) is None
    assert lines_of(single, batch=("A",)) is None


def test_a_payload_of_a_handler_is_told_where_its_batch_is_asked_for() -> None:
    custom = message({"load": [1, 2]})
    assert lines_of(custom) == [f"{BATCH}  timeout   a custom payload"]
    assert lines_of(custom, batch=(BATCH,)) == [f"{BATCH}  timeout   a custom payload", '    {"load":[1,2]}']
    assert len(lines_of(message(PAYLOAD), batch=(BATCH,)) or ()) == 1 + 1 + 4


def test_a_late_record_is_told_with_how_late_it_was() -> None:
    late = {"batch_id": BATCH, "station_id": "D", "status": "result", "result": {"kw": 2}, "reason": "batch-closed",
            "revision": 1, "closed_at": 1763085608.25, "timestamp": 1763085610.5}  # fmt: skip
    assert late_outcome(orjson.dumps(late)) == StationOutcome("D", "result", '{"kw":2}')
    told = "".join(text for text, _ in late_pieces(None, orjson.dumps(late)))
    assert told == f"{BATCH}  D  result, too late (2.25 s after the batch was closed)"


@pytest.mark.parametrize(
    ("language", "status", "said"),
    [
        (Language.EN, "skipped", "not run: the deadline had passed before its turn came"),
        (Language.ZH, "skipped", "未运行：轮到它之前截止时间已过（批次关闭后 2.25 秒）"),
        (Language.ZH, "failed", "failed，迟到（批次关闭后 2.25 秒）"),
    ],
)
def test_a_late_record_is_told_in_the_language_that_is_set(language: Language, status: str, said: str) -> None:
    late = {"batch_id": BATCH, "station_id": "D", "status": status, "closed_at": 1763085608.25,
            "timestamp": 1763085610.5}  # fmt: skip
    with click.Context(click.Command("late")) as context:
        speak(context, language)
        (line,) = _late_teller(ZoneInfo("Asia/Shanghai"), Request())(message(late)) or ()
    assert f"  {BATCH}  D  {said}" in line


def test_json_is_the_message_with_its_place() -> None:
    assert orjson.loads(json_line(message(PAYLOAD))) == {
        "kafka": {
            "topic": "OUT",
            "partition": 3,
            "offset": 17,
            "timestamp": 1763085608.5,
            "key": BATCH,
            "headers": {"completed-by": "timeout", "revision": "1", "part": "1", "parts": "1"},
        },
        **PAYLOAD,
    }


def test_json_keeps_the_digits_and_stays_on_one_line() -> None:
    line = json_line(message(b'{\n"n": 123456789012345678901234567890}'))
    assert b"\n" not in line
    assert line.endswith(b'"n":123456789012345678901234567890}')
    assert json_line(message(b"no\nJSON")).endswith(b'"value":"no\\nJSON"}')
