"""What comes to an open batch may wait to be stored, unacknowledged; what is decided never does."""

from __future__ import annotations

from app.pipeline.aggregation.aggregator import STORE_SECONDS
from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, START, message, slow


def records(driver: TopologyTestDriver) -> list[str]:
    """The keys of what has been written about batches, deletions with a sign."""
    changelog = driver.messages(f"{driver.settings.app_id}-batches-changelog")
    return [("-" if change.raw is None else "") + (change.key or "") for change in changelog]


def unacknowledged(driver: TopologyTestDriver) -> int:
    """Messages of the batches' log that a worker that starts now would read again."""
    topic = driver.settings.batch_events_topic
    committed = sum(offset for (name, _), offset in driver._broker.committed.items() if name == topic)
    return len(driver.messages(topic)) - committed


def test_a_batch_that_closes_at_once_is_written_twice_and_nothing_of_it_is_deleted() -> None:
    with TopologyTestDriver(slow({}), partitions=4) as driver:
        driver.send(message(*(f"S{number}" for number in range(40))))
        assert len(driver.outputs) == 1
        assert records(driver) == [BATCH, BATCH]  # decided, and out
        assert unacknowledged(driver) == 0


def test_an_open_batch_is_stored_after_a_second_and_acknowledged_then() -> None:
    with TopologyTestDriver(slow({"B": 30.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        assert (records(driver), unacknowledged(driver)) == ([], 2)  # its opening, and A
        driver.advance(STORE_SECONDS + 0.1)
        (key,) = records(driver)
        assert key.startswith(f"{BATCH}#")
        assert unacknowledged(driver) == 0


def test_a_batch_that_nothing_was_stored_of_survives_a_crash() -> None:
    with TopologyTestDriver(slow({"B": 2.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.restart()
        assert driver.open_batches == [BATCH]
        driver.advance(5.0)
        (output,) = driver.outputs
        assert output.value["meta"]["opened_at"] == START
        assert [one["station_id"] for one in output.value["stations"]] == ["A", "B"]


def test_a_batch_that_waits_holds_back_the_acknowledging_of_what_comes_after_it() -> None:
    with TopologyTestDriver(slow({"B": 30.0}), partitions=1, batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.send(message("A", time=START + 1))
        assert len(driver.outputs) == 1
        assert unacknowledged(driver) == len(driver.messages(driver.settings.batch_events_topic))
        driver.advance(STORE_SECONDS + 0.1)
        assert unacknowledged(driver) == 0


def test_what_a_failed_station_has_sent_is_stored_at_once() -> None:
    async def fails(station_id: str, module_input: object) -> None:
        raise ValueError(station_id)

    with TopologyTestDriver(fails, batch_timeout=5, max_open_batches=10) as driver:
        driver.send(message("A"))
        assert len(driver.dead_letters) == 1
        assert unacknowledged(driver) == 0
