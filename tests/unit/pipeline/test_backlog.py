"""How long what waits for its turn still has to wait."""

from __future__ import annotations

from app.pipeline.splitting.backlog import LEAST_SECONDS, NO_BACKLOG, WINDOW_SECONDS, Backlog, Pace


def lag(pace: Pace) -> float:
    """Seconds, without what floats add."""
    return round(pace.lag, 6)


def test_what_waits_is_served_at_the_pace_seen_since_the_queue_was_empty() -> None:
    backlog = Backlog()
    assert backlog.pace(0, 500, 100.0) == NO_BACKLOG
    assert lag(backlog.pace(2_000, 500, 100.1)) == 200.0  # nobody has left: as if one just had
    assert lag(backlog.pace(1_900, 600, 100.2)) == 3.8  # 100 in 0.2 s
    assert lag(backlog.pace(900, 1_400, 100.5)) == 0.5
    assert round(backlog.pace(900, 1_400, 100.5).rate) == 1_800
    assert backlog.pace(0, 2_300, 101.0) == NO_BACKLOG


def test_what_comes_before_time_has_gone_on_waits() -> None:
    backlog = Backlog()
    backlog.pace(0, 0, 100.0)
    assert backlog.pace(1_000, 0, 100.0) == Pace(1_000 * LEAST_SECONDS, 1 / LEAST_SECONDS)


def test_time_in_which_nothing_waited_is_no_part_of_the_pace() -> None:
    backlog = Backlog()
    backlog.pace(0, 0, 100.0)
    assert backlog.pace(0, 10, 200.0) == NO_BACKLOG
    assert lag(backlog.pace(100, 20, 200.1)) == 1.0


def test_a_pace_that_has_changed_is_seen_within_two_windows() -> None:
    backlog, left = Backlog(), 0
    backlog.pace(1_000, left, 100.0)
    for step in range(1, 31):  # 1,000 a second for three seconds, then none at all
        left += 100
        pace = backlog.pace(1_000, left, 100.0 + step / 10)
    assert lag(pace) == 1.0
    for step in range(1, 22):
        pace = backlog.pace(1_000, left, 103.0 + step / 10)
    assert pace.lag >= 1_000 * WINDOW_SECONDS


def test_a_clock_that_was_put_back_begins_anew() -> None:
    backlog = Backlog()
    backlog.pace(1_000, 0, 100.0)
    backlog.pace(1_000, 100, 50.0)
    assert lag(backlog.pace(1_000, 200, 50.1)) == 1.0
