"""The adaptive timeout: its formula, and simulations of slower days and dead plants."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from tables.model.enums import CompletedBy
from tables.model.timeouts import AdaptiveTimeout, FixedTimeout, Observation, observe

FIRST, SHORTEST, LONGEST = 5.0, 0.5, 30.0


@pytest.fixture
def adaptive() -> AdaptiveTimeout:
    return AdaptiveTimeout(FIRST, SHORTEST, LONGEST)


def complete(needed: float, *, stations: int = 10, number: int = 0) -> Observation:
    return Observation(f"b{number}", stations, 1000.0, 5.0, needed, cut_off=False)


def closed(
    completed_by: CompletedBy, arrived_at: float | None, *, deadline: float = 1005.0, skipped: bool = False
) -> Observation:
    return observe(
        "b", completed_by, stations=10, since=1000.0, deadline=deadline, arrived_at=arrived_at, skipped=skipped
    )


# -- the formula -----------------------------------------------------------------------------------------------------


def test_the_fixed_timeout_never_changes() -> None:
    fixed = FixedTimeout(5.0)
    fixed.closed(complete(3.0))
    fixed.late("b0", 1020.0)
    assert fixed.seconds(10, 0.0) == fixed.seconds(5000, 1.0) == 5.0


@pytest.mark.parametrize(("first", "timeout"), [(5.0, 5.0), (0.1, 0.5), (100.0, 30.0)])
def test_without_observations_it_is_the_fixed_one_clamped(first: float, timeout: float) -> None:
    assert AdaptiveTimeout(first, SHORTEST, LONGEST).seconds(10, 0.0) == timeout


def test_it_is_half_more_than_what_nine_of_ten_batches_have_needed(adaptive: AdaptiveTimeout) -> None:
    for number in range(20):
        adaptive.closed(complete(1.0 + number / 10, number=number))  # 1.0 to 2.9, the 18th is 2.7
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5 * 2.7)


def test_a_tenth_of_the_batches_may_be_arbitrarily_slow_without_moving_it(adaptive: AdaptiveTimeout) -> None:
    for number in range(32):
        adaptive.closed(complete(1000.0 if number % 11 == 5 else 1.0, number=number))
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)


def test_it_is_clamped(adaptive: AdaptiveTimeout) -> None:
    adaptive.closed(complete(0.01))
    assert adaptive.seconds(10, 0.0) == SHORTEST
    adaptive.closed(complete(29.0, number=1))
    assert adaptive.seconds(10, 1.0) == LONGEST


def test_a_batch_larger_than_any_seen_gets_time_in_proportion(adaptive: AdaptiveTimeout) -> None:
    adaptive.closed(complete(1.0, stations=128))
    assert adaptive.seconds(128, 0.0) == pytest.approx(1.5)
    assert adaptive.seconds(512, 0.0) == pytest.approx(6.0)
    assert adaptive.seconds(514, 0.0) == adaptive.seconds(576, 0.0) == pytest.approx(6.75)
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)


def test_batches_of_the_same_size_count_where_there_are_enough(adaptive: AdaptiveTimeout) -> None:
    for number in range(80):
        large = number % 2
        adaptive.closed(complete(8.0 if large else 1.0, stations=4096 if large else 10, number=number))
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)
    assert adaptive.seconds(4096, 0.0) == pytest.approx(12.0)


def test_what_was_seen_long_ago_is_forgotten(adaptive: AdaptiveTimeout) -> None:
    for number in range(300):
        adaptive.closed(complete(9.0 if number < 40 else 1.0, number=number))
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)


def test_an_estimate_holds_for_a_moment(adaptive: AdaptiveTimeout) -> None:
    adaptive.closed(complete(1.0))
    assert adaptive.seconds(10, 50.0) == pytest.approx(1.5)
    adaptive.closed(complete(4.0, number=1))
    assert adaptive.seconds(10, 50.2) == pytest.approx(1.5)
    assert adaptive.seconds(10, 50.3) == pytest.approx(6.0)


def test_the_usual_timeout_is_that_of_a_batch_like_the_last_one(adaptive: AdaptiveTimeout) -> None:
    assert adaptive.usual(50.0) == adaptive.seconds(10, 50.0)
    adaptive.closed(complete(4.0))
    assert adaptive.usual(51.0) == pytest.approx(6.0)
    assert FixedTimeout(7.0).usual(51.0) == 7.0


# -- what a batch tells ----------------------------------------------------------------------------------------------


def test_a_batch_tells_how_long_it_took_from_its_last_message_to_its_last_arrival() -> None:
    assert closed(CompletedBy.ALL, 1001.25) == Observation("b", 10, 1000.0, 5.0, 1.25, cut_off=False)


@pytest.mark.parametrize(
    ("arrived_at", "skipped", "cut_off"),
    [(1001.0, False, False), (1004.5, False, True), (1001.0, True, True), (None, False, False), (None, True, True)],
)
def test_a_batch_was_cut_off_if_stations_were_still_on_their_way(
    arrived_at: float | None, skipped: bool, cut_off: bool
) -> None:
    assert closed(CompletedBy.TIMEOUT, arrived_at, skipped=skipped).cut_off is cut_off


def test_a_batch_that_was_cut_off_doubles_the_time_until_three_others_have_closed(adaptive: AdaptiveTimeout) -> None:
    for number in range(32):
        adaptive.closed(complete(2.0, number=number))
    assert adaptive.seconds(10, 0.0) == pytest.approx(3.0)
    adaptive.closed(closed(CompletedBy.TIMEOUT, 1002.9, deadline=1003.0))
    timeouts = []
    for number in range(4):
        timeouts.append(adaptive.seconds(10, 1.0 + number))
        adaptive.closed(complete(2.0, number=100 + number))
    assert timeouts == pytest.approx([6.0, 6.0, 6.0, 3.0])


def test_a_station_that_answers_late_shows_that_its_batch_was_cut_off(adaptive: AdaptiveTimeout) -> None:
    adaptive.closed(closed(CompletedBy.TIMEOUT, 1001.0))
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)
    adaptive.late("b", 1008.0)
    adaptive.late("c", 1099.0)
    assert adaptive.seconds(10, 1.0) == pytest.approx(12.0)


def test_a_batch_in_which_nothing_arrived_changes_nothing(adaptive: AdaptiveTimeout) -> None:
    for number in range(10):
        adaptive.closed(complete(1.0, number=number))
    for number in range(10):
        adaptive.closed(Observation(f"dead{number}", 1, 1000.0, 1.5, None, cut_off=False))
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)


def test_it_starts_again_from_what_is_remembered(adaptive: AdaptiveTimeout) -> None:
    adaptive.closed(complete(9.0))
    adaptive.reset([complete(1.0, number=1)])
    assert adaptive.seconds(10, 0.0) == pytest.approx(1.5)
    adaptive.reset([])
    assert adaptive.seconds(10, 0.0) == FIRST


# -- simulations -----------------------------------------------------------------------------------------------------


@dataclass
class Plant:
    """Batches of one size at a pace. `latency(time, station)` is how long a station takes, None: it never answers."""

    latency: Callable[[float, int], float | None]
    stations: int = 20
    every: float = 15.0
    adaptive: AdaptiveTimeout = field(default_factory=lambda: AdaptiveTimeout(FIRST, SHORTEST, LONGEST))
    waits: list[float] = field(default_factory=list)  # of each batch, from its opening to its closing
    cut: list[bool] = field(default_factory=list)  # whether living stations were missing
    timeouts: list[float] = field(default_factory=list)

    def run(self, batches: int, start: float = 0.0) -> None:
        """Open, close, and get what is late, each at its time."""
        events: list[tuple[float, int, Callable[[], None]]] = []
        for number in range(batches):
            at = start + number * self.every
            events.append((at, len(events), lambda at=at: self._open(at, events)))  # type: ignore[misc]
        heapq.heapify(events)
        while events:
            heapq.heappop(events)[2]()

    def _open(self, at: float, events: list[tuple[float, int, Callable[[], None]]]) -> None:
        timeout = self.adaptive.seconds(self.stations, at)
        times = [self.latency(at, station) for station in range(self.stations)]
        living = [time for time in times if time is not None]
        in_time = [time for time in living if time <= timeout]
        late = sorted(time for time in living if time > timeout)
        whole = len(in_time) == self.stations
        wait = max(in_time) if whole else timeout
        self.timeouts.append(timeout)
        self.waits.append(wait)
        self.cut.append(bool(late))
        name = f"b{at}"
        observation = observe(
            name,
            CompletedBy.ALL if whole else CompletedBy.TIMEOUT,
            stations=self.stations,
            since=at,
            deadline=at + timeout,
            arrived_at=at + max(in_time) if in_time else None,
            skipped=False,
        )
        order = len(self.waits) * 1000 + 1_000_000
        heapq.heappush(events, (at + wait, order, lambda: self.adaptive.closed(observation)))
        for number, time in enumerate(late):
            heapq.heappush(
                events,
                (at + time, order + 1 + number, lambda t=at + time: self.adaptive.late(name, t)),  # type: ignore[misc]
            )


def usual(random: Random) -> float:
    """Mostly half a second, with a tail."""
    return random.lognormvariate(-0.7, 0.4)


SEEDS = pytest.mark.parametrize("seed", range(4))


@SEEDS
def test_on_a_usual_day_hardly_any_batch_is_cut_off(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda _, __: usual(random))
    plant.run(400)
    assert sum(plant.cut) <= 12
    assert max(plant.timeouts[50:]) < 10.0


@SEEDS
@pytest.mark.parametrize("factor", [2.0, 5.0, 10.0])
def test_a_slower_day_is_not_cut_off_for_more_than_a_few_batches(seed: int, factor: float) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda at, _: usual(random) * (factor if at >= 1500 else 1.0))
    plant.run(100 + 300)
    first_days, slower = plant.cut[:100], plant.cut[100:]
    assert sum(first_days) <= 4
    assert sum(slower[:10]) <= 5
    assert sum(slower[10:]) <= 12
    assert plant.timeouts[-1] <= LONGEST


@SEEDS
def test_batches_that_come_faster_than_they_close_are_cut_off_no_longer_than_it_takes_to_see_it(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda at, _: usual(random) * (8.0 if at >= 60 else 1.0), every=0.2)
    plant.run(1500)
    slow = plant.cut[300:]
    assert sum(slow[100:]) <= 0.06 * len(slow[100:])  # 20 s later it has settled


@SEEDS
def test_after_the_slower_day_the_time_shrinks_again(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda at, _: usual(random) * (8.0 if 1500 <= at < 3000 else 1.0))
    plant.run(400)
    assert max(plant.timeouts[100:200]) > 10.0
    assert max(plant.timeouts[300:]) < 6.0


@SEEDS
@pytest.mark.parametrize("stations", [1, 2, 20])
def test_a_dead_station_does_not_make_every_batch_wait_for_the_maximum(seed: int, stations: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda at, station: None if station == 0 and at >= 300 else usual(random), stations=stations)
    plant.run(400)
    waits = plant.waits[30:]
    assert sum(waits) / len(waits) < 4.0
    assert sum(plant.cut[30:]) <= 15


@SEEDS
def test_one_dead_plant_of_single_stations_does_not_lengthen_the_others_time(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    living = Plant(lambda _, __: usual(random), stations=1)
    dead = Plant(lambda _, __: None, stations=1, adaptive=living.adaptive)
    for turn in range(200):
        dead.run(1, start=turn * 15.0)
        living.run(1, start=turn * 15.0 + 1.0)
    assert max(living.timeouts[20:]) < 5.0


@SEEDS
def test_a_slower_day_with_a_dead_station_is_not_cut_off_either(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda at, s: None if s == 0 else usual(random) * (6.0 if at >= 1500 else 1.0))
    plant.run(400)
    assert sum(plant.cut[100:110]) <= 5
    assert sum(plant.cut[110:]) <= 20
    assert sum(plant.waits[110:]) / 290 < 20.0


@SEEDS
def test_stations_of_which_half_are_slower_are_waited_for(seed: int) -> None:
    """Between the fast and the slow ones nothing arrives for long: that looks like dead ones, until they answer."""
    random = Random(seed)  # noqa: S311 - a seed is what makes it repeatable
    plant = Plant(lambda at, s: usual(random) if s % 2 or at < 1500 else 9.0 + usual(random))
    plant.run(400)
    assert sum(plant.cut[100:]) <= 8
