"""What a worker may expect to come soon of what it has split itself."""

from __future__ import annotations

from app.pipeline.splitting.transit import LOST_SECONDS, Transit


def test_the_oldest_frame_that_has_not_been_taken_in_counts() -> None:
    transit = Transit(lambda: {0, 1})
    assert transit.age(100.0) == 0.0
    transit.sent(0, 7, 10, 100.0)
    transit.sent(1, 3, 10, 100.2)
    transit.sent(0, 8, 10, 100.3)
    assert transit.age(100.5) == 0.5
    transit.taken(0, 7)
    assert round(transit.age(100.5), 6) == 0.3
    transit.taken(1, 3)
    transit.taken(0, 9)
    assert transit.age(100.5) == 0.0


def test_a_frame_that_is_taken_in_before_its_sender_hears_of_it_is_not_expected() -> None:
    transit = Transit(lambda: {0})
    transit.taken(0, 7)
    transit.sent(0, 7, 10, 100.0)
    assert transit.age(100.5) == 0.0


def test_nothing_is_expected_of_other_workers_nor_after_a_loss() -> None:
    transit = Transit(lambda: {0})
    transit.sent(1, 7, 10, 100.0)
    assert transit.age(100.5) == 0.0
    transit.sent(0, 7, 10, 100.0)
    transit.drop()
    assert transit.age(100.5) == 0.0


def test_what_does_not_come_is_not_waited_for() -> None:
    transit = Transit(lambda: {0})
    transit.sent(0, 7, 10, 100.0)
    assert transit.age(100.0 + LOST_SECONDS) == 0.0
    transit.sent(0, 8, 10, 200.0)
    assert transit.age(150.0) == 0.0  # a clock that was put back


def test_stations_under_way_are_counted_until_they_are_taken_in_or_given_up() -> None:
    transit = Transit(lambda: {0, 1})
    transit.sent(0, 7, 250.5, 100.0)
    transit.sent(1, 3, 100, 100.4)
    transit.sent(2, 9, 1_000, 100.4)  # another worker's
    assert transit.stations(100.5) == 350.5
    transit.taken(0, 7)
    assert transit.stations(100.5) == 100
    assert transit.stations(100.4 + LOST_SECONDS) == 0
