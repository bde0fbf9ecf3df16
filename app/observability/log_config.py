"""The configuration of logging: Faust's text or JSON, and which messages of libraries are held back.

Wired by `faust.App(logging_config=...)`.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from aiokafka.errors import GroupCoordinatorNotAvailableError

from app.observability.json_formatter import JsonFormatter
from app.observability.log_lines import Throttle
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
_REPEAT_SECONDS: Final = 10.0
# Complaints and news about what is as it should be: a group rebalances (`Worker ready` says how it ended), a source
# topic is not there yet (which has a line of ours).
_EXPECTED: Final = {
    "aiokafka.cluster": "Topic %s not found in cluster metadata",
    "aiokafka.consumer.group_coordinator": "Heartbeat failed for group %s because it is rebalancing",
    "faust.app.base": "Executing _on_partitions_assigned",
    "faust.assignor.partition_assignor": "Ignoring missing topic: %r",
}


class RepeatFilter(logging.Filter):
    """Lets a logger's message pass once in ten seconds, whatever its arguments; a record's own time is the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle(_REPEAT_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this record is logged."""
        return self._throttle.passes(record.created, (record.name, record.lineno))


class ExpectedFilter(logging.Filter):
    """Drops one message of a logger, whatever its arguments, and that a new cluster has no coordinator yet."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message
        self._first: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this record is logged."""
        if any(isinstance(arg, GroupCoordinatorNotAvailableError) for arg in record.args or ()):
            self._first = record.created if self._first is None else self._first
            return record.created - self._first >= _REPEAT_SECONDS  # one that lasts is no news of a start
        return record.msg != self._message


def logging_config(log_format: LogFormat) -> dict[str, Any]:
    """Return what `faust.App(logging_config=...)` takes so that a worker logs in that format.

    Faust's own set-up stays, with its level (`-l`), its stderr or file (`-f`); only the levels of chatty libraries are
    raised, floods are held back, and for JSON both its formatters are replaced. (`loghandlers` would add a second
    handler, and every line twice.)
    """
    loggers: dict[str, dict[str, Any]] = {name: {"level": level} for name, level in _LIBRARY_LEVELS.items()}
    for name in _FLOODING:
        loggers.setdefault(name, {})["filters"] = ["repeats"]
    config: dict[str, Any] = {"version": 1, "merge": True, "loggers": loggers}
    config["filters"] = {"repeats": {"()": RepeatFilter}}
    for name, message in _EXPECTED.items():
        config["filters"][name] = {"()": ExpectedFilter, "message": message}
        loggers.setdefault(name, {}).setdefault("filters", []).insert(0, name)
    if log_format is LogFormat.JSON:
        config["formatters"] = {name: {"()": JsonFormatter} for name in ("default", "colored")}
    return config
