"""A worker is killed between any two messages that it sends, and each station's context is what it would have been."""

from __future__ import annotations

from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import START, ModuleInput, message, record, steps
from tests.functional.test_crashes import HOW, Crashes

WEATHER = "WEATHER"
CALENDAR = "CALENDAR"
CONTEXT: list[tuple[str, str | None, Any]] = [
    (WEATHER, "A", record("A", START, hostCode="h1", n=1)),
    (CALENDAR, "today", {"day": 1}),
    (WEATHER, "B", [record("B", START, n=2), {"stationId": None}]),
    (WEATHER, "A", record("A", START, hostCode="h2", n=3)),
    (CALENDAR, "C", {"stationId": "C", "day": 2}),
    (WEATHER, "B", None),
    (WEATHER, "A", record("A", START - 1, n=4)),
    (CALENDAR, "today", {"day": 3}),
    (CALENDAR, "C", {"stationId": "C", "day": 4}),
    (CALENDAR, "D", {"stationId": "D", "day": 5}),
    (CALENDAR, "D", None),
]
EVERYONES = {"sendTime": [None], "day": [3]}
EXPECTED = {
    "A": {WEATHER: {"sendTime": ["2025-11-14 10:00:00"], "hostCode": ["h2"], "n": [3]}, CALENDAR: EVERYONES},
    "B": {WEATHER: {}, CALENDAR: EVERYONES},
    "C": {WEATHER: {}, CALENDAR: {"sendTime": [None], "day": [4]}},
    "D": {WEATHER: {}, CALENDAR: EVERYONES},
}


class Play:
    """Context and a batch in between, with a worker that has died followed by another."""

    def __init__(self, crashes: Crashes, *, lose_commits: bool = False, unordered: bool = False) -> None:
        self.context: dict[str, ModuleInput] = {}
        self.crashes = crashes
        self.lose_commits = lose_commits
        self.unordered = unordered
        with TopologyTestDriver(self.model, context_topics=(WEATHER, CALENDAR), partitions=2) as driver:
            self.driver = driver
            driver.crash_before(crashes, unordered=unordered)
            for topic, key, value in CONTEXT:
                driver.send(value, topic, key=key)
                self.stand_up()
            driver.send(message("A", "B"))
            self.stand_up()
            driver.crash_before(None)
            driver.restart(lose_commits=lose_commits)
            driver.advance(5.1)
            self.context.clear()
            driver.send(message(*EXPECTED, time=START + 10))

    async def model(self, station_id: str, module_input: ModuleInput) -> dict[str, int]:
        self.context[station_id] = {name: module_input[name] for name in (WEATHER, CALENDAR)}
        return {"n": 1}

    def stand_up(self) -> None:
        while self.driver.crashed:
            self.driver.crash_before(self.crashes, unordered=self.unordered)
            self.driver.restart(lose_commits=self.lose_commits)


def sends() -> int:
    """How many messages the worker sends in the whole play."""
    crashes = Crashes()
    Play(crashes)
    return crashes.sends


SENDS = sends()


@HOW
@pytest.mark.parametrize("number", range(SENDS))
def test_context_is_what_it_would_have_been_without_the_crash(number: int, lose_commits: bool, unordered: bool) -> None:
    play = Play(Crashes(number, number + 3), lose_commits=lose_commits, unordered=unordered)
    assert play.crashes.crashed > 0
    assert play.context == EXPECTED
    assert set(steps(play.driver.dead_letters)) == {("bad-record", None)}
    assert len({letter.raw for letter in play.driver.dead_letters}) == 1
    assert len(play.driver.outputs) == 2
