"""The log lines of batches and of callbacks. Nothing is formatted for a level that is off."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final

from app.messages.dead_letters import Subject
from app.observability.log_lines import NAME_SHOWN, Line, Shown, Throttle, names, printable, say, tell
from app.settings.enums import Language
from app.words import told
from tables.model.enums import LatePolicy
from tables.model.events import Command, Source

PROGRESS_SECONDS: Final = 1.0
REPEAT_SECONDS: Final = 5.0
UNREADABLE_SECONDS: Final = 10.0
STATIONS_SHOWN: Final = 10
TIMEOUT_CHANGE: Final = 0.25  # of the timeout that was logged last: a larger change is logged again


@dataclass(frozen=True, slots=True)
class BatchLog:
    """Logs the events of batches.

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
    _unreadable: Throttle = field(
        default_factory=lambda: Throttle(UNREADABLE_SECONDS), init=False, repr=False, compare=False
    )
    _passed: Throttle = field(default_factory=lambda: Throttle(PROGRESS_SECONDS), init=False, repr=False, compare=False)
    _said: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def timeout(self, stations: int, seconds: float) -> None:
        """Log the timeout of a batch of so many stations, where it differs noticeably from the last one logged."""
        size = stations.bit_length()  # the same for sizes within a factor of two
        logged = self._timeouts.get(size)
        if logged is None or abs(seconds - logged) > TIMEOUT_CHANGE * logged:
            self._timeouts[size] = seconds
            self._write(logging.INFO, Line.TIMEOUT, {}, stations=stations, timeout=seconds)

    def opened(self, batch_id: str, expected: Collection[str]) -> None:
        """A batch was opened that waits for these stations."""
        self._batch(logging.INFO, Line.OPENED, batch_id, lambda: names(expected, len(expected)))

    def progress(
        self, batch_id: str, arrived: int, expected: int, pending: Iterable[str] | Callable[[], Iterable[str]]
    ) -> None:
        """`arrived` of `expected` stations are there; at most one line a second for each batch.

        Only a line that is written looks at `pending`, which holds `expected - arrived` ids or gives them when called.
        """
        if self.logger.isEnabledFor(logging.INFO) and self._is_due(batch_id):
            stations = names(pending() if callable(pending) else pending, expected - arrived)
            fields = {"arrived": arrived, "expected": expected, "stations": stations}
            self._batch(logging.INFO, Line.PROGRESS, batch_id, **fields)

    def completed(self, batch_id: str, stations: Collection[str]) -> None:
        """Every expected station has arrived."""
        self.forget(batch_id)
        self._batch(logging.INFO, Line.COMPLETED, batch_id, lambda: names(stations, len(stations)))

    def published(self, batch_id: str, station_count: int) -> None:
        """The output with the results of so many stations is out."""
        self._batch(logging.INFO, Line.PUBLISHED, batch_id, count=station_count)

    def moved(self, batch_id: str, old: tuple[str, int], new: tuple[str, int]) -> None:
        """The stored place of the batch's output (topic, partition) is gone, and another has been stored."""
        fields = {"old": "{}[{}]".format(*old), "new": "{}[{}]".format(*new)}
        self._batch(logging.WARNING, Line.PLACE_MOVED, batch_id, **fields)

    def timed_out(self, batch_id: str, arrived: int, expected: int, missing: Iterable[str]) -> None:
        """The deadline has come; `missing` holds `expected - arrived` ids."""
        self.forget(batch_id)
        stations = partial(names, missing, expected - arrived)
        self._batch(logging.WARNING, Line.TIMED_OUT, batch_id, stations, arrived=arrived, expected=expected)

    def released_early(self, batch_id: str, rule: str, arrived: int, expected: int, missing: Iterable[str]) -> None:
        """A rule or an operator has closed the batch though stations are missing."""
        self.forget(batch_id)
        stations = partial(names, missing, expected - arrived)
        fields = {"rule": rule, "arrived": arrived, "expected": expected}
        self._batch(logging.INFO, Line.RELEASED_EARLY, batch_id, stations, **fields)

    def discarded(self, batch_id: str, rule: str, arrived: int, expected: int) -> None:
        """The batch is not published."""
        self.forget(batch_id)
        self._batch(logging.WARNING, Line.DISCARDED, batch_id, rule=rule, arrived=arrived, expected=expected)

    def all_failed(self, batch_id: str, errors: Collection[str]) -> None:
        """Every station of a batch that has closed has failed, with these errors."""
        if self.logger.isEnabledFor(logging.WARNING):
            ((error, times),) = Counter(errors).most_common(1)
            self._batch(logging.WARNING, Line.ALL_FAILED, batch_id, count=len(errors), times=times, error=error)

    def commanded(self, command: Command, deadline: float | None) -> None:
        """An operator has sent a command; `deadline` is the batch's (Unix seconds), None: it changed nothing."""
        line, level = (Line.VOID_COMMAND, logging.WARNING) if deadline is None else (Line.COMMAND, logging.INFO)
        fields = {"by": command.by, "at": _utc(command.at), "deadline": deadline and _utc(deadline)}
        self._batch(level, line, command.batch_id, action=command.action, **fields)

    def late(self, batch_id: str, station_id: str, status: str, reason: str) -> None:
        """An outcome came after its batch was closed."""
        fields = {"batch_id": batch_id, "station_id": station_id, "reason": reason}
        self._write(logging.WARNING, Line.LATE, fields, **fields, status=status)

    def late_taken(self, batch_id: str, stations: Collection[str], policy: LatePolicy, *, skipped: bool) -> None:
        """Outcomes came after their batch was closed, and do not go to the late topic."""
        line = Line.LATE_SKIPPED if skipped else Line.LATE_KEPT
        line = Line.LATE_DROPPED if policy is LatePolicy.DROP else line
        self._batch(logging.WARNING, line, batch_id, lambda: names(stations, len(stations)))

    def revised(self, batch_id: str, revision: int, arrived: int, expected: int, missing: Iterable[str]) -> None:
        """Late outcomes have made another revision."""
        stations = partial(names, missing, expected - arrived)
        fields = {"revision": revision, "arrived": arrived, "expected": expected}
        self._batch(logging.INFO, Line.REVISED, batch_id, stations, **fields)

    def bad_header(self, source: Source, problem: str) -> None:
        """A header of a source message can't be used."""
        self._source(Line.BAD_HEADER, source, problem=told(problem, self.language))

    def passed_through(self, source: Source, stations: Collection[str], *, for_want_of_id: bool) -> None:
        """The stations of a message have no batch: at most one line a second for each topic.

        Args:
            source: the message.
            stations: its stations.
            for_want_of_id: nothing in the message makes a batch id; False: its topic is one of AGG_PASSTHROUGH_TOPICS.
        """
        if self.logger.isEnabledFor(logging.INFO) and self._passed.passes(self.clock(), source.topic):
            line = Line.NO_BATCH if for_want_of_id else Line.PASSED_THROUGH
            self._source(line, source, logging.INFO, stations=names(stations, len(stations)))

    def unreadable_time(self, source: Source, time: str) -> None:
        """A time of a message is there and can't be read: at most one line in 10 seconds for each topic."""
        if self._unreadable.passes(self.clock(), source.topic):
            self._source(Line.UNREADABLE_TIME, source, time=time)

    def times_ahead(self, source: Source, times: Mapping[str, str], limit: float) -> None:
        """Stations have times that are later than their message by more than `limit` seconds; the first are named."""
        first = islice(times.items(), STATIONS_SHOWN)
        shown = [f"station {printable(name, NAME_SHOWN)}: {printable(time)}" for name, time in first]
        more = f", … +{len(times) - len(shown)}" if len(times) > len(shown) else ""
        self._source(Line.TIMES_AHEAD, source, times=Shown(", ".join(shown) + more), limit=limit)

    def silent(self, topic: str, seconds: float, limit: float) -> None:
        """A context topic has had nothing for longer than it may."""
        self._write(logging.WARNING, Line.CONTEXT_SILENT, {"topic": topic}, topic=topic, seconds=seconds, limit=limit)

    def empty_message(self, source: Source) -> None:
        """A source message holds no record."""
        self._source(Line.EMPTY_MESSAGE, source)

    def dead_letter(self, reason: str, error: str, subject: Subject) -> None:
        """Something went to the dead-letter topic."""
        if not self.logger.isEnabledFor(logging.WARNING):
            return
        ids = subject.source._asdict() if subject.source else {}
        ids |= {"batch_id": subject.batch_id, "station_id": subject.station_id}
        fields = {name: value for name, value in ids.items() if value is not None}
        place = Shown(", ".join(f"{name}={printable(str(value), NAME_SHOWN)}" for name, value in fields.items()))
        extra = {**fields, "reason": reason}
        self._write(logging.WARNING, Line.DEAD_LETTER, extra, reason=reason, error=error, place=place or "?")

    def forget(self, batch_id: str) -> None:
        """Keep nothing for a batch that is no longer ours."""
        self._said.pop(batch_id, None)

    def _is_due(self, batch_id: str) -> bool:
        """Say whether a second has passed since the batch's last progress line; if so, note the one that follows.

        The dict is in the order of its times, so entries older than a second stand in front and are dropped here: it
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

    def _source(self, line: Line, source: Source, level: int = logging.WARNING, /, **fields: object) -> None:
        self._write(level, line, source._asdict(), place="{}[{}]@{}".format(*source), **fields)

    def _batch(
        self, level: int, line: Line, batch_id: str, stations: Callable[[], Shown] | None = None, /, **fields: object
    ) -> None:
        """Log a line about a batch; `stations` prints their ids, and is only called for a line that is written."""
        if self.logger.isEnabledFor(level):
            if stations is not None:
                fields["stations"] = stations()
            self._write(level, line, {"batch_id": batch_id}, batch_id=batch_id, **fields)

    def _write(self, level: int, line: Line, extra: Mapping[str, object], **fields: object) -> None:
        if not self.logger.isEnabledFor(level):
            return
        known: dict[str, object] = {"event": str(line), **extra}
        if self.place is not None and "topic" not in known and isinstance(batch_id := extra.get("batch_id"), str):
            known["topic"], known["partition"] = self.place(batch_id)
        # Not by `log`: it would look through the stack for this very place, for a sixth of a line's cost.
        logger, text = self.logger, say(self.language, line, **fields)
        logger.handle(logger.makeRecord(logger.name, level, __file__, 0, text, (), None, extra=known))


def _utc(moment: float) -> str:
    """Print a point in time (Unix seconds) for people; any number has some text."""
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(moment)


@dataclass(frozen=True, slots=True)
class CallbackLog:
    """Logs what is wrong with the user's callback, other than that it fails: at most one line of a kind in 5 seconds.

    A mistake of one callback is usually made by the others, too.

    Attributes:
        logger: Where the lines go.
        language: Theirs.
        name: The callback's, as the setting has it.
        clock: Seconds, from any beginning.
    """

    logger: logging.Logger
    language: Language
    name: str
    clock: Callable[[], float]
    _throttle: Throttle = field(default_factory=lambda: Throttle(REPEAT_SECONDS), init=False, repr=False, compare=False)

    def not_asked(self, stations: Sequence[str]) -> None:
        """A callback for many stations has returned results of some that it was not called for."""
        self._warn(Line.NOT_ASKED, stations=names(stations, len(stations)))

    def process_died(self, what: str) -> None:
        """A process for callbacks ended without a call in it, or could not start."""
        self._warn(Line.PROCESS_DIED, what=what)

    def _warn(self, line: Line, **fields: object) -> None:
        if self._throttle.passes(self.clock(), line):
            tell(self.logger, logging.WARNING, self.language, line, name=self.name, **fields)
