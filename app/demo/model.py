"""The demo's model: how much power a station will draw in the next hour.

It is a plain baseline, exponential smoothing of the station's hourly mean power: good enough to see results, no match
for a model that knows the day of the week. With the forecast comes how far the same rule was off within the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from app.demo.sample import SHARE_MARK, SLOW_MARK
from app.settings import load_settings

WEIGHT: Final = 0.6  # of the newest hour
MOST_KW: Final = 1_000.0  # no station of the sample data can give half as much
OVERRUN: Final = 2.0  # seconds beyond its deadline that a slow run takes: the station's next batch misses its own, too


async def callback(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """Forecast one station; None when it has no readings.

    Args:
        station_id: whose.
        module_input: topic -> aligned columns; the window is in the source topic's, hourly.

    Raises:
        ValueError: a reading is impossible.
    """
    columns = next(iter(module_input.values()))
    load = [kw for kw in columns.get("outputPowerPerStationAvg", ()) if kw is not None]
    if not load:
        return None
    if max(load) > MOST_KW:
        message = f"{station_id} reports {max(load):g} kW: its meter must be broken"
        raise ValueError(message)
    if any(columns.get(SLOW_MARK, ())):
        # Stands for a model that takes too long now and then: a cold cache, a slow database.
        await asyncio.sleep(load_settings().batch_timeout + OVERRUN)
    elif share := columns.get(SHARE_MARK, (0,))[-1]:
        await asyncio.sleep(load_settings().batch_timeout * share)
    forecast_kw, error_kw = forecast(load)
    return {
        "time": _next_hour(columns["sendTime"][-1]),
        "forecast_kw": round(forecast_kw, 2),
        "mean_error_kw": round(error_kw, 2) if error_kw is not None else None,
        "last_kw": load[-1],
    }


def forecast(load: Sequence[float]) -> tuple[float, float | None]:
    """Smooth a series, at least one value: the next value, and the mean absolute error of earlier such forecasts."""
    smooth = load[0]
    errors = []
    for actual in load[1:]:
        errors.append(abs(actual - smooth))
        smooth += WEIGHT * (actual - smooth)
    return smooth, sum(errors) / len(errors) if errors else None


def _next_hour(send_time: str | None) -> str | None:
    if send_time is None:
        return None
    return (datetime.fromisoformat(send_time) + timedelta(hours=1)).isoformat(sep=" ")
