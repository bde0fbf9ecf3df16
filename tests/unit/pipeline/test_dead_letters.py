"""Dead letters: value, key and headers of CONTRACT 8; when they are counted and logged; those of failed stations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.dead_letters import ERROR_BYTES, Reason, Subject
from app.messages.message import InMessage, OutMessage
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics, Statistics
from app.observability.tracing import Traces
from app.pipeline.dead_letters import DeadLetter, DeadLetters, LetterSender, SourceLetters, failure_letter
from app.pipeline.ports import Telemetry
from app.settings import Settings
from app.settings.enums import Language
from tables.model.events import FailedStation, SkippedFailed, Source

LETTERS = DeadLetters("app-dead-letter")


def headers(letter: OutMessage) -> dict[str, str]:
    return {name: value.decode() for name, value in letter.headers}


def letter_with(error: str, reason: Reason = Reason.BAD_RECORD, value: bytes | None = b"v") -> DeadLetter:
    return LETTERS.letter(reason, error, Subject(1.0), value=value, key=None)


def test_a_message_that_could_not_be_read_keeps_its_bytes_and_its_key() -> None:
    letter = LETTERS.of_message(InMessage("t", 3, 17, 1763085603.5, b"\xff", b"\x00 no JSON"), "why")
    assert (letter.topic, letter.value, letter.key, letter.partition) == (
        "app-dead-letter",
        b"\x00 no JSON",
        b"\xff",
        None,
    )
    assert headers(letter) == {
        "reason": "bad-message",
        "error": "why",
        "failed-at": "1763085603.5",
        "source-topic": "t",
        "source-partition": "3",
        "source-offset": "17",
    }


def test_a_message_without_value_stays_one() -> None:
    assert LETTERS.of_message(InMessage("t", 0, 0, 1.0, None, None), "why").value is None


def test_what_is_known_is_in_the_headers_and_zero_is_known() -> None:
    letter = LETTERS.letter(
        Reason.STATION_FAILED, "Traceback", Subject(2.0, Source("t", 0, 0), "b", "场站"), value=b"{}", key=b"k"
    )
    assert headers(letter) == {
        "reason": "station-failed",
        "error": "Traceback",
        "failed-at": "2.0",
        "source-topic": "t",
        "source-partition": "0",
        "source-offset": "0",
        "batch-id": "b",
        "station-id": "场站",
    }


def test_what_is_not_known_is_left_out() -> None:
    assert set(headers(letter_with("why"))) == {"reason", "error", "failed-at"}


@given(
    st.text(st.characters(exclude_characters="…", codec="utf-8"), max_size=30),
    st.sampled_from([0, 3, ERROR_BYTES - 1, ERROR_BYTES, 3 * ERROR_BYTES]),
)
def test_an_error_is_cut_in_the_middle_in_whole_characters(text: str, more: int) -> None:
    error = text + "é" * more + text
    cut = headers(letter_with(error))["error"]
    whole = error.encode(errors="replace").decode()
    if len(whole.encode()) <= ERROR_BYTES:
        assert cut == whole
    else:
        head, _, tail = cut.partition(" … ")
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert ERROR_BYTES - 6 <= len(cut.encode()) <= ERROR_BYTES


def test_a_long_message_keeps_the_name_of_its_error() -> None:
    cut = headers(letter_with("Traceback (most recent call last):\nValueError: " + "x" * 20_000))["error"]
    assert cut.startswith("Traceback (most recent call last):\nValueError: xxx")
    assert cut.endswith("xxx")


@pytest.mark.parametrize("size", [10, 64 * 1024, 64 * 1024 + 1])
def test_only_what_was_too_large_is_cut_to_its_first_64_kib(size: int) -> None:
    value = bytes(n % 251 for n in range(size))
    assert letter_with("e", Reason.TOO_LARGE, value).value == value[: 64 * 1024]
    assert letter_with("e", Reason.BAD_RECORD, value).value == value


def test_a_letter_made_again_is_identical() -> None:
    assert letter_with("why") == letter_with("why")


# -- when they are counted and logged


class Broker:
    """Confirms what it is sent, or fails."""

    def __init__(self) -> None:
        self.messages: list[OutMessage] = []
        self.away = False

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        if self.away:
            raise ConnectionError
        self.messages += messages
        return list(range(len(self.messages) - len(messages), len(self.messages)))


def test_a_letter_is_counted_and_logged_once_when_it_is_sent_and_not_when_it_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    statistics = Statistics(Metrics(), lambda: 0.0)
    broker, counts = Broker(), statistics.metrics.dead_letters
    log = BatchLog(logging.getLogger(__name__), Language.EN, lambda: 0.0)
    sender = LetterSender(broker, Telemetry(log, statistics, Traces()))
    bad = LETTERS.of_message(InMessage("t", 3, 17, 1.0, None, b"no JSON"), "Traceback\nJSONDecodeError: why")
    failed = LETTERS.letter(
        Reason.STATION_FAILED, "E", Subject(2.0, batch_id="b", station_id="S7"), value=b"{}", key=None
    )
    messages = [bad, OutMessage("output", b"{}"), failed]

    broker.away = True
    with pytest.raises(ConnectionError):
        asyncio.run(sender.send(messages))
    assert (counts, caplog.records) == ({}, [])

    broker.away = False
    assert asyncio.run(sender.send(messages)) == [0, 1, 2]
    assert broker.messages == messages
    assert counts == {"bad-message": 1, "station-failed": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "Dead letter (bad-message): JSONDecodeError: why [topic=t, partition=3, offset=17]",
        "Dead letter (station-failed): E [batch_id=b, station_id=S7]",
    ]


# -- of failed stations


ERROR = "the deadline had passed before the callback started"
SOURCE = Source("T", 1, 7)


def skipped(station: str, source: Source = SOURCE) -> SkippedFailed:
    return SkippedFailed("b", source, station, 105.0, ERROR, "trace")


def letters(failed: Sequence[SkippedFailed], there: Mapping[Source, bytes]) -> list[FailedStation]:
    asked: list[Source] = []

    async def find(sources: Sequence[Source]) -> dict[Source, InMessage]:
        asked.extend(sources)
        return {one: InMessage(*one, 100.0, b"key", there[one]) for one in sources if one in there}

    made = SourceLetters(Settings(envelope_keys=(), timezone="Asia/Shanghai"), find)
    done = asyncio.run(made.of(failed))
    assert len(asked) == len(set(asked))
    return done


def test_a_letter_has_the_stations_records_and_the_key_of_its_source_message() -> None:
    records = [{"stationId": station, "sendTime": 1763085600 + hour} for station in "AB" for hour in (0, 3600)]
    first, second = letters([skipped("B"), skipped("A")], {SOURCE: orjson.dumps({"realTimeData": records})})
    assert (first.station, first.source, first.at, first.trace) == ("B", SOURCE, 105.0, "trace")
    assert orjson.loads(first.letter.value) == {"T": records[2:]}
    assert orjson.loads(second.letter.value) == {"T": records[:2]}
    assert (first.letter.key, first.letter.error) == (b"key", ERROR)


def test_a_letter_has_the_records_whose_times_were_usable_when_the_message_was_split() -> None:
    records = [{"stationId": "A", "sendTime": time} for time in ("1970-01-02 08:01:40", 1763085600)]
    (failed,) = letters([skipped("A")], {SOURCE: orjson.dumps(records)})  # its timestamp is 08:01:40 the day before
    assert orjson.loads(failed.letter.value) == {"T": records[:1]}


def test_a_station_whose_message_is_gone_has_a_letter_that_says_so() -> None:
    gone, unreadable = Source("T", 0, 1), Source("T", 0, 2)
    for source in (gone, unreadable):
        (failed,) = letters([skipped("A", source)], {unreadable: b"not JSON"})
        assert failed.letter.value == '{"T":[]}'
        assert failed.letter.error == f"{ERROR}\nits source message can't be read any more"


def test_a_station_whose_records_cannot_be_written_has_a_letter_that_says_so() -> None:
    letter = failure_letter("t", [{"stationId": "A", "x": {1}}], b"k", "ValueError: no model")
    assert (letter.value, letter.key, letter.too_large) == ("", b"k", False)
    assert letter.error.startswith("ValueError: no model\nthe station's records can't be written as JSON: ")
