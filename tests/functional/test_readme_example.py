"""The example of the README: how a user tests a model."""

from __future__ import annotations

import asyncio
from typing import Any

from app.testing import TopologyTestDriver


async def predict(station_id: str, module_input: dict[str, Any]) -> dict[str, Any]:
    power = next(iter(module_input.values()))["outputPowerPerStationAvg"]
    if station_id == "slow":
        await asyncio.sleep(60)
    return {"load": max(power)}


def test_a_station_that_takes_too_long_is_missing_and_the_others_come_out() -> None:
    with TopologyTestDriver(predict, batch_timeout=5) as driver:
        driver.send(
            [
                {"stationId": "A", "sendTime": "2025-11-14 09:00:00", "outputPowerPerStationAvg": 32.1},
                {"stationId": "A", "sendTime": "2025-11-14 10:00:00", "outputPowerPerStationAvg": 37.02},
                {"stationId": "slow", "sendTime": "2025-11-14 10:00:00", "outputPowerPerStationAvg": 1.0},
            ]
        )
        assert driver.outputs == []
        driver.advance(5.1)
        output = driver.outputs[0].value
        assert output["stations"] == [{"station_id": "A", "load": 37.02}]
        assert output["meta"]["missing"] == ["slow"]
