"""Random batches with random supplements, failures, delays and crashes: nothing is lost, nothing is out twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from random import Random

import pytest

from app.testing import Message, TopologyTestDriver
from tests.functional.plant import START, TOPIC, ModuleInput, record
from tests.further import further

CLOSED_TTL = 300.0


def play(driver: TopologyTestDriver, random: Random) -> dict[str, set[str]]:
    """Send messages for a few batches while workers die now and then; returns the stations that each batch names."""
    named: defaultdict[str, set[str]] = defaultdict(set)
    for _ in range(12):
        second = random.randrange(6)
        stations = [f"S{random.randrange(8)}" for _ in range(random.randrange(1, 5))]
        named[f"{TOPIC}_{int(START) + second}"].update(stations)
        if random.random() < 0.5:
            driver.crash_before(lambda _: random.random() < 0.08, unordered=random.random() < 0.5)
        driver.send([record(station, START + second) for station in stations])
        driver.advance(random.choice([0.0, 0.0, 0.3, 2.0]))
        if driver.crashed:
            driver.advance(random.choice([0.0, 0.0, 1.0, 6.0]))
            driver.restart(lose_commits=random.random() < 0.5)
    driver.crash_before(None)
    if driver.crashed:
        driver.restart()
    driver.advance(45.0)
    return named


def stations_of(output: Message) -> set[str]:
    """Every station that an output tells something about."""
    meta = output.value["meta"]
    told = {station["station_id"] for station in output.value["stations"] + meta["failed"]}
    return told.union(meta["missing"], meta["empty"])


@pytest.mark.parametrize("seed", [*range(20), *further(of=range(20, 60))])
def test_every_batch_is_out_once_and_every_station_is_told_of_somewhere(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - plays, guards nothing

    async def model(station_id: str, module_input: ModuleInput) -> dict[str, int] | None:
        if random.random() < 0.3:
            await asyncio.sleep(random.choice([0.5, 2.0, 4.9, 5.0, 7.0]))
        if random.random() < 0.1:
            raise ValueError
        return None if random.random() < 0.1 else {"x": 1}

    bound = (10_000, 2, 1)[seed % 3]
    with TopologyTestDriver(
        model, batch_timeout=5, partitions=3, closed_ttl=CLOSED_TTL, max_open_batches=bound
    ) as driver:
        named = play(driver, random)
        assert sorted(str(output.key) for output in driver.outputs) == sorted(named)
        assert driver.open_batches == []
        assert sorted(driver.closed_batches) == sorted(named)
        told: defaultdict[str, set[str]] = defaultdict(set)
        for output in driver.outputs:
            told[str(output.key)] |= stations_of(output)
        for late in driver.late:
            told[str(late.key)].add(late.value["station_id"])
        assert told == named

        driver.advance(CLOSED_TTL)
        assert driver.closed_batches == []
        for table in ("batches", "batch_opens", "batch_results"):
            changelog = driver.messages(f"{driver.settings.app_id}-{table}-changelog")
            records = {(change.partition, change.raw_key): change.raw for change in changelog}
            assert [key for key, value in records.items() if value is not None] == []
