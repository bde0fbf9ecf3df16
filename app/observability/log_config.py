"""The configuration of logging: Faust's text or JSON, and which messages of libraries are held back.

Wired by `faust.App(logging_config=...)`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection
from typing import Any, Final, TextIO

from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, UnknownTopicOrPartitionError
from colorlog.escape_codes import parse_colors
from mode.utils.logging import DEFAULT_COLOR_FORMAT, DEFAULT_COLORS, ExtensionFormatter

from app.observability.json_formatter import JsonFormatter
from app.observability.log_lines import Line, Throttle
from app.settings.enums import LogFormat

# Below these levels the messages of libraries are of no use to an operator, and cost more than the work itself.
_LIBRARY_LEVELS: Final = {
    "aiokafka": "WARNING",
    "app.kafka.state_store": "WARNING",  # Faust's recovery under our name: a table of offsets at each rebalance
    "faust.assignor": "WARNING",
    "faust.tables": "WARNING",
}
# These repeat the same complaint again and again while a broker, or a collector of traces, is away.
_FLOODING: Final = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
ODD_ANSWER: Final = "Unexpected exception in AIOKafkaConnection"
"""What aiokafka logs, with a traceback, of an answer that it can't take apart: what it comes to is told elsewhere."""
_STDERR: Final = "ext://sys.stderr"
_REPEAT_SECONDS: Final = 10.0
# What aiokafka says of a broker that is away: a line for each part of it that notices. `Line.BROKER_AWAY` says it once.
_LOST_BROKER: Final = {
    "aiokafka": (
        "Unable connect to node with id %s: %s",
        "Unable to request metadata from node with id %s: %r",
        "Unable to update metadata from %s",
    ),
    "aiokafka.consumer.fetcher": ("Failed fetch messages from %s: %s", "Failed fetch offsets from %s: %s"),
    "aiokafka.consumer.group_coordinator": (
        "Error sending %s to node %s [%s] -- marking coordinator dead",
        "Marking the coordinator dead (node %s)for group %s.",
        "Group Coordinator Request failed: %s",
        "Heartbeat session expired - marking coordinator dead",
        "Heartbeat send request failed: %s. Will retry.",
        "Heartbeat failed for group %s: coordinator (node %s) is either not started or not valid",
        "OffsetCommit failed before join, ignoring: %s",
        "Failed to commit on finallization: %s",
    ),
}
_TELLERS: Final = ("app.kafka.topics", "app.worker.watchdog")  # that say when the broker is away, and when it is back
_TOLD_WITHIN: Final = 15.0  # seconds in which the watchdog tells, if no broker of the cluster answers
_NEW_TROUBLE_AFTER: Final = 60.0  # seconds without a complaint
# Complaints and news about what is as it should be: a group rebalances (`Worker ready` says how it ended), a source
# topic is not there yet, or was deleted, or a worker can't connect at its start (which have lines of ours).
_EXPECTED: Final = {
    "aiokafka": ('Unable connect to "%s:%s": %s', 'Unable to request metadata from "%s:%s": %s'),
    "aiokafka.cluster": ("Topic %s not found in cluster metadata",),
    "aiokafka.consumer.group_coordinator": (
        "Heartbeat failed for group %s because it is rebalancing",
        "OffsetFetchRequest -- unknown topic %s",
    ),
    "faust.app.base": ("Executing _on_partitions_assigned",),
    "faust.assignor.partition_assignor": ("Ignoring missing topic: %r",),
}
_COMMIT_FAILED: Final = "OffsetCommit failed for group %s on partition %s with offset %s: %s"


class RepeatFilter(logging.Filter):
    """Lets a logger's message pass once in ten seconds, whatever its arguments; a record's own time is the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle(_REPEAT_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this record is logged."""
        return self._throttle.passes(record.created, (record.name, record.lineno))


