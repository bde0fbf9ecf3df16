"""The log lines of batches. Nothing is formatted for a level that is off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from app.observability.log_lines import NAME_SHOWN, Line, Shown, names, printable, say
from app.settings.enums import Language
from tables.model.enums import LatePolicy
from tables.model.events import Command, Source

__all__ = ["BatchLog"]

PROGRESS_SECONDS: Final = 1.0
TIMEOUT_CHANGE: Final = 0.25  # of the timeout that was told last: what differs by more is told again


@dataclass(frozen=True, slots=True)
class BatchLog:
    """Says what happens to batches.

    Attributes:
        logger: Where the lines go.
        language: Theirs.
        clock: Seconds, from any beginning; only for the pace of progress lines.
        place: Batch id -> topic and partition of its log; fields of the lines that name no other place.
    """

    logger: logging.Logger
    language: Language
    clock: Callable[[], float]
    place: Callable[[str], tuple[str, int]] | None = None
    _timeouts: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _said: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def timeout(self, stations: int, seconds: float) -> None:
        """A batch of so many stations gets so much time; a line only where that differs noticeably from the last."""
        size = stations.bit_length()  # the same for sizes within a factor of two
        told = self._timeouts.get(size)
        if told is None or abs(seconds - told) > TIMEOUT_CHANGE * told:
            self._timeouts[size] = seconds
            if self.logger.isEnabledFor(logging.INFO):
                self._write(logging.INFO, Line.TIMEOUT, {}, stations=stations, timeout=seconds)

    def opened(self, batch_id: str, expected: Collection[str]) -> None:
        """A batch was opened that waits for these stations."""
        if self.logger.isEnabledFor(logging.INFO):
            self._batch(logging.INFO, Line.OPENED, batch_id, stations=names(expected, len(expected)))

    def progress(
        self, batch_id: str, arrived: int, expected: int, pending: Iterable[str] | Callable[[], Iterable[str]]
    ) -> None:
        """`arrived` of `expected` stations are there; at most one line a second for each batch.

        Only a line that is written looks at `pending`, which holds `expected - arrived` ids or gives them when called.
        """
        if not self.logger.isEnabledFor(logging.INFO) or not self._is_due(batch_id):
            return
        ids = pending() if callable(pending) else pending
        stations = names(ids, expected - arrived)
        self._batch(logging.INFO, Line.PROGRESS, batch_id, arrived=arrived, expected=expected, stations=stations)

    def completed(self, batch_id: str, stations: Collection[str]) -> None:
        """Every expected station has arrived."""
        self.forget(batch_id)
        if self.logger.isEnabledFor(logging.INFO):
            self._batch(logging.INFO, Line.COMPLETED, batch_id, stations=names(stations, len(stations)))

    def published(self, batch_id: str, station_count: int) -> None:
        """The output with the results of so many stations is out."""
        if self.logger.isEnabledFor(logging.INFO):
            self._batch(logging.INFO, Line.PUBLISHED, batch_id, count=station_count)

    def timed_out(self, batch_id: str, arrived: int, expected: int, missing: Iterable[str]) -> None:
        """The deadline has come; `missing` holds `expected - arrived` ids."""
        self.forget(batch_id)
        if self.logger.isEnabledFor(logging.WARNING):
            stations = names(missing, expected - arrived)
            self._batch(
                logging.WARNING, Line.TIMED_OUT, batch_id, arrived=arrived, expected=expected, stations=stations
            )

    def released_early(self, batch_id: str, rule: str, arrived: int, expected: int, missing: Iterable[str]) -> None:
        """A rule or an operator has closed the batch though stations are missing."""
        self.forget(batch_id)
        if self.logger.isEnabledFor(logging.INFO):
            stations = names(missing, expected - arrived)
            self._batch(
                logging.INFO,
                Line.RELEASED_EARLY,
                batch_id,
                rule=rule,
                arrived=arrived,
                expected=expected,
                stations=stations,
            )

    def discarded(self, batch_id: str, rule: str, arrived: int, expected: int) -> None:
        """The batch is not published."""
        self.forget(batch_id)
        if self.logger.isEnabledFor(logging.WARNING):
            self._batch(logging.WARNING, Line.DISCARDED, batch_id, rule=rule, arrived=arrived, expected=expected)

    def commanded(self, command: Command, deadline: float | None) -> None:
        """An operator has asked for something; `deadline` is the batch's (Unix seconds), None: it changed nothing."""
        line, level = (Line.VOID_COMMAND, logging.WARNING) if deadline is None else (Line.COMMAND, logging.INFO)
        if self.logger.isEnabledFor(level):
            fields = {"by": command.by, "at": _utc(command.at), "deadline": deadline and _utc(deadline)}
            self._batch(level, line, command.batch_id, action=command.action, **fields)

    def late(self, batch_id: str, station_id: str, status: str, reason: str) -> None:
        """An outcome came after its batch was closed."""
        if self.logger.isEnabledFor(logging.WARNING):
            fields = {"batch_id": batch_id, "station_id": station_id, "reason": reason}
            self._write(logging.WARNING, Line.LATE, fields, **fields, status=status)

    def late_taken(self, batch_id: str, stations: Collection[str], policy: LatePolicy, *, skipped: bool) -> None:
        """Outcomes came after their batch was closed, which the late topic does not get."""
        if self.logger.isEnabledFor(logging.WARNING):
            line = Line.LATE_SKIPPED if skipped else Line.LATE_KEPT
            line = Line.LATE_DROPPED if policy is LatePolicy.DROP else line
            self._batch(logging.WARNING, line, batch_id, stations=names(stations, len(stations)))

    def revised(self, batch_id: str, revision: int, arrived: int, expected: int, missing: Iterable[str]) -> None:
        """What was late has made another revision."""
        if self.logger.isEnabledFor(logging.INFO):
            counts = {"revision": revision, "arrived": arrived, "expected": expected}
            stations = names(missing, expected - arrived)
            self._batch(logging.INFO, Line.REVISED, batch_id, **counts, stations=stations)

    def bad_header(self, source: Source, problem: str) -> None:
        """A header of a source message can't be used."""
        self._source(Line.BAD_HEADER, source, problem=problem)

    def empty_message(self, source: Source) -> None:
        """A source message holds no record."""
        self._source(Line.EMPTY_MESSAGE, source)

    def dead_letter(
        self,
        reason: str,
        error: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        batch_id: str | None = None,
        station_id: str | None = None,
    ) -> None:
        """Something went to the dead-letter topic; the rest says where it came from, as far as that is known."""
        if not self.logger.isEnabledFor(logging.WARNING):
            return
        known = {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "batch_id": batch_id,
            "station_id": station_id,
        }
        fields = {name: value for name, value in known.items() if value is not None}
        place = Shown(", ".join(f"{name}={printable(str(value), NAME_SHOWN)}" for name, value in fields.items()))
        extra = {**fields, "reason": reason}
        self._write(logging.WARNING, Line.DEAD_LETTER, extra, reason=reason, error=error, place=place or "?")

    def forget(self, batch_id: str) -> None:
        """The batch is no longer ours: nothing is kept for it."""
        self._said.pop(batch_id, None)

    def _is_due(self, batch_id: str) -> bool:
        """Whether a second has gone since the batch's last progress line; if so, notes the one that is written now.

        The dict is in the order of its times, so what is older than a second stands in front and is dropped here: it
        never holds more than the lines of one second. A clock that was put back makes an entry old too.
        """
        now = self.clock()
        while self._said:
            oldest = next(iter(self._said))
            if 0.0 <= now - self._said[oldest] < PROGRESS_SECONDS:
                break
            del self._said[oldest]
        if batch_id in self._said:
            return False
        self._said[batch_id] = now
        return True

    def _source(self, line: Line, source: Source, **fields: object) -> None:
        place = "{}[{}]@{}".format(*source)
        self._write(logging.WARNING, line, source._asdict(), place=place, **fields)

    def _batch(self, level: int, line: Line, batch_id: str, **fields: object) -> None:
        self._write(level, line, {"batch_id": batch_id}, batch_id=batch_id, **fields)

    def _write(self, level: int, line: Line, extra: Mapping[str, object], **fields: object) -> None:
        known: dict[str, object] = {"event": str(line), **extra}
        if self.place is not None and "topic" not in known and isinstance(batch_id := extra.get("batch_id"), str):
            known["topic"], known["partition"] = self.place(batch_id)
        self.logger.log(level, say(self.language, line, **fields), extra=known)


def _utc(moment: float) -> str:
    """A point in time (Unix seconds) as people read it; any number has some text."""
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(moment)
