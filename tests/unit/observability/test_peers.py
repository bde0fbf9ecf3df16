"""What is told of workers whose settings or clocks differ from this one's: once when it changes."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.open_times import OpenTime
from app.observability.peers import Exchanges, Peer, Peers, exchange
from app.settings import Settings
from app.settings.fingerprint import fingerprint

A, B, C = (f"http://{name}:6066" for name in "abc")


def peers(language: str = "en") -> Peers:
    return Peers(Settings(app_id="app", log_language=language))


def peer(url: str, **settings: object) -> Peer:
    return Peer(url, "host", fingerprint(Settings(**{"app_id": "app"} | settings)))


class Said:
    """Level and text of what has been logged since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def take(self) -> list[tuple[str, str]]:
        lines = [(record.levelname, record.getMessage()) for record in self._caplog.records]
        self._caplog.clear()
        return lines


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    caplog.set_level(logging.INFO)
    return Said(caplog)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_a_worker_with_other_settings_is_told_with_its_keys_once_and_when_it_is_over(said: Said) -> None:
    known = peers()
    other = peer(B, module="price")
    for _ in range(3):
        known.joined([other, peer(C)])
    ((level, text),) = said.take()
    assert level == "WARNING"
    assert "app id app have other settings than this one" in text
    assert f"{B} (host): AGG_MODULE, AGG_OUTPUT_TOPIC;" in text
    assert C not in text
    assert sorted(known.keys_that_differ) == ["AGG_MODULE", "AGG_OUTPUT_TOPIC"]
    known.joined([peer(B), peer(C)])
    assert said.take() == [("INFO", "All workers of app id app have the same settings again")]
    assert not known.keys_that_differ
    known.joined([])
    assert said.take() == []


def test_another_difference_is_told_anew(said: Said) -> None:
    known = peers("zh")
    known.joined([peer(B, fill="linear")])
    known.joined([peer(B, fill="linear", retries=2)])
    assert ["AGG_RETRIES" in text for _, text in said.take()] == [False, True]
    known.joined([])
    assert said.take() == [("INFO", "app id app 的所有 worker 的设置已恢复一致")]


def test_a_worker_that_tells_nothing_of_its_settings_is_no_difference(said: Said) -> None:
    known = peers()
    known.joined([Peer(B, "host", {}), Peer(C, "host", {"AGG_UNHEARD_OF": "1"})])
    assert said.take() == []
    assert known.odd_keys(A) == {A: [], B: [], C: []}


def test_what_another_worker_says_of_itself_forges_no_line_and_is_cut(said: Said) -> None:
    known = peers()
    known.joined([peer(f"http://x{number}\n{'y' * 500}", module="m") for number in range(20)])
    ((_, text),) = said.take()
    assert "\n" not in text
    assert len(text) < 5_000
    assert "… +7" in text


def test_by_url_each_worker_has_the_keys_in_which_it_differs_from_the_others() -> None:
    known = peers()
    known.joined([peer(B + "/"), peer(C, batch_timeout=9)])
    assert known.odd_keys(A) == {A: [], B: [], C: ["AGG_BATCH_TIMEOUT"]}
    known.joined([peer(B, batch_timeout=9)])
    assert known.odd_keys(A) == {A: ["AGG_BATCH_TIMEOUT"], B: ["AGG_BATCH_TIMEOUT"]}


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_a_clock_that_differs_by_more_than_a_second_is_told_once_and_its_end_too(said: Said) -> None:
    known = peers()
    for _ in range(3):
        known.exchanged(B, exchange(100.0, 103.1, 100.2))
    ((level, text),) = said.take()
    assert (level, f"{B} +2.9 s" in text) == ("WARNING", True)
    assert known.clocks_apart == [B]
    assert known.clock_offset(B) == pytest.approx(3.0)
    assert known.largest_offset == pytest.approx(2.9)
    known.exchanged(B, exchange(200.0, 200.1, 200.2))
    assert said.take() == [("INFO", "The workers' clocks agree again")]
    assert (known.clocks_apart, known.largest_offset) == ([], 0.0)
    assert known.clock_offset(B) == pytest.approx(0.0)


