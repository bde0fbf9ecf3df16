"""The sample data (app/demo/data/SOURCE.md): charging sessions, and the messages in which plants would send them.

A source message is a push with the last day of every station. A plant pushes at every hour; here the next push comes
seconds later, or half a second. So that they look like today's, and so that no two runs make the same batch ids, the
times in a push are moved: its newest record is of the moment it is sent, the others lie an hour apart before it.

All readings are real but those that are put in, so that there is something to see besides success: a broken meter
reading in some pushes, marks that ask the demo's model to take its time or too much of it, and no reading at all for
stations that had closed before.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from app.inputs.timestamps import format_time

PUSHES: Final = 12
WINDOW: Final = 24  # hourly records of each charge point in a push
FIRST_END: Final = datetime(2018, 8, 22, 8)  # noqa: DTZ001 - the data's local time; there the first push's day ends
HOUR: Final = timedelta(hours=1)

BROKEN_STATION: Final = "PKC07"
BROKEN_PUSHES: Final = frozenset({4, 8})
BROKEN_METER_KW: Final = 6553.5  # what a meter with a 16-bit register of 0.1 kW says when it has no reading

SLOW_STATION: Final = "DUN05"
# Near the end, since the calls of one station run one after the other: its next batches have to wait.
SLOW_PUSHES: Final = frozenset({11})
SLOW_MARK: Final = "demoSlow"

# In a replay that does not end, so that there are always batches in flight: six stations of each push, others in the
# next, take these shares of a batch's time.
SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SHARE_MARK: Final = "demoShare"


@dataclass(frozen=True, slots=True)
class Session:
    """One car at one connector: it draws `kw` from `start` to `full`. Times are local to the station."""

    start: datetime
    full: datetime
    kw: float


@dataclass(frozen=True, slots=True)
class Charger:
    """A charge point with its connectors: number as text -> the sessions there."""

    charger_id: str
    connectors: dict[str, tuple[Session, ...]]


@dataclass(frozen=True, slots=True)
class Station:
    """A station. It has no readings after `closed`, its last session of the year."""

    station_id: str
    name: str
    closed: datetime
    chargers: tuple[Charger, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """Power over some time, in kW: its mean and its highest value."""

    average: float
    highest: float


@dataclass(frozen=True, slots=True)
class Push:
    """A source message: its number from 1, its latest time (Unix seconds), the stations it names and its bytes."""

    number: int
    timestamp: int
    stations: tuple[str, ...]
    value: bytes


def load_stations() -> list[Station]:
    """Every station of the sample data, with the sessions that touch 2018-08-20 .. 2018-08-22."""
    sessions: dict[tuple[str, str], list[Session]] = {}
    for row in _rows("scotland_sessions.csv"):
        sessions.setdefault((row["charger_id"], row["connector"]), []).append(_session(row))
    chargers: dict[str, list[Charger]] = {}
    for row in _rows("scotland_chargers.csv"):
        of_charger = {
            number: tuple(sessions.get((row["charger_id"], number), ())) for number in row["connectors_seen"].split()
        }
        chargers.setdefault(row["station_id"], []).append(Charger(row["charger_id"], of_charger))
    return [
        Station(
            row["station_id"],
            row["name"],
            datetime.fromisoformat(row["last_session"]),
            tuple(chargers[row["station_id"]]),
        )
        for row in _rows("scotland_stations.csv")
    ]


def power(sessions: Sequence[Session], start: datetime, end: datetime) -> Power:
    """Add up what the sessions draw from `start` to `end`."""
    drawing = [session for session in sessions if session.start < end and session.full > start]
    energy = sum(
        session.kw * (min(session.full, end) - max(session.start, start)).total_seconds() for session in drawing
    )
    # The sum only rises where a session begins, so it is highest at one of these points.
    rises = {start, *(session.start for session in drawing if session.start > start)}
    highest = max(sum(session.kw for session in drawing if session.start <= moment < session.full) for moment in rises)
    return Power(round(energy / (end - start).total_seconds(), 2), round(highest, 2))


def shares_of(number: int, stations: Sequence[Station]) -> dict[str, float]:
    """Stations that take their time in that push, of an endless replay: id -> share of the time that a batch has."""
    first = number * len(SHARES)
    return {stations[(first + place) % len(stations)].station_id: share for place, share in enumerate(SHARES)}


def make_push(
    number: int,
    stations: list[Station],
    timestamp: int,
    timezone: ZoneInfo,
    shares: Mapping[str, float] = MappingProxyType({}),
) -> Push:
    """The push of that number.

    Args:
        number: from 1; each is an hour of the data further, and after PUSHES of them they begin again.
        stations: those that report.
        timestamp: Unix seconds of its newest records.
        timezone: the zone in which `sendTime` is written.
        shares: stations for which the model is to take so much of its batch's time.
    """
    number = (number - 1) % PUSHES + 1
    end = FIRST_END + (number - 1) * HOUR
    records: list[dict[str, Any]] = []
    for station in stations:
        for back in range(WINDOW - 1, -1, -1):
            send_time = format_time(timestamp - back * 3600, timezone)
            readings = _readings(station, end - back * HOUR)
            if back == 0:
                readings = [_disturbed(reading, station.station_id, number) for reading in readings]
                if station.station_id in shares:
                    readings = [reading | {SHARE_MARK: shares[station.station_id]} for reading in readings]
            # In a new dict: the readings of an hour are in several pushes.
            records += [{"stationId": station.station_id, **reading, "sendTime": send_time} for reading in readings]
    value = orjson.dumps({"realTimeData": records})
    return Push(number, timestamp, tuple(station.station_id for station in stations), value)


def _disturbed(reading: dict[str, Any], station_id: str, number: int) -> dict[str, Any]:
    if station_id == BROKEN_STATION and number in BROKEN_PUSHES:
        return reading | {"outputPowerPerStationAvg": BROKEN_METER_KW, "outputPowerPerStationMax": BROKEN_METER_KW}
    if station_id == SLOW_STATION and number in SLOW_PUSHES:
        return reading | {SLOW_MARK: True}
    return reading


def _readings(station: Station, end: datetime) -> list[dict[str, Any]]:
    """Report the hour up to `end` for each charge point of a station: its own power and the station's."""
    if station.closed < end - WINDOW * HOUR:
        return [{"hostCode": charger.charger_id} for charger in station.chargers]
    every = [session for charger in station.chargers for gun in charger.connectors.values() for session in gun]
    total = power(every, end - HOUR, end)
    return [
        {
            "hostCode": charger.charger_id,
            "gunPower": _gun_power(charger, end),
            "outputPowerPerStationAvg": total.average,
            "outputPowerPerStationMax": total.highest,
        }
        for charger in station.chargers
    ]


def _gun_power(charger: Charger, end: datetime) -> dict[str, Any]:
    guns = [power(sessions, end - HOUR, end) for sessions in charger.connectors.values()]
    return {
        "gunNo": [number.zfill(2) for number in charger.connectors],
        "outputPowerPerGunAvg": [gun.average for gun in guns],
        "outputPowerPerGunMax": [gun.highest for gun in guns],
    }


def _session(row: dict[str, str]) -> Session:
    start = datetime.fromisoformat(row["start"])
    kw = float(row["charge_kw"])
    return Session(start, start + timedelta(hours=float(row["energy_kwh"]) / kw), kw)


def _rows(name: str) -> Iterator[dict[str, str]]:
    with files("app.demo").joinpath("data", name).open(encoding="utf-8") as stream:
        yield from csv.DictReader(stream)
