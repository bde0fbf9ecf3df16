"""Source messages whose station ids say what has to come of them.

A station id is `<kind>-<number>`: the number is the power it reports, which the model (`model.py`) gives back with the
time of the record; the kind says how the model behaves. So each result in an output can be checked by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

__all__ = ["EMPTY", "FAILS", "FINE", "GATED", "HANGS", "SentBatch", "batch_of", "result_of", "stations_of"]

FINE = "R"  # a result at once
EMPTY = "E"  # None
FAILS = "F"  # raises
GATED = "W"  # a result as soon as the test opens the gate
HANGS = "H"  # never comes back

FIRST = datetime(2025, 11, 4, 9, 0, 0, tzinfo=ZoneInfo("Asia/Shanghai"))


@dataclass(frozen=True)
class SentBatch:
    """One source message, and what its batch is called."""

    batch_id: str
    time: str
    stations: tuple[str, ...]
    value: bytes = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = ()


def stations_of(kind: str, numbers: Iterable[int]) -> list[str]:
    """Station ids of one kind."""
    return [f"{kind}-{number}" for number in numbers]


def batch_of(
    topic: str, number: int, stations: Sequence[str], *, window: int = 1, headers: dict[str, str] | None = None
) -> SentBatch:
    """Batch `number` of a topic: each has a second of its own. `window` is the count of hourly records a station."""
    newest = FIRST + timedelta(seconds=number)
    times = [text_of(newest - timedelta(hours=hours)) for hours in reversed(range(window))]
    records = [_record(station, time) for station in stations for time in times]
    given = tuple((key, value.encode()) for key, value in (headers or {}).items())
    batch_id = dict(headers or {}).get("batch-id", f"{topic}_{int(newest.timestamp())}")
    return SentBatch(batch_id, times[-1], tuple(stations), orjson.dumps({topic: records}), given)


def result_of(batch: SentBatch, station: str) -> dict[str, Any]:
    """What the model makes of a station that is fine."""
    return {"station_id": station, "power": power_of(station), "at": batch.time}


def power_of(station: str) -> float:
    """What the station reports."""
    return float(station.partition("-")[2])


def text_of(time: datetime) -> str:
    """A time as plants write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _record(station: str, time: str) -> dict[str, Any]:
    power = power_of(station)
    return {
        "stationId": station,
        "hostCode": "52000000000088",
        "sendTime": time,
        "gunPower": {"gunNo": ["05", "01"], "outputPowerPerGunAvg": [power, 0.0], "outputPowerPerGunMax": [power, 0.0]},
        "outputPowerPerStationAvg": power,
        "outputPowerPerStationMax": power,
    }