def test_a_clock_that_is_behind_counts_as_one_that_is_ahead(said: Said) -> None:
    known = peers()
    known.exchanged(B, exchange(100.0, 98.0, 100.1))
    assert f"{B} -2.0 s" in said.take()[0][1]
    assert known.largest_offset == pytest.approx(-2.0)


def test_a_slow_answer_is_no_clock_that_differs(said: Said) -> None:
    known = peers()
    known.exchanged(B, exchange(100.0, 101.4, 101.4))  # it was taken just before it came
    known.exchanged(C, exchange(100.0, 100.0, 101.4))
    assert said.take() == []
    known.exchanged(B, exchange(200.0, 201.9, 202.0))
    assert said.take() == []
    assert abs(known.clock_offset(B) or 9.0) < 1.0


def test_a_worker_that_has_left_is_forgotten(said: Said) -> None:
    known = peers()
    known.exchanged(B, exchange(100.0, 105.0, 100.0))
    known.keep([B, C])
    assert known.clocks_apart == [B]
    said.take()
    known.keep([C])
    assert (known.clocks_apart, known.clock_offset(B)) == ([], None)
    assert said.take() == [("INFO", "The workers' clocks agree again")]


def test_at_the_limit_it_is_not_told_again_and_again(said: Said) -> None:
    known = peers()
    for offset in (1.05, 0.95, 1.05, 0.95):
        known.exchanged(B, exchange(100.0, 100.0 + offset, 100.0))
    assert len(said.take()) == 1
    known.exchanged(B, exchange(100.0, 100.7, 100.0))
    assert len(said.take()) == 1


@given(
    st.floats(-100, 100),
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=20),
)
def test_the_true_offset_is_always_within_what_exchanges_allow(true: float, ways: list[tuple[float, float]]) -> None:
    latest = Exchanges()
    for there, back in ways:
        latest.add(exchange(1000.0, 1000.0 + there + true, 1000.0 + there + back))
    low, high = latest.offset
    assert low - 1e-6 <= true <= high + 1e-6
    assert abs(latest.offset.sure) <= abs(true) + 1e-6


def test_a_clock_that_was_set_makes_what_was_known_void() -> None:
    latest = Exchanges()
    for told in (105.0, 105.1, 99.9):
        latest.add(exchange(100.0, told, 100.2))
    assert latest.offset == pytest.approx((-0.3, -0.1))


# -- clocks of workers that can't be asked -----------------------------------------------------------------------------


def sent_at(sent: float, now: float = 100.0) -> OpenTime:
    return OpenTime(sent, sent, sent + 5.0, now - 0.1, now)


def test_an_open_event_from_the_future_is_told_once_and_its_end_too(said: Said) -> None:
    known = peers()
    for _ in range(3):
        known.opened(B, sent_at(130.0), own=False)
    ((level, text),) = said.take()
    assert (level, f"{B} +30.0 s" in text) == ("WARNING", True)
    assert (known.clocks_apart, known.clock_offset(B), known.largest_offset) == ([B], 30.0, 30.0)
    known.opened(B, sent_at(99.9), own=False)
    assert said.take() == [("INFO", "The workers' clocks agree again")]
    assert (known.clocks_apart, known.clock_offset(B)) == ([], None)


def test_a_worker_that_tells_its_time_is_not_judged_by_its_events(said: Said) -> None:
    known = peers()
    known.exchanged(B, exchange(100.0, 100.0, 100.1))
    known.opened(B, sent_at(130.0), own=False)
    assert said.take() == []
    assert abs(known.clock_offset(B) or 9.0) < 1.0


@pytest.mark.parametrize(("own_sent", "lines"), [(-30.0, 0), (-0.1, 1)])
def test_late_events_tell_nothing_while_our_own_come_late_too(own_sent: float, lines: int, said: Said) -> None:
    known = peers()
    for now in range(100, 130):
        known.opened(A, sent_at(now + own_sent, now), own=True)
        known.opened(B, sent_at(now - 30.0, now), own=False)
    assert len(said.take()) == lines


def test_events_of_a_worker_that_has_left_are_forgotten(said: Said) -> None:
    known = peers()
    known.opened(B, sent_at(130.0), own=False)
    known.keep([A])
    assert known.clocks_apart == []
    assert [level for level, _ in said.take()] == ["WARNING", "INFO"]
