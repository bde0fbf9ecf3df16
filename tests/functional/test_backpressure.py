"""AGG_MAX_OPEN_BATCHES: no more batches are opened than may be open, and none is lost or waits for ever."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, START, TOPIC, message, slow


def send(driver: TopologyTestDriver, batches: int, *stations: str) -> None:
    for second in range(batches):
        driver.send(message(*stations, time=START + second))


def test_a_batch_is_opened_when_another_has_closed() -> None:
    with TopologyTestDriver(slow({"A": 1.0}), max_open_batches=2, partitions=1) as driver:
        send(driver, 6, "A", "B")
        seen = []
        for _ in range(70):
            seen.append(len(driver.open_batches))
            driver.advance(0.1)
        assert max(seen) == 2
        assert [output.value["meta"]["status"] for output in driver.outputs] == ["complete"] * 6
        opened = [output.value["meta"]["opened_at"] - START for output in driver.outputs]
        assert opened[2] > 1.0
        assert opened[4] > 2.0


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("lose_commits", [False, True])
def test_batches_that_were_open_before_a_restart_take_their_room(partitions: int, lose_commits: bool) -> None:
    model = slow({"A": 60.0})
    with TopologyTestDriver(
        model, max_open_batches=2, batch_timeout=50.0, station_timeout=500.0, partitions=partitions
    ) as driver:
        send(driver, 8, "A", "B")
        driver.advance(3.0)  # an opening is stored within seconds; until then nobody who starts knows of it
        assert len(driver.open_batches) == 2
        for _ in range(3):
            driver.restart(lose_commits=lose_commits)
            driver.advance(3.0)
            assert len(driver.open_batches) == 2
        driver.advance(230.0)
        assert len(driver.outputs) == 8


def test_time_runs_from_the_opening_and_not_while_a_message_waits() -> None:
    with TopologyTestDriver(slow({"A": 60.0}), max_open_batches=1, batch_timeout=5, partitions=1) as driver:
        send(driver, 3, "A", "B")
        driver.advance(16.0)
        metas = [output.value["meta"] for output in driver.outputs]
        assert [meta["deadline"] - meta["opened_at"] for meta in metas] == [5.0] * 3
        assert [meta["missing"] for meta in metas] == [["A"]] * 3


def test_a_supplement_is_let_through() -> None:
    with TopologyTestDriver(slow({"A": 2.0}), max_open_batches=1, partitions=1) as driver:
        driver.send(message("A"))
        driver.send(message("B"))
        driver.advance(2.1)
        (output,) = driver.outputs
        assert [station["station_id"] for station in output.value["stations"]] == ["A", "B"]


def test_messages_that_open_nothing_take_no_room_for_long() -> None:
    with TopologyTestDriver(slow({}), max_open_batches=1) as driver:
        for second in range(5):
            driver.send(message("A", time=START + second))
            driver.send(message("B", time=START + second))  # late
            driver.send(message("C", time=START + 100 + second), headers={"replayed": "1"})  # of no batch
        assert len(driver.outputs) == 5
        assert len(driver.late) == 10


def test_a_message_that_is_read_again_after_a_crash_does_not_block() -> None:
    with TopologyTestDriver(slow({"A": 1.0}), max_open_batches=1, batch_timeout=5) as driver:
        send(driver, 3, "A")
        driver.restart(lose_commits=True)
        driver.advance(20.0)
        assert sorted(str(output.key) for output in driver.outputs) == [
            BATCH,
            f"{TOPIC}_1763085601",
            f"{TOPIC}_1763085602",
        ]
        driver.restart(lose_commits=True)
        driver.advance(20.0)
        assert len(driver.outputs) == 3


def test_what_came_before_a_message_that_waits_is_acknowledged_and_not_split_again() -> None:
    with TopologyTestDriver(slow({"A": 2.0}), max_open_batches=2, partitions=1) as driver:
        driver.kill()
        send(driver, 5, "A")  # they are read as one chunk
        driver.restart()
        assert driver.metrics.source_messages == 2
        driver.restart()  # a new worker has opened none
        assert driver.metrics.source_messages == 2
        driver.advance(20.0)
        assert driver.metrics.source_messages == 3
        assert sorted(str(output.key) for output in driver.outputs) == [
            f"{TOPIC}_{int(START) + second}" for second in range(5)
        ]


def test_single_stations_never_wait_and_what_opens_no_batch_takes_no_room() -> None:
    with TopologyTestDriver(
        slow({"A": 3.0}), max_open_batches=1, partitions=1, passthrough_topics=("SINGLES",)
    ) as driver:
        driver.send("not JSON")
        driver.send([])
        driver.send([{"stationId": "S"}])  # of no batch
        driver.send(message("A"))
        driver.send(message("A", time=START + 1))
        driver.send([{"stationId": "S"}], "SINGLES")
        assert [output.key for output in driver.outputs] == ["S", "S"]
        assert len(driver.dead_letters) == 1
        driver.advance(3.1)
        assert len(driver.outputs) == 3


def test_a_batch_counts_until_its_output_is_out() -> None:
    async def handler(batch_id: str, results: list[object]) -> dict[str, object]:
        await asyncio.sleep(2.0)
        return {"id": batch_id}

    with TopologyTestDriver(slow({}), handler, max_open_batches=1, partitions=1) as driver:
        send(driver, 3, "A")
        opened = []
        for _ in range(3):
            opened.append(driver.metrics.batches_opened)
            driver.advance(2.1)
        assert opened == [1, 2, 3]
        assert len(driver.outputs) == 3


def test_a_backlog_is_opened_as_callbacks_get_their_turn() -> None:
    names = [f"S{number}" for number in range(100)]
    with TopologyTestDriver(slow(dict.fromkeys(names, 0.1)), concurrency=50, batch_timeout=30) as driver:
        for second in range(60):
            driver.send(message(*names, time=START + second))
            driver.advance(0.02)
        assert 1 < len(driver.open_batches) + len(driver.outputs) < 40
        driver.advance(20.0)
        assert [output.value["meta"]["status"] for output in driver.outputs] == ["complete"] * 60


def test_a_backlog_that_is_there_at_once_does_not_run_into_its_deadlines() -> None:
    """The work of five seconds, a deadline of three: what lags is not seen before the first second is over."""
    names = [f"S{number}" for number in range(1000)]
    model = slow(dict.fromkeys(names, 0.5))
    with TopologyTestDriver(model, concurrency=1000, batch_timeout=3) as driver:  # 2,000 stations a second
        for second in range(10):
            driver.send(message(*names, time=START + second))
        driver.advance(20.0)
        metas = [output.value["meta"] for output in driver.outputs]
        assert [meta["status"] for meta in metas] == ["complete"] * 10


def test_callbacks_that_lag_on_and_on_do_not_end_reading() -> None:
    with TopologyTestDriver(slow({"A": 90.0, "B": 90.0}), concurrency=1, batch_timeout=20) as driver:
        driver.send(message("A", "B"))
        driver.advance(1.0)
        for second in range(1, 4):
            driver.send(message("A", "B", time=START + second))
        assert len(driver.open_batches) == 1
        for opened in (2, 3, 4):
            driver.advance(20.1)
            assert driver.metrics.batches_opened == opened


def test_a_station_that_hangs_holds_no_other_up() -> None:
    with TopologyTestDriver(slow({"A": 30.0}), batch_timeout=5) as driver:
        for second in range(10):
            driver.send(message("A", "B", time=START + second))
            driver.advance(0.1)
        assert len(driver.open_batches) == 10
        driver.advance(5.0)
        opened = [output.value["meta"]["opened_at"] - START for output in driver.outputs]
        assert max(later - earlier for earlier, later in pairwise(sorted(opened))) < 0.15
