"""Texts in both languages, and numbers with what they count."""

from __future__ import annotations

import pytest

from app.words import counted_word, joined, told, words


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [(1, "station", "1 station"), (0, "station", "0 stations"), (2, "batch", "2 batches"), (1, "batch", "1 batch")],
)
def test_a_number_stands_before_one_or_several(number: int, what: str, text: str) -> None:
    assert counted_word(number, what) == text
    assert words("{n:%s}" % what, "{n}", n=number) == text  # noqa: UP031 - braces that stay


def test_a_text_is_english_and_knows_its_chinese() -> None:
    inner = words("not set", "未设置")
    text = words(
        "{key} ({state}), {n:station}, {at:.1f} s",
        "{key}（{state}），{n} 个场站，{at:.1f} 秒",
        key="K",
        state=inner,
        n=1,
        at=2.0,
    )
    assert text == "K (not set), 1 station, 2.0 s"
    assert told(text, "en") == text
    assert told(text, "zh") == "K（未设置），1 个场站，2.0 秒"
    assert told(joined("; ", [inner, "plain"]), "zh") == "未设置; plain"


def test_an_error_keeps_both() -> None:
    assert told(ValueError(words("wrong", "有误")), "zh") == "有误"
    assert told(ValueError("wrong"), "zh") == "wrong"
    assert told(ValueError(words("wrong", "有误"), 2), "en") == "wrong"
