"""AGG_TIMEOUT_MODE=adaptive through the whole topology: deadlines, meta, log lines, restarts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import START, ModuleInput, message

ADAPTIVE: dict[str, Any] = {"timeout_mode": "adaptive", "batch_timeout": 5, "timeout_min": 0.5, "timeout_max": 20}


class Model:
    """Each station takes `seconds`; the dead ones for ever."""

    def __init__(self, seconds: float = 1.0, dead: str = "") -> None:
        self.seconds = seconds
        self.dead = dead

    async def __call__(self, station_id: str, module_input: ModuleInput) -> dict[str, str]:
        assert module_input
        await asyncio.sleep(1000.0 if station_id in self.dead else self.seconds)
        return {"of": station_id}


def send(
    driver: TopologyTestDriver, batches: int, *, every: float = 30.0, headers: dict[str, str] | None = None
) -> None:
    """One batch after the other, each given time to close."""
    for _ in range(batches):
        driver.send(message("A", "B", "C", time=driver.now), headers=headers)
        driver.advance(every)


def timeouts(driver: TopologyTestDriver) -> list[float]:
    return [output.value["meta"]["timeout"] for output in driver.outputs]


def test_the_deadline_follows_what_batches_have_needed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with TopologyTestDriver(Model(), **ADAPTIVE) as driver:
        send(driver, 3)
        assert timeouts(driver) == [5.0, pytest.approx(1.5, abs=0.1), pytest.approx(1.5, abs=0.1)]
        meta = driver.outputs[2].value["meta"]
        assert meta["deadline"] - meta["opened_at"] == pytest.approx(meta["timeout"])
    assert "Timeout of batches of about 3 stations is 5.00 s now" in caplog.text
    assert "Timeout of batches of about 3 stations is 1.50 s now" in caplog.text
    assert caplog.text.count("Timeout of batches") == 2


def test_the_header_of_a_message_still_wins() -> None:
    with TopologyTestDriver(Model(), **ADAPTIVE) as driver:
        send(driver, 3)
        send(driver, 1, headers={"batch-timeout": "7.5"})
        meta = driver.outputs[3].value["meta"]
        assert meta["timeout"] == meta["deadline"] - meta["opened_at"] == 7.5


def test_a_fixed_timeout_is_not_in_meta() -> None:
    with TopologyTestDriver(Model()) as driver:
        send(driver, 1)
        assert "timeout" not in driver.outputs[0].value["meta"]


def test_slower_stations_are_waited_for_after_a_few_batches() -> None:
    model = Model()
    with TopologyTestDriver(model, **ADAPTIVE) as driver:
        send(driver, 10)
        model.seconds = 6.0
        send(driver, 10)
        missing = [len(output.value["meta"]["missing"]) for output in driver.outputs[10:]]
        assert missing[5:] == [0] * 5


@pytest.mark.parametrize("policy", ["topic", "revise", "drop"])
def test_late_results_lengthen_it_whatever_becomes_of_them(policy: str) -> None:
    model = Model()
    with TopologyTestDriver(model, late_policy=policy, **ADAPTIVE) as driver:
        send(driver, 5)
        model.seconds = 4.0
        send(driver, 5)
        firsts = [output for output in driver.outputs if output.headers["revision"] == "1"]
        assert firsts[-1].value["meta"]["timeout"] == pytest.approx(6.0, abs=0.1)


def test_a_dead_station_costs_no_more_than_the_living_need() -> None:
    with TopologyTestDriver(Model(dead="C"), **ADAPTIVE) as driver:
        send(driver, 10)
        assert timeouts(driver)[1:] == [pytest.approx(1.5, abs=0.1)] * 9


@pytest.mark.parametrize("dead", ["", "C"])
def test_it_is_kept_over_a_restart(dead: str) -> None:
    with TopologyTestDriver(Model(2.0, dead), **ADAPTIVE) as driver:
        send(driver, 3)
        before = timeouts(driver)[-1]
        driver.restart()
        send(driver, 1)
        assert timeouts(driver)[-1] == pytest.approx(before, abs=0.1)
        assert before == pytest.approx(3.0, abs=0.1)


def test_late_answers_are_remembered_over_a_restart_too() -> None:
    with TopologyTestDriver(Model(4.0), batch_timeout=1.0, timeout_mode="adaptive", timeout_max=20) as driver:
        send(driver, 1)
        assert driver.outputs[0].value["meta"]["missing"] == ["A", "B", "C"]
        driver.restart()
        send(driver, 1)
        assert timeouts(driver)[-1] == pytest.approx(6.0, abs=0.1)
        assert driver.outputs[1].value["meta"]["opened_at"] == pytest.approx(START + 30.02, abs=0.02)
