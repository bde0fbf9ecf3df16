"""Limits of what messages hold: times that are too late, records that are too large."""

from __future__ import annotations

from collections.abc import Sequence

from app.inputs.grouping import UnusableTimes
from app.inputs.timestamps import latest_usable
from app.messages.message import Clock, InMessage
from app.pipeline.ports import Telemetry
from app.settings import Settings
from tables.context import Record
from tables.storage import exact_json


class TimeLimit:
    """The latest usable time of a message, and the log of times that are not usable."""

    def __init__(self, settings: Settings, clock: Clock, telemetry: Telemetry) -> None:
        self._max_ahead = settings.max_ahead
        self._clock = clock
        self._log = telemetry.log

    def latest(self, message: InMessage) -> float:
        """Return the latest usable time of a message (Unix seconds), by the clock where it has no timestamp."""
        return latest_usable(message.timestamp if message.is_dated else self._clock(), self._max_ahead)

    def tell(self, message: InMessage, unusable: UnusableTimes) -> None:
        """Log the times of a message that are there and not usable."""
        if unusable.ahead:
            self._log.times_ahead(message.source, unusable.ahead, self._max_ahead)
        if unusable.unreadable is not None:
            self._log.unreadable_time(message.source, unusable.unreadable)


def oversize(owner: str, records: Sequence[Record], size: int, limit: int) -> str | None:
    """Return what is wrong with a station's records if one of them has more than `limit` bytes of JSON.

    `owner` names the station. `size` is what all of them have: while that is within the limit, none is looked at.
    """
    if size <= limit:
        return None
    largest = max(len(exact_json.dumps(record)) for record in records)
    if largest <= limit:
        return None
    return (
        f"ValueError: a record of {owner} has {largest} bytes of JSON, more than the {limit} of one record"
        " (AGG_MAX_RECORD_BYTES)"
    )
