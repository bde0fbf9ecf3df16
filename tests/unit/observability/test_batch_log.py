"""The log lines of batches: exact texts, the pace of progress, no forged lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator

import pytest

from app.messages.dead_letters import Subject
from app.observability.batch_log import BatchLog
from app.settings.enums import Language
from tables.model.events import Source
from tests.heard_log import Heard


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
    log.dead_letter("station-failed", "ValueError: 5", Subject(1.0, Source("T", 0, 12), "T_1", "D"))


@pytest.mark.parametrize(
    ("language", "line"),
    [
        (Language.EN, "Batch T_1: its stored place OUT[3] is gone, its output goes to OUT[0]"),
        (Language.ZH, "批次 T_1 已存储的位置 OUT[3] 不复存在，输出改发到 OUT[0]"),
    ],
)
def test_an_output_that_goes_elsewhere_is_a_warning_that_names_both_places(language: Language, line: str) -> None:
    heard = Heard(language)
    heard.log.moved("T_1", ("OUT", 3), ("OUT", 0))
    assert heard.lines == [("WARNING", line)]


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
    heard.log.dead_letter("too-large", "20 MB", Subject(1.0))
    assert heard.lines == [("WARNING", "Dead letter (too-large): 20 MB [?]")]


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
    heard.log.passed_through(Source("T", 0, 7), Poison(), for_want_of_id=True)
    heard.log.late("a", "B", "ok", "closed")
    heard.log.dead_letter("bad-message", "x", Subject(1.0))
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
    heard.log.dead_letter(evil, evil, Subject(1.0, Source(evil, 0, 1), evil, evil))
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


def test_messages_that_make_no_batch_are_told_once_a_second_at_most_for_each_topic() -> None:
    heard = Heard()
    for topic in ("T", "T", "U"):
        heard.log.passed_through(Source(topic, 0, 7), ["A"], for_want_of_id=True)
    heard.clock.now += 1.0
    heard.log.passed_through(Source("T", 0, 8), ["A"], for_want_of_id=False)
    assert [line[:7] for _, line in heard.lines] == ["T[0]@7 ", "U[0]@7 ", "T[0]@8 "]
