"""The texts of log lines: sets that are cut, both languages; and one of a kind in so many seconds."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest

from app.observability.log_lines import Line, Throttle, names, printable, say
from app.settings.enums import Language


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


def test_text_is_cut_at_500_characters() -> None:
    assert printable("x" * 501) == "x" * 500 + "…"


def test_both_languages_of_a_line_use_the_same_fields() -> None:
    for line in Line:
        fields = [
            {name for _, name, _, _ in string.Formatter().parse(line.texts[language]) if name} for language in Language
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


# -- how often ---------------------------------------------------------------------------------------------------------


def test_one_passes_and_the_next_when_the_time_has_gone() -> None:
    throttle = Throttle(10.0)

    passed = [now for now in (0.0, 0.1, 9.9, 10.0, 10.1, 19.9, 35.0, 44.9) if throttle.passes(now)]

    assert passed == [0.0, 10.0, 35.0]


def test_what_is_held_back_does_not_put_off_the_next_one() -> None:
    throttle = Throttle(1.0)

    assert sum(throttle.passes(tenths / 10) for tenths in range(31)) == 4


def test_each_kind_is_counted_by_itself() -> None:
    throttle = Throttle(10.0)

    asked = [(0.0, "a"), (6.0, "b"), (9.0, "a"), (10.0, "a"), (10.0, "b"), (16.0, "b")]

    assert [throttle.passes(now, kind) for now, kind in asked] == [True, True, False, True, False, True]


def test_a_clock_that_was_put_back_silences_nothing() -> None:
    throttle = Throttle(10.0)

    assert [throttle.passes(now) for now in (1000.0, 400.0, 401.0, 410.0)] == [True, True, False, True]


def test_the_first_one_passes_whatever_the_clock_says() -> None:
    assert [Throttle(60.0).passes(now) for now in (0.0, -5.0, 1e9)] == [True, True, True]