class ExpectedFilter(logging.Filter):
    """Drops some messages of a logger, whatever their arguments, and that a new cluster has no coordinator yet.

    So it does with a commit for a topic that was deleted.
    """

    def __init__(self, messages: Collection[str]) -> None:
        super().__init__()
        self._messages = frozenset(messages)
        self._first: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this record is logged."""
        args = record.args if isinstance(record.args, tuple) else ()
        if any(isinstance(arg, GroupCoordinatorNotAvailableError) for arg in args):
            self._first = record.created if self._first is None else self._first
            return record.created - self._first >= _REPEAT_SECONDS  # one that lasts is no news of a start
        if record.msg == _COMMIT_FAILED:
            return UnknownTopicOrPartitionError.__name__ not in args
        return record.msg not in self._messages


class OddAnswerFilter(logging.Filter):
    """Makes one line, with the error at its end, of a message that comes with a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record be logged."""
        if record.msg == self._message and record.exc_info:
            record.msg, record.args = "%s: %r", (self._message, record.exc_info[1])
            record.exc_info = record.exc_text = None
        return True


class LostBrokerFilter(logging.Filter):
    """Drops what aiokafka says of a broker that is away, where a line of ours has said it or will.

    That is for as long as ours says that it is away, and for the first seconds of any trouble. With one broker of
    several away ours says nothing: what aiokafka says is logged after that. A refusal, which waiting does not end,
    always is.
    """

    def __init__(self, messages: Collection[str]) -> None:
        super().__init__()
        self._messages = frozenset(messages)
        self._away = False
        self._since = self._last = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this record is logged."""
        now = record.created
        event = getattr(record, "event", None)
        if event in {Line.BROKER_AWAY, Line.BROKER_BACK}:
            self._away = event == Line.BROKER_AWAY
            self._since = self._last = now
            return True
        args = record.args if isinstance(record.args, tuple) else ()
        if record.msg not in self._messages or any(isinstance(arg, KafkaError) and not arg.retriable for arg in args):
            return True
        if now - self._last > _NEW_TROUBLE_AFTER:
            self._since = now
        self._last = now
        return not self._away and now - self._since >= _TOLD_WITHIN


class TextFormatter(ExtensionFormatter):
    """Log records as lines of text, as Faust writes them, in colours on a terminal, at a third of the cost.

    colorlog puts all of its 200 escape codes into a dict for each line, twice, though a line needs one and a file none:
    45 of 68 µs, three times a batch. Here a level's code is looked up once.
    """

    def __init__(self, *, stream: TextIO | None = None) -> None:
        """Make one for a stream, in colours if that is a terminal; None: a file."""
        super().__init__(fmt=DEFAULT_COLOR_FORMAT, log_colors=DEFAULT_COLORS, stream=stream, no_color=stream is None)
        colored: bool = self._colorize()  # type: ignore[no-untyped-call]
        self._codes = {level: parse_colors(color) if colored else "" for level, color in DEFAULT_COLORS.items()}
        self._reset = parse_colors("reset") if colored else ""
        self._second, self._time = -1, ""  # Unix seconds of the last line, and their text

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return the line's time; the text of a second is made once: it takes a fourth of what a line does."""
        if datefmt is not None or self.converter is not time.localtime:
            return super().formatTime(record, datefmt)
        second = int(record.created)
        if second != self._second:
            self._time = time.strftime(self.default_time_format, time.localtime(second))
            self._second = second
        return "%s,%03d" % (self._time, record.msecs)  # noqa: UP031 - as `default_msec_format` has it

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without a traceback."""
        record.__dict__["log_color"] = self._codes.get(record.levelname, "")
        # Faust's form ends with a space and what mode has to add, which is nothing as a rule.
        return logging.Formatter.formatMessage(self, record).rstrip() + self._reset


def logging_config(log_format: LogFormat) -> dict[str, Any]:
    """Return what `faust.App(logging_config=...)` takes so that a worker logs in that format.

    Faust's own set-up stays, with its level (`-l`), its stderr or file (`-f`); only the levels of chatty libraries are
    raised, floods are held back, and both its formatters are replaced. (`loghandlers` would add a second
    handler, and every line twice.)
    """
    loggers: dict[str, dict[str, Any]] = {name: {"level": level} for name, level in _LIBRARY_LEVELS.items()}
    for name in _FLOODING:
        loggers.setdefault(name, {})["filters"] = ["repeats"]
    loggers["aiokafka.conn"]["filters"].append("odd-answers")
    config: dict[str, Any] = {"version": 1, "merge": True, "loggers": loggers}
    config["filters"] = {
        "repeats": {"()": RepeatFilter},
        "odd-answers": {"()": OddAnswerFilter, "message": ODD_ANSWER},
        "lost-broker": {
            "()": LostBrokerFilter,
            "messages": [line for lines in _LOST_BROKER.values() for line in lines],
        },
    }
    for name in (*_LOST_BROKER, *_TELLERS):
        loggers.setdefault(name, {}).setdefault("filters", []).insert(0, "lost-broker")
    for name, messages in _EXPECTED.items():
        config["filters"][name] = {"()": ExpectedFilter, "messages": messages}
        loggers.setdefault(name, {}).setdefault("filters", []).insert(0, name)
    # Faust takes `default` for a file (`-f`), and `colored` for stderr.
    formatter, terminal = (JsonFormatter, {}) if log_format is LogFormat.JSON else (TextFormatter, {"stream": _STDERR})
    config["formatters"] = {"default": {"()": formatter}, "colored": {"()": formatter, **terminal}}
    return config
