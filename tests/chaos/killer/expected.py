"""The batches of the killer: a batch's number decides its stations, their records, and what each has to give. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from random import Random
from typing import Any, Final

import orjson

__all__ = ["Kind", "Outcome", "batch_id_of", "message_of", "number_of", "outcome_of", "stations_of"]

FIRST: Final = 1_762_218_000  # Unix seconds of the first batch's first records
POINTS: Final = 2  # records a station
POOL: Final = 64  # stations that there are
FEWEST, MOST = 24, 40  # stations of a batch; so many that no worker's partitions are without one
EMPTY_EACH, FAILED_EACH = 13, 17  # one station in so many
ASIA_SHANGHAI: Final = 8 * 3600


class Kind(StrEnum):
    """How a station's callback ends."""

    RESULT = "result"
    EMPTY = "empty"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A callback's end, and the result where there is one, without the station's id."""

    kind: Kind
    result: dict[str, Any] | None = None


def stations_of(number: int) -> Sequence[str]:
    """Return the ids of a batch's stations, in the order in which its message names them."""
    random = Random(number)  # noqa: S311 - the same ones each time
    return [f"S{station:02d}" for station in random.sample(range(POOL), random.randint(FEWEST, MOST))]


def outcome_of(number: int, station: str) -> Outcome:
    """Return what has to come of a station of a batch."""
    return answer(_text(_time_of(number, POINTS - 1)), [float(_power(number, station, at)) for at in range(POINTS)])


def answer(at: str, powers: Sequence[float]) -> Outcome:
    """Return what the callback makes of the latest time and the powers of all times of a station."""
    latest = int(powers[-1])
    if latest % FAILED_EACH == 0:
        return Outcome(Kind.FAILED)
    if latest % EMPTY_EACH == 0:
        return Outcome(Kind.EMPTY)
    return Outcome(Kind.RESULT, {"at": at, "powers": list(powers)})


def batch_id_of(topic: str, number: int) -> str:
    """Return a batch's id."""
    return f"{topic}_{_time_of(number, POINTS - 1)}"


def number_of(topic: str, batch_id: str) -> int | None:
    """Return the number of the batch of that id, None where no batch has it."""
    second = batch_id.removeprefix(f"{topic}_")
    number = (int(second) - FIRST) // POINTS if second.isdecimal() else -1
    return number if number >= 0 and batch_id_of(topic, number) == batch_id else None


def message_of(topic: str, number: int) -> bytes:
    """Return a batch's source message."""
    records = [_record(number, station, at) for at in range(POINTS) for station in stations_of(number)]
    return orjson.dumps({topic: records})


def _record(number: int, station: str, at: int) -> dict[str, Any]:
    power = _power(number, station, at)
    return {"stationId": station, "sendTime": _text(_time_of(number, at)), "outputPowerPerStationAvg": power}


def _power(number: int, station: str, at: int) -> int:
    digest = blake2b(f"{number}/{station}/{at}".encode(), digest_size=4)
    return int.from_bytes(digest.digest())


def _time_of(number: int, at: int) -> int:
    """Return a record's time, in Unix seconds: no two batches have one in common."""
    return FIRST + number * POINTS + at


def _text(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second + ASIA_SHANGHAI))
