"""Dead letters as they are read back: what is asked for, how they are shown, and which have been replayed."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from click.testing import CliRunner
from faust.cli.base import cli

from app.cli.base import parse_moment
from app.cli.commands import commands_alone
from app.cli.dead_letters.command import full, json_line, newest, table
from app.kafka.letters import CHUNK_BYTES, CHUNK_LETTERS, chunks
from app.messages.dead_letters import Letter, light, read_letter
from app.messages.message import InMessage, OutMessage
from app.messages.replays import Filters, ReplayLog, parse_place
from tables.model.events import Source

SHANGHAI = ZoneInfo("Asia/Shanghai")
TEN = 1_763_085_600.0  # 2025-11-14 10:00:00 there
HEADERS = {
    "reason": "station-failed",
    "error": "Traceback (most recent call last):\n  File ...\nValueError: no model",
    "failed-at": "1763085603.25",
    "source-topic": "T",
    "source-partition": "2",
    "source-offset": "17",
    "batch-id": "T_1763085600",
    "station-id": "A",
}


def letter(
    offset: int = 7, partition: int = 1, at: float = TEN, value: bytes | None = b'{"T":[]}', **headers: str | None
) -> Letter:
    """A letter of a failed station; headers with `_` for their dashes, None leaves one out."""
    given = HEADERS | {name.replace("_", "-"): text for name, text in headers.items()}
    pairs = [(name, text.encode()) for name, text in given.items() if text is not None]
    return read_letter(InMessage("app-dead-letter", partition, offset, at, b"key", value, pairs))


def test_a_letter_is_read_with_all_that_its_headers_say() -> None:
    assert letter() == Letter(
        partition=1,
        offset=7,
        written_at=TEN,
        failed_at=1763085603.25,
        reason="station-failed",
        error=HEADERS["error"],
        source=Source("T", 2, 17),
        batch_id="T_1763085600",
        station_id="A",
        size=8,
        key=b"key",
        value=b'{"T":[]}',
    )


@pytest.mark.parametrize("failed_at", [None, "", "soon", "nan", "inf"])
def test_a_letter_without_a_usable_time_failed_when_it_was_written(failed_at: str | None) -> None:
    assert letter(failed_at=failed_at).failed_at == TEN


@pytest.mark.parametrize("broken", [{"source_offset": None}, {"source_partition": "x"}, {"source_topic": ""}])
def test_a_source_that_is_not_whole_is_none(broken: dict[str, Any]) -> None:
    assert letter(**broken).source is None


def test_a_message_that_is_no_letter_is_one_that_says_nothing() -> None:
    headers: Any = [("reason", None), ("error", b"\xff")]
    read = read_letter(InMessage("app-dead-letter", 0, 0, TEN, None, None, headers))
    assert (read.reason, read.error, read.source, read.size) == ("", "\ufffd", None, 0)


def test_a_listing_keeps_the_line_of_the_error_that_says_what_happened() -> None:
    kept = light(letter())
    assert (kept.error, kept.key, kept.value, kept.size) == ("ValueError: no model", None, None, 8)


# -- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        (Filters(), True),
        (Filters(reasons=frozenset({"bad-record", "station-failed"})), True),
        (Filters(reasons=frozenset({"bad-record"})), False),
        (Filters(batches=frozenset({"T_1763085600", "other"})), True),
        (Filters(batches=frozenset({"other"})), False),
        (Filters(stations=frozenset({"A"})), True),
        (Filters(stations=frozenset({"B"})), False),
        (Filters(since=1763085603.25), True),
        (Filters(since=1763085603.26), False),
        (Filters(until=1763085603.26), True),
        (Filters(until=1763085603.25), False),
        (Filters(frozenset({"station-failed"}), stations=frozenset({"B"})), False),
    ],
)
def test_every_filter_has_to_match(filters: Filters, *, matches: bool) -> None:
    assert filters.match(letter()) is matches


def test_a_filter_passes_over_letters_that_do_not_know() -> None:
    unknown = letter(batch_id=None, station_id=None)
    assert not Filters(batches=frozenset({"T_1763085600"})).match(unknown)
    assert not Filters(stations=frozenset({"A"})).match(unknown)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", TEN - 90),
        ("30m", TEN - 1800),
        ("2h", TEN - 7200),
        ("1.5h", TEN - 5400),
        ("1d12h", TEN - 129_600),
        ("2025-11-14", TEN - 36_000),
        ("2025-11-14T09:00:00", TEN - 3600),
        ("2025-11-14 09:00:00", TEN - 3600),
        ("2025-11-14T09:00:00Z", TEN + 25_200),
        ("1763085600", TEN),
    ],
)
def test_since_is_a_time_in_the_timezone_or_a_duration(text: str, seconds: float) -> None:
    assert parse_moment(text, SHANGHAI, TEN) == seconds


@pytest.mark.parametrize("text", ["", "2 hours", "h", "yesterday", "-2h", "2025-13-01", "1..5h", "2h30"])
def test_since_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a time"):
        parse_moment(text, SHANGHAI, TEN)


def test_a_place_is_a_partition_and_an_offset() -> None:
    assert parse_place("3@17") == (3, 17)
    for text in ("3", "@17", "3@", "a@1", "3@-1", "3@1@2"):
        with pytest.raises(ValueError, match="PARTITION@OFFSET"):
            parse_place(text)


def test_letters_are_in_the_order_of_their_times_and_the_limit_keeps_the_newest() -> None:
    one, two, three = (letter(offset, failed_at=at) for offset, at in ((5, "3"), (6, "1"), (7, "2")))
    assert newest([one, two, three], None) == [two, three, one]
    assert newest([one, two, three], 2) == [three, one]
    assert newest([one], 9) == [one]


def test_values_are_held_so_many_at_once_as_fit() -> None:
    few = [letter(offset) for offset in range(CHUNK_LETTERS + 1)]
    assert [len(chunk) for chunk in chunks(few)] == [CHUNK_LETTERS, 1]
    large = [letter(offset, value=bytes(CHUNK_BYTES // 2)) for offset in range(3)]
    assert [len(chunk) for chunk in chunks(large)] == [2, 1]
    assert [len(chunk) for chunk in chunks([letter(value=bytes(CHUNK_BYTES + 1))])] == [1]
    assert list(chunks([])) == []


# -- how they are shown ----------------------------------------------------------------------------------------------


def replayed_at(shown: Letter) -> float | None:
    return TEN + 60 if shown.offset == 7 else None


def test_the_table_says_when_why_which_and_where() -> None:
    bare = letter(
        8, reason="bad-message", error="not JSON", batch_id=None, station_id=None, source_topic=None, failed_at=None
    )
    assert table([letter(), bare], replayed_at, SHANGHAI, None) == [
        "TIME                 REASON          BATCH         STATION  SOURCE   LETTER  REPLAYED             ERROR",
        "2025-11-14 10:00:03  station-failed  T_1763085600  A        T[2]@17  1@7     2025-11-14 10:01:00  "
        "ValueError: no model",
        "2025-11-14 10:00:00  bad-message     -             -        -        1@8     -                    not JSON",
    ]


def test_the_table_is_cut_at_the_width_of_the_terminal() -> None:
    lines = table([letter()], replayed_at, SHANGHAI, 40)
    assert [len(line) for line in lines] == [40, 40]
    assert lines[1].endswith("…")


def test_nothing_from_outside_can_write_to_the_terminal() -> None:
    evil = letter(station_id="A\x1b[2J\n", error="x\x1b]0;y\x07", reason="r\r")
    shown = "".join(table([evil], replayed_at, SHANGHAI, None) + full(evil, None, SHANGHAI))
    assert shown.isprintable()
    assert r"A\x1b[2J\n" in shown


def test_one_letter_is_shown_whole() -> None:
    assert full(letter(), TEN + 60, SHANGHAI) == [
        "letter:   1@7",
        "time:     2025-11-14 10:00:03",
        "reason:   station-failed",
        "batch:    T_1763085600",
        "station:  A",
        "source:   T[2]@17",
        "key:      key",
        "replayed: 2025-11-14 10:01:00",
        "error:",
        "    Traceback (most recent call last):",
        "      File ...",
        "    ValueError: no model",
        "value (8 bytes):",
        '{"T":[]}',
    ]


def test_json_has_the_whole_error_and_the_value() -> None:
    assert orjson.loads(json_line(letter(), TEN + 60)) == {
        "partition": 1,
        "offset": 7,
        "written_at": TEN,
        "failed_at": 1763085603.25,
        "reason": "station-failed",
        "batch_id": "T_1763085600",
        "station_id": "A",
        "source": {"topic": "T", "partition": 2, "offset": 17},
        "replayed_at": TEN + 60,
        "error": HEADERS["error"],
        "key": "key",
        "value": '{"T":[]}',
    }


def test_json_has_base64_of_what_is_no_text() -> None:
    record = orjson.loads(json_line(letter(value=b"\xff\x00", source_topic=None), None))
    assert record["value_base64"] == "/wA="
    assert "value" not in record
    assert record["source"] is None
    assert record["replayed_at"] is None
    assert orjson.loads(json_line(letter(value=None), None))["value"] is None


@pytest.mark.parametrize("at", ["1e300", "-1e300", "-1"])
def test_a_time_that_no_calendar_has_is_shown_as_a_number_or_a_date(at: str) -> None:
    assert len(table([letter(failed_at=at)], replayed_at, SHANGHAI, None)) == 2


# -- which have been replayed ----------------------------------------------------------------------------------------


def read_back(*records: OutMessage) -> list[InMessage]:
    return [InMessage(one.topic, 0, offset, TEN, one.key, one.value) for offset, one in enumerate(records)]


def test_what_has_been_replayed_is_remembered_with_its_last_time() -> None:
    empty = ReplayLog("app-replayed", [])
    records = [empty.record(letter(), TEN + 1), empty.record(letter(), TEN + 2)]
    assert {(one.topic, one.key) for one in records} == {("app-replayed", b"1@7")}
    log = ReplayLog("app-replayed", read_back(*records))
    assert empty.replayed_at(letter()) is None
    assert log.replayed_at(letter()) == TEN + 2
    assert log.replayed_at(letter(8)) is None
    assert log.replayed_at(letter(partition=0)) is None


def test_a_letter_in_a_topic_made_anew_is_not_taken_for_the_one_that_stood_there() -> None:
    log = ReplayLog("app-replayed", read_back(ReplayLog("", []).record(letter(), TEN)))
    assert log.replayed_at(letter(at=TEN + 0.001)) is None


def test_what_is_forgotten_or_foreign_is_passed_over() -> None:
    record = ReplayLog("app-replayed", []).record(letter(), TEN)
    foreign = [OutMessage("", value, key=b"1@7") for value in (b"x", b"[]", b"{}", b'{"written_at":[]}')]
    assert ReplayLog("", read_back(*foreign)).replayed_at(letter()) is None
    assert ReplayLog("", read_back(record, OutMessage("", None, key=b"1@7"))).replayed_at(letter()) is None
    assert ReplayLog("", read_back(record, *foreign)).replayed_at(letter()) == TEN


def test_letters_that_are_gone_are_forgotten() -> None:
    empty = ReplayLog("app-replayed", [])
    kept = [empty.record(letter(offset, partition), TEN) for offset, partition in ((5, 0), (6, 0), (5, 1), (1, 9))]
    log = ReplayLog("app-replayed", read_back(*kept, OutMessage("", kept[0].value, key=b"what")))
    tombstones = log.tombstones({0: 6, 1: 0})
    assert tombstones == [OutMessage("app-replayed", None, key=key) for key in (b"0@5", b"9@1", b"what")]


def test_a_letter_keeps_the_headers_that_name_a_span() -> None:
    trace = (("traceparent", b"00-1-2-01"), ("tracestate", b"plant=7"))
    headers = (("reason", b"bad-message"), *trace, ("x", b"y"))
    assert read_letter(InMessage("D", 0, 1, 2.0, None, b"", headers)).trace == trace


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reason", "boredom"], "'boredom' is not one of"),
        (["--since", "yesterday"], "'yesterday' is neither a time"),
        (["--limit", "0"], "0 is not in the range"),
        (["--show", "7"], "PARTITION@OFFSET"),
        (["--again"], "--again is for --replay"),
        (["--dry-run"], "--dry-run is for --replay"),
        (["--show", "0@0", "--replay"], "--show is for one letter"),
        (["--json", "--replay"], "--json is for looking"),
    ],
)
def test_a_bad_option_is_a_usage_error(arguments: list[str], said: str) -> None:
    commands_alone()  # `-A` finds the application by the arguments of pytest's process: not there when run by itself
    done = CliRunner().invoke(cli, ["-A", "app", "dead-letters", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
