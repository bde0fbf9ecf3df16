"""The sample data: charging sessions, and the power that they come to on each connector (app/demo/data/SOURCE.md)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

__all__ = ["Charger", "Power", "Session", "Station", "load_stations", "power"]


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
    """What the sessions together draw from `start` to `end`."""
    drawing = [session for session in sessions if session.start < end and session.full > start]
    energy = sum(
        session.kw * (min(session.full, end) - max(session.start, start)).total_seconds() for session in drawing
    )
    # The sum only rises where a session begins, so it is highest at one of these points.
    rises = {start, *(session.start for session in drawing if session.start > start)}
    highest = max(sum(session.kw for session in drawing if session.start <= moment < session.full) for moment in rises)
    return Power(round(energy / (end - start).total_seconds(), 2), round(highest, 2))


def _session(row: dict[str, str]) -> Session:
    start = datetime.fromisoformat(row["start"])
    kw = float(row["charge_kw"])
    return Session(start, start + timedelta(hours=float(row["energy_kwh"]) / kw), kw)


def _rows(name: str) -> Iterator[dict[str, str]]:
    with files("app.demo").joinpath("data", name).open(encoding="utf-8") as stream:
        yield from csv.DictReader(stream)
