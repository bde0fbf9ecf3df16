"""A worker whose clock is set: what it remembers is not taken for old, and comes out once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import message

HOUR = 3600.0
GRACE = 60.0 + 30.0 + 30.0  # AGG_MAX_BATCH_AGE + AGG_STATION_TIMEOUT + 30 s


@pytest.fixture
def driver() -> Iterator[TopologyTestDriver]:
    async def model(station_id: str, _: object) -> dict[str, str]:
        return {"of": station_id}

    with TopologyTestDriver(model, partitions=2, closed_ttl=HOUR) as own:
        yield own


def set_clock(driver: TopologyTestDriver, seconds: float) -> None:
    """Set the clock on, or back; what waits for a time of its own waits as long as before."""
    driver._start_time += seconds
    driver.advance(1)


def come_out_again(driver: TopologyTestDriver) -> bool:
    """Whether a message that comes again makes a second output."""
    before = len(driver.outputs)
    driver.send(message("A", "B"))
    driver.advance(10)
    return len(driver.outputs) > before


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 10 * HOUR])
def test_what_closed_before_the_clock_was_set_is_remembered(
    driver: TopologyTestDriver, seconds: float, restarted: bool
) -> None:
    driver.send(message("A", "B"))
    driver.advance(10)
    if restarted:
        driver.restart()
    set_clock(driver, seconds)
    assert not come_out_again(driver)
    set_clock(driver, -seconds)
    assert not come_out_again(driver)
    assert len(driver.outputs) == 1


def test_it_is_forgotten_at_its_age_all_the_same(driver: TopologyTestDriver) -> None:
    driver.send(message("A", "B"))
    driver.advance(10)
    set_clock(driver, HOUR)
    driver.advance(GRACE - 2)
    assert not come_out_again(driver)
    driver.advance(10)
    assert come_out_again(driver)
