"""Log lines in both languages.

Ids and error texts come from outside. What is not printable in them is escaped, so that nobody can forge a line, and
what is long is cut. Nothing is formatted for a level that is off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Final

from app.choices import Language
from tables.codes import LatePolicy
from tables.events import Command, Source

__all__ = [
    "CATALOGUE",
    "BatchLog",
    "Line",
    "Shown",
    "names",
    "printable",
    "say",
    "tell",
]

NAMES_SHOWN: Final = 13
PROGRESS_SECONDS: Final = 1.0
TIMEOUT_CHANGE: Final = 0.25  # of the timeout that was told last: what differs by more is told again
_NAME_SHOWN: Final = 200
_TEXT_SHOWN: Final = 500


class Line(StrEnum):
    """What a log line tells; in JSON the field `event`."""

    OPENED = "batch-opened"
    PROGRESS = "batch-progress"
    COMPLETED = "batch-completed"
    PUBLISHED = "batch-published"
    TIMED_OUT = "batch-timed-out"
    RELEASED_EARLY = "batch-released-early"
    DISCARDED = "batch-discarded"
    COMMAND = "operator-command"
    VOID_COMMAND = "operator-command-void"
    REVISED = "batch-revised"
    TIMEOUT = "adaptive-timeout"
    LATE = "late-result"
    LATE_KEPT = "late-results-kept"
    LATE_SKIPPED = "late-and-skipped"
    LATE_DROPPED = "late-results-dropped"
    BAD_HEADER = "bad-header"
    EMPTY_MESSAGE = "empty-message"
    DEAD_LETTER = "dead-letter"
    WORKER_READY = "worker-ready"
    WEB = "web"
    TOPICS_CREATED = "topics-created"
    BROKER_AWAY = "broker-away"
    BROKER_BACK = "broker-back"
    READING_WAITS = "reading-waits"
    LOOP_BLOCKED = "loop-blocked"
    LOOP_BUSY = "loop-busy"
    LOOP_RUNS = "loop-runs"
    NOT_ASKED = "results-not-asked-for"
    PROCESS_DIED = "process-died"


CATALOGUE: Final[Mapping[Line, Mapping[Language, str]]] = MappingProxyType(
    {
        line: MappingProxyType({Language.EN: en, Language.ZH: zh})
        for line, en, zh in (
            (
                Line.OPENED,
                "Batch {batch_id} opened, expected stations: {stations}",
                "初始化批次 {batch_id}，预期场站: {stations}",
            ),
            (
                Line.PROGRESS,
                "Batch {batch_id} progress: {arrived}/{expected}, pending: {stations}",
                "批次 {batch_id} 进度: {arrived}/{expected}，待完成: {stations}",
            ),
            (
                Line.COMPLETED,
                "Batch {batch_id} complete, stations: {stations}",
                "批次 {batch_id} 完成，场站: {stations}",
            ),
            (
                Line.PUBLISHED,
                "Batch {batch_id} published with {count} stations",
                "批次 {batch_id} 结果已上传，包含 {count} 个场站",
            ),
            (
                Line.TIMED_OUT,
                "Batch {batch_id} timed out with {arrived}/{expected}, missing stations: {stations}",
                "批次 {batch_id} 超时，已完成 {arrived}/{expected}，缺失场站: {stations}",
            ),
            (
                Line.RELEASED_EARLY,
                "Batch {batch_id} released early ({rule}) with {arrived}/{expected}, missing stations: {stations}",
                "批次 {batch_id} 提前发布 ({rule})，已完成 {arrived}/{expected}，缺失场站: {stations}",
            ),
            (
                Line.DISCARDED,
                "Batch {batch_id} discarded ({rule}) with {arrived}/{expected}: not published, see the dead letters",
                "批次 {batch_id} 已丢弃 ({rule})，已完成 {arrived}/{expected}，未发布，详见死信",
            ),
            (
                Line.COMMAND,
                "Batch {batch_id}: {action} by operator {by} at {at}, deadline {deadline}",
                "批次 {batch_id} 由操作员 {by} 于 {at} 执行 {action}，截止时间 {deadline}",
            ),
            (
                Line.VOID_COMMAND,
                "Batch {batch_id}: {action} by operator {by} at {at} changes nothing: the batch is not open, or can't "
                "be extended any further",
                "批次 {batch_id} 操作员 {by} 于 {at} 的 {action} 无效: 批次未打开，或无法继续延长",
            ),
            (
                Line.LATE,
                "Batch {batch_id} late result of station {station_id}, status: {status}, reason: {reason}",
                "批次 {batch_id} 收到迟到结果，场站: {station_id}，状态: {status}，原因: {reason}",
            ),
            (
                Line.TIMEOUT,
                "Timeout of batches of about {stations} stations is {timeout:.2f} s now, as recent ones have needed",
                "约 {stations} 个场站的批次超时现为 {timeout:.2f} 秒，依据近期批次耗时",
            ),
            (
                Line.LATE_KEPT,
                "Batch {batch_id} late results for the next revision, stations: {stations}",
                "批次 {batch_id} 收到迟到结果，将计入下一修订，场站: {stations}",
            ),
            (
                Line.LATE_SKIPPED,
                "Batch {batch_id} late, and not run any more: they stay missing, stations: {stations}",
                "批次 {batch_id} 已迟到且不再运行，仍记为缺失，场站: {stations}",
            ),
            (
                Line.LATE_DROPPED,
                "Batch {batch_id} late results dropped (AGG_LATE_POLICY=drop), stations: {stations}",
                "批次 {batch_id} 迟到结果已丢弃 (AGG_LATE_POLICY=drop)，场站: {stations}",
            ),
            (
                Line.REVISED,
                "Batch {batch_id} revised, revision {revision} with {arrived}/{expected}, missing stations: {stations}",
                "批次 {batch_id} 已修订，修订号 {revision}，已完成 {arrived}/{expected}，缺失场站: {stations}",
            ),
            (
                Line.BAD_HEADER,
                "{place}: {problem}; the default is used",
                "{place}: {problem}，使用默认值",
            ),
            (
                Line.EMPTY_MESSAGE,
                "{place} is an empty list of records: nothing to do",
                "{place} 的记录列表为空，无需处理",
            ),
            (
                Line.DEAD_LETTER,
                "Dead letter ({reason}): {error} [{place}]",
                "死信 ({reason}): {error} [{place}]",
            ),
            (
                Line.WORKER_READY,
                "Worker ready, partitions: {partitions}",
                "worker 已就绪，分区: {partitions}",
            ),
            (
                Line.WEB,
                "This worker's pages: {url}",
                "本 worker 的页面: {url}",
            ),
            (
                Line.TOPICS_CREATED,
                "Topics created: {topics}",
                "已创建主题: {topics}",
            ),
            (
                Line.BROKER_AWAY,
                "Kafka at {broker} is away, waiting for it up to {patience:g} s: {error}",
                "Kafka {broker} 不可用，最多等待 {patience:g} 秒: {error}",
            ),
            (
                Line.BROKER_BACK,
                "Kafka at {broker} is back after {away:.1f} s",
                "Kafka {broker} 已恢复，中断 {away:.1f} 秒",
            ),
            (
                Line.READING_WAITS,
                "Reading waits until batches close: {count} are open (AGG_MAX_OPEN_BATCHES)",
                "暂停读取，等待批次关闭: 已有 {count} 个未关闭批次 (AGG_MAX_OPEN_BATCHES)",
            ),
            (
                Line.LOOP_BLOCKED,
                "{name} blocks the event loop, for {seconds:.1f} s so far ({about}): everything else waits; {place}",
                "{name} 阻塞了事件循环，已持续 {seconds:.1f} 秒 ({about})，其他一切都在等待；{place}",
            ),
            (
                Line.LOOP_BUSY,
                "The event loop has not got on for {seconds:.1f} s; {place}",
                "事件循环已有 {seconds:.1f} 秒没有进展；{place}",
            ),
            (
                Line.LOOP_RUNS,
                "The event loop runs again, after {seconds:.1f} s",
                "事件循环恢复运行，中断 {seconds:.1f} 秒",
            ),
            (
                Line.NOT_ASKED,
                "{name} has returned results of stations that it was not called for, ignored: {stations}",
                "{name} 返回了未请求场站的结果，已忽略: {stations}",
            ),
            (
                Line.PROCESS_DIED,
                "{name} has lost a process: {what}",
                "{name} 的一个进程已退出: {what}",
            ),
        )
    }
)


class Shown(str):
    """Text that is fit for a log line already: printable and cut."""

    __slots__ = ()


def say(language: Language, line: Line, **fields: object) -> str:
    """The line in that language. Texts among the fields are made printable and cut at 500 characters.

    Raises:
        KeyError: A field that the line needs is not given.
    """
    shown = {
        name: printable(value) if isinstance(value, str) and not isinstance(value, Shown) else value
        for name, value in fields.items()
    }
    return CATALOGUE[line][language].format_map(shown)


def tell(logger: logging.Logger, level: int, language: Language, line: Line, **fields: object) -> None:
    """Log the line."""
    logger.log(level, "%s", say(language, line, **fields), extra={"event": str(line)})


def printable(text: str, limit: int = _TEXT_SHOWN) -> Shown:
    r"""The text cut at `limit` characters; if any of them is not printable, escaped as in a Python literal (`a\nb`)."""
    cut = _cut(text, limit)
    return Shown(cut if cut.isprintable() else repr(cut)[1:-1])


def names(ids: Iterable[str], total: int) -> Shown:
    """The ids in their order, printed like a Python set; after 13 of them only how many more `total` says there are.

    Takes at most 14 ids out of the iterable, however many there are.
    """
    taken = list(islice(ids, NAMES_SHOWN + 1))
    if not taken:
        return Shown("set()")
    quoted = [repr(_cut(name, _NAME_SHOWN)) for name in taken[:NAMES_SHOWN]]
    more = max(total, len(taken)) - NAMES_SHOWN
    return Shown("{" + ", ".join(quoted + ([f"… +{more}"] if more > 0 else [])) + "}")


def _utc(moment: float) -> str:
    """A point in time (Unix seconds) as people read it; any number has some text."""
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(moment)


def _cut(text: str, limit: int) -> str:
    return str(text) if len(text) <= limit else text[:limit] + "…"


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
        place = Shown(", ".join(f"{name}={printable(str(value), _NAME_SHOWN)}" for name, value in fields.items()))
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
