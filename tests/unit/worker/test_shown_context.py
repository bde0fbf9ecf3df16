"""A station's context as the web shows it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from app.inputs.guns import AlignmentError
from app.worker.status import shown_context

TIMEZONE = ZoneInfo("Asia/Shanghai")


def test_of_a_window_the_latest_points_are_shown_with_their_number_and_age() -> None:
    times = [f"2025-11-14 10:{minute:02}:00" for minute in range(30)]
    columns: dict[str, list[Any]] = {
        "sendTime": times,
        "gunNo": ["1"] * 20,
        "hostCode": ["h"] * 20,
        "p": [[0.0] * 20] * 30,
        "n": [*range(30)],
    }
    shown = shown_context({"METER": columns}, TIMEZONE, 1_763_087_400.0)["METER"]
    assert (shown["points"], shown["newest"], shown["age"]) == (30, 1_763_087_340.0, 60.0)
    assert shown["columns"] == {**columns, "sendTime": times[18:], "p": [[0.0] * 20] * 12, "n": [*range(18, 30)]}


def test_what_has_no_time_has_no_age_and_of_what_is_not_known_nothing_is_shown() -> None:
    shown = shown_context({"A": {"sendTime": [None], "day": [1]}, "B": {}}, TIMEZONE, 5.0)
    assert shown == {
        "A": {"points": 1, "newest": None, "age": None, "columns": {"sendTime": [None], "day": [1]}},
        "B": {"points": 0, "newest": None, "age": None, "columns": {}},
    }


def test_what_cannot_be_aligned_says_why_beside_what_can() -> None:
    shown = shown_context({"A": AlignmentError("context topic A: bad"), "B": {}}, TIMEZONE, 5.0)
    assert shown["A"] == {"error": "context topic A: bad"}
    assert shown["B"]["points"] == 0
