"""Log lines: exact texts, sets that are cut, the pace of progress, no forged lines, JSON."""

from __future__ import annotations

import io
import json
import logging
import string
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError
from mode.utils.logging import setup_logging
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk import _shared_internal

from app.choices import Language, LogFormat
from app.lines import CATALOGUE, Line, names, printable, say
from app.log import BatchLog
from app.log_format import ExpectedFilter, JsonFormatter, RepeatFilter, logging_config
from tables.events import Source


@dataclass
class Clock:
    """A clock that stands still until it is put."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@dataclass
class Heard:
    """A BatchLog and what it said."""

    language: Language = Language.EN
    level: int = logging.INFO
    clock: Clock = field(default_factory=Clock)
    handler: Records = field(default_factory=Records)

    def __post_init__(self) -> None:
        logger = logging.Logger("test", self.level)  # noqa: LOG001 - one of its own, known to no other test
        logger.addHandler(self.handler)
        self.log = BatchLog(logger, self.language, self.clock)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.handler.records]


def not_called() -> list[str]:
    raise AssertionError


class Poison(Collection[str]):
    """A set of stations that must not be looked at."""

    def __len__(self) -> int:
        raise AssertionError

    def __iter__(self) -> Iterator[str]:
        raise AssertionError

    def __contains__(self, item: object) -> bool:
        raise AssertionError


def say_everything(log: BatchLog) -> None:
    log.opened("T_1763085600", ["A", "B", "C"])
    log.progress("T_1763085600", 1, 3, ["B", "C"])
    log.completed("T_1763085600", ["A", "B", "C"])
    log.published("T_1763085600", 2)
    log.timed_out("T_1763085600", 2, 3, ["C"])
    log.late("T_1763085600", "C", "ok", "closed")
    log.dead_letter(
        "station-failed", "ValueError: 5", topic="T", partition=0, offset=12, batch_id="T_1", station_id="D"
    )


def test_chinese_lines_are_the_contracts_word_for_word() -> None:
    heard = Heard(Language.ZH)
    say_everything(heard.log)
    assert heard.lines == [
        ("INFO", "初始化批次 T_1763085600，预期场站: {'A', 'B', 'C'}"),
        ("INFO", "批次 T_1763085600 进度: 1/3，待完成: {'B', 'C'}"),
        ("INFO", "批次 T_1763085600 完成，场站: {'A', 'B', 'C'}"),
        ("INFO", "批次 T_1763085600 结果已上传，包含 2 个场站"),
        ("WARNING", "批次 T_1763085600 超时，已完成 2/3，缺失场站: {'C'}"),
        ("WARNING", "批次 T_1763085600 收到迟到结果，场站: C，状态: ok，原因: closed"),
        (
            "WARNING",
            "死信 (station-failed): ValueError: 5 [topic=T, partition=0, offset=12, batch_id=T_1, station_id=D]",
        ),
    ]


def test_english_lines_tell_the_same() -> None:
    heard = Heard(Language.EN)
    say_everything(heard.log)
    assert heard.lines == [
        ("INFO", "Batch T_1763085600 opened, expected stations: {'A', 'B', 'C'}"),
        ("INFO", "Batch T_1763085600 progress: 1/3, pending: {'B', 'C'}"),
        ("INFO", "Batch T_1763085600 complete, stations: {'A', 'B', 'C'}"),
        ("INFO", "Batch T_1763085600 published with 2 stations"),
        ("WARNING", "Batch T_1763085600 timed out with 2/3, missing stations: {'C'}"),
        ("WARNING", "Batch T_1763085600 late result of station C, status: ok, reason: closed"),
        (
            "WARNING",
            "Dead letter (station-failed): ValueError: 5 [topic=T, partition=0, offset=12, batch_id=T_1, station_id=D]",
        ),
    ]


def test_a_dead_letter_of_nowhere_says_so() -> None:
    heard = Heard()
    heard.log.dead_letter("too-large", "20 MB")
    assert heard.lines == [("WARNING", "Dead letter (too-large): 20 MB [?]")]


@pytest.mark.parametrize(
    ("ids", "total", "text"),
    [
        ([], 0, "set()"),
        (["B", "A"], 2, "{'B', 'A'}"),
        (["it's"], 1, '{"it\'s"}'),
        ([str(i) for i in range(13)], 13, "{'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12'}"),
        (
            [str(i) for i in range(1000)],
            1000,
            "{'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', … +987}",
        ),
        (["a\n初始化批次 x"], 1, r"{'a\n初始化批次 x'}"),
        (["x" * 201], 1, "{'" + "x" * 200 + "…'}"),
    ],
)
def test_sets_are_printed_like_pythons_in_the_order_given_and_cut(ids: list[str], total: int, text: str) -> None:
    assert names(ids, total) == text


def test_of_a_long_set_only_the_beginning_is_looked_at() -> None:
    looked_at = 0

    def ids() -> Iterator[str]:
        nonlocal looked_at
        for _ in range(10_000):
            looked_at += 1
            yield "s"

    assert names(ids(), 10_000).endswith(", … +9987}")
    assert looked_at == 14


def test_progress_is_at_most_one_line_a_second_for_each_batch() -> None:
    heard = Heard()
    for now in (100.0, 100.5, 100.99, 101.0, 101.5, 102.0):
        heard.clock.now = now
        heard.log.progress("a", 1, 2, ["B"])
        heard.log.progress("b", 1, 2, lambda: ["B"])
    assert [text.split()[1] for _, text in heard.lines] == ["a", "b"] * 3


def test_a_progress_line_that_is_not_written_costs_nothing() -> None:
    heard = Heard()
    heard.log.progress("a", 1, 2, ["B"])
    heard.log.progress("a", 1, 2, Poison())
    heard.log.progress("a", 1, 2, not_called)
    assert len(heard.lines) == 1


def test_a_batch_that_ended_is_forgotten() -> None:
    heard = Heard()
    ends: list[Callable[[], None]] = [
        lambda: heard.log.completed("a", ["A"]),
        lambda: heard.log.timed_out("a", 1, 2, ["B"]),
        lambda: heard.log.forget("a"),
    ]
    for end in ends:
        heard.log.progress("a", 1, 2, ["B"])
        end()
        assert heard.log._said == {}
    assert sum("progress" in text for _, text in heard.lines) == 3


def test_batches_that_never_end_are_forgotten_after_a_second() -> None:
    heard = Heard()
    for number in range(1000):
        heard.clock.now += 0.1
        heard.log.progress(f"b{number}", 1, 2, ["B"])
        assert len(heard.log._said) <= 11
    assert len(heard.lines) == 1000


def test_a_clock_that_was_put_back_does_not_silence_a_batch() -> None:
    heard = Heard()
    heard.log.progress("a", 1, 2, ["B"])
    heard.clock.now -= 50
    heard.log.progress("a", 1, 2, ["B"])
    assert len(heard.lines) == 2


def test_nothing_is_formatted_when_the_level_is_off() -> None:
    heard = Heard(level=logging.ERROR)
    heard.log.opened("a", Poison())
    heard.log.progress("a", 1, 2, Poison())
    heard.log.completed("a", Poison())
    heard.log.published("a", 1)
    heard.log.timed_out("a", 1, 2, Poison())
    heard.log.late("a", "B", "ok", "closed")
    heard.log.dead_letter("bad-message", "x")
    assert heard.lines == []


def test_nobody_can_forge_a_line() -> None:
    evil = "a\r\n\x1b[31mBatch x complete\u2028\x85\u202e"
    heard = Heard()
    heard.log.opened(evil, [evil])
    heard.log.progress(evil, 0, 1, [evil])
    heard.log.completed(evil, [evil])
    heard.log.published(evil, 1)
    heard.log.timed_out(evil, 0, 1, [evil])
    heard.log.late(evil, evil, evil, evil)
    heard.log.dead_letter(evil, evil, topic=evil, batch_id=evil, station_id=evil)
    assert len(heard.lines) == 7
    for _, text in heard.lines:
        assert text.isprintable()
        assert r"a\r\n\x1b[31mBatch x complete\u2028\x85\u202e" in text


def test_what_looks_like_a_template_is_text() -> None:
    heard = Heard()
    heard.log.late("{station_id} %s %(x)d", "{0}", "ok", "closed")
    assert heard.lines == [
        ("WARNING", "Batch {station_id} %s %(x)d late result of station {0}, status: ok, reason: closed")
    ]


def test_long_ids_do_not_cut_the_set_around_them() -> None:
    heard = Heard()
    heard.log.completed("a", [f"{number:0100}" for number in range(13)])
    assert heard.lines[0][1].endswith(f"'{12:0100}'}}")


def test_text_is_cut_at_500_characters() -> None:
    assert printable("x" * 501) == "x" * 500 + "…"


def test_both_languages_of_a_line_use_the_same_fields() -> None:
    assert set(CATALOGUE) == set(Line)
    for line, texts in CATALOGUE.items():
        fields = [
            {name for _, name, _, _ in string.Formatter().parse(texts[language]) if name} for language in Language
        ]
        assert fields[0] == fields[1], line


def test_other_lines_are_said_in_both_languages() -> None:
    fields = {"broker": "kafka://a:1", "patience": 60.0, "error": "refused\n"}
    assert say(Language.EN, Line.BROKER_AWAY, **fields) == (
        r"Kafka at kafka://a:1 is away, waiting for it up to 60 s: refused\n"
    )
    assert (
        say(Language.ZH, Line.BROKER_BACK, broker="kafka://a:1", away=3.25) == "Kafka kafka://a:1 已恢复，中断 3.2 秒"
    )
    assert say(Language.EN, Line.WORKER_READY, partitions=[0, 1]) == "Worker ready, partitions: [0, 1]"
    assert say(Language.ZH, Line.TOPICS_CREATED, topics=names(["t"], 1)) == "已创建主题: {'t'}"


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        (
            Language.EN,
            [
                "T[0]@7: header batch-id: 'a b'; the default is used",
                "T[0]@7 is an empty list of records: nothing to do",
            ],
        ),
        (Language.ZH, ["T[0]@7: header batch-id: 'a b'，使用默认值", "T[0]@7 的记录列表为空，无需处理"]),
    ],
)
def test_what_is_wrong_with_a_source_message_is_said_with_its_place(language: Language, lines: list[str]) -> None:
    heard = Heard(language)
    heard.log.bad_header(Source("T", 0, 7), "header batch-id: 'a b'")
    heard.log.empty_message(Source("T", 0, 7))
    assert heard.lines == [("WARNING", line) for line in lines]
    places = {tuple(getattr(record, name) for name in Source._fields) for record in heard.handler.records}
    assert places == {("T", 0, 7)}


def test_a_json_line_has_the_message_and_its_fields() -> None:
    heard = Heard(Language.ZH)
    heard.log.dead_letter("bad-record", "no station id", topic="T", partition=0, offset=7)
    (record,) = heard.handler.records
    entry = json.loads(JsonFormatter().format(record))
    assert datetime.fromisoformat(entry.pop("time")) == datetime.fromtimestamp(int(record.created * 1000) / 1000, UTC)
    assert entry == {
        "level": "WARNING",
        "logger": "test",
        "message": "死信 (bad-record): no station id [topic=T, partition=0, offset=7]",
        "event": "dead-letter",
        "topic": "T",
        "partition": 0,
        "offset": 7,
        "reason": "bad-record",
    }


def test_a_json_line_of_a_batch_has_the_place_of_its_log() -> None:
    heard = Heard(Language.EN)
    log = BatchLog(heard.log.logger, Language.EN, heard.clock, place=lambda batch_id: ("log", len(batch_id)))
    log.published("T_1", 2)
    log.dead_letter("station-failed", "x", topic="T", partition=7, offset=1, batch_id="T_1")
    published, letter = (json.loads(JsonFormatter().format(record)) for record in heard.handler.records)
    assert (published["topic"], published["partition"]) == ("log", 3)
    assert (letter["topic"], letter["partition"]) == ("T", 7)


def test_a_json_line_carries_the_traceback_as_text() -> None:
    try:
        int("broken")
    except ValueError:
        record = logging.LogRecord("test", logging.ERROR, __file__, 1, "failed: %s", ("x",), sys.exc_info())
    text = JsonFormatter().format(record)
    entry = json.loads(text)
    assert text.count("\n") == 0
    assert entry["message"] == "failed: x"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("ValueError: invalid literal for int() with base 10: 'broken'")


def test_a_json_line_is_one_line_of_utf8_whatever_is_in_it() -> None:
    message = 'a\n\x85\u2028\u2029\x9b"\\\ud800超时'
    record = logging.LogRecord("test", logging.INFO, __file__, 1, message, (), None)
    text = JsonFormatter().format(record)
    assert len(text.splitlines()) == 1
    assert "超时" in text
    assert json.loads(text.encode())["message"] == message


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    root.handlers[:], level = before
    root.setLevel(level)


def test_a_worker_that_is_told_json_logs_nothing_else(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    setup_logging(loglevel="info", logging_config=logging_config(LogFormat.JSON))
    logging.getLogger("test.worker").info("read %s", "T")
    logging.getLogger("test.worker").debug("off")
    assert root_logger.level == logging.INFO
    (line,) = stderr.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("INFO", "test.worker", "read T")


def test_text_is_left_to_faust() -> None:
    assert "formatters" not in logging_config(LogFormat.TEXT)


def test_the_same_complaint_passes_once_in_ten_seconds() -> None:
    def passes(at: float, line: int) -> bool:
        record = logging.LogRecord("aiokafka.conn", logging.ERROR, __file__, line, "node %s is away", (at,), None)
        record.created = at
        return repeats.filter(record)

    repeats = RepeatFilter()

    told = [passes(at, line) for at, line in ((0.0, 1), (0.1, 1), (0.2, 2), (9.9, 1), (10.0, 1), (10.1, 1))]

    assert told == [True, False, True, False, True, False]


def test_what_happens_at_each_rebalance_is_no_complaint_and_a_missing_coordinator_only_when_it_lasts() -> None:
    def passes(message: str, *args: object, at: float = 0.0) -> bool:
        record = logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, message, args, None)
        record.created = at
        return expected.filter(record)

    expected = ExpectedFilter("Heartbeat failed for group %s because it is rebalancing")
    no_coordinator = GroupCoordinatorNotAvailableError()

    assert not passes("Heartbeat failed for group %s because it is rebalancing", "g")
    assert passes("Heartbeat failed for group %s because it is dead", "g")
    assert [passes("lookup failed: %s", no_coordinator, at=at) for at in (5.0, 14.9, 15.0)] == [False, False, True]


def test_what_repeats_is_held_back_in_the_loggers_that_libraries_really_have() -> None:
    loggers = logging_config(LogFormat.TEXT)["loggers"]
    for module in (trace_exporter, _shared_internal):
        assert "repeats" in loggers[module.__name__]["filters"]
