"""One of a kind in so many seconds."""

from __future__ import annotations

from app.observability.log_lines import Throttle


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
