"""What the benchmark sends: source messages of so many stations, the same bytes for every program that is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import cycle, islice
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from app.demo.sample import load_stations, make_push
from tests.bench.cluster import source_message

START: Final = 1762218000  # the first message's time, as Unix seconds if its text were in UTC
RESERVED: Final = 96  # the first numbers, of messages that only find out whether a program runs
WINDOW: Final = 168  # hourly records a station in the messages that the plants push
WINDOW_GUNS: Final = 8
_UTC: Final = ZoneInfo("UTC")


class Kind(StrEnum):
    """What the records of a load are like."""

    PLAIN = "plain"
    """A time and one number."""
    GUNS = "guns"
    """Those of a real charge point: two or three guns, each with mean and maximum (app/demo/data/SOURCE.md)."""
    WINDOW = "window"
    """168 hourly ones a station, with eight guns each."""


@dataclass(frozen=True, slots=True)
class Load:
    """Source messages of one size: what their records are like, and the stations of each."""

    kind: Kind
    stations: int

    @property
    def records(self) -> int:
        """Records of one message."""
        return self.stations * (WINDOW if self.kind is Kind.WINDOW else 1)

    def count(self, total: int, least: int) -> int:
        """Return how many messages have about `total` records; at least `least` of them."""
        return max(least, total // self.records)

    def message(self, number: int) -> bytes:
        """Return the message of that number, from 0; its time is a second later than the one before."""
        if self.kind is Kind.WINDOW:
            return window_message(number, self.stations, WINDOW)
        return source_message(number, self.stations) if self.kind is Kind.PLAIN else guns_message(number, self.stations)


def guns_message(number: int, stations: int) -> bytes:
    """Return a batch of one real record a station, in the plants' form."""
    text = _text(START + number)
    records = islice(cycle(_real_records()), number, number + stations)
    return orjson.dumps(
        {
            "realTimeData": [
                {"stationId": str(1881540927845654529 + station), **record, "sendTime": text}
                for station, record in enumerate(records)
            ]
        }
    )


def window_message(number: int, stations: int, window: int) -> bytes:
    """Return a batch as the plants send it: `window` hourly records a station, each with the power of eight guns."""
    newest = START + number
    times = [_text(newest - 3600 * hours) for hours in reversed(range(window))]
    guns = [f"{gun:02d}" for gun in range(1, WINDOW_GUNS + 1)]
    return orjson.dumps(
        {
            "realTimeData": [
                {
                    "stationId": str(1881540927845654529 + station),
                    "hostCode": "52000000000088",
                    "sendTime": at,
                    "gunPower": {
                        "gunNo": guns,
                        "outputPowerPerGunAvg": [34.29 + gun for gun in range(WINDOW_GUNS)],
                        "outputPowerPerGunMax": [100.8 + gun for gun in range(WINDOW_GUNS)],
                    },
                    "outputPowerPerStationAvg": 37.02,
                    "outputPowerPerStationMax": 107.8,
                }
                for station in range(stations)
                for at in times
            ]
        }
    )


@cache
def _real_records() -> list[dict[str, Any]]:
    """Return the sample data's records of a day, without station and time, of 100 charge points, in a mixed order."""
    pushed = orjson.loads(make_push(1, load_stations(), START, _UTC).value)["realTimeData"]
    records = [
        {name: value for name, value in record.items() if name not in ("stationId", "sendTime")}
        for record in pushed
        if "gunPower" in record
    ]
    Random(0).shuffle(records)  # noqa: S311 - the same order each time is what is wanted
    return records


def numbered(loads: list[Load], total: int, least: int) -> Iterator[tuple[Load, range]]:
    """Give each load the numbers of its messages: no two messages of a run have one time, so no two one batch id."""
    begin = RESERVED
    for load in loads:
        end = begin + load.count(total, least)
        yield load, range(begin, end)
        begin = end


def time_of(number: int) -> int:
    """Return the time in the batch id of a message: Unix seconds, as its texts are read in Asia/Shanghai."""
    return START + number - 8 * 3600


def _text(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
