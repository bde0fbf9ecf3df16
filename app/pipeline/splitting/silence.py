"""Context topics that have gone silent: callbacks go on with what is known, and nobody would notice."""

from __future__ import annotations

from collections.abc import Collection

from app.messages.message import Clock
from app.observability.batch_log import BatchLog
from app.observability.counters import Statistics
from app.observability.log_lines import Throttle
from app.settings import Settings

_AT_LEAST = 60.0  # seconds between two lines about one topic


class SilentTopics:
    """Tells of context topics of which this worker has had nothing for longer than `AGG_CONTEXT_STALE`."""

    def __init__(self, settings: Settings, log: BatchLog, statistics: Statistics, clock: Clock) -> None:
        self._topics = settings.context_names
        self._limit = settings.context_stale
        self._log = log
        self._statistics = statistics
        self._clock = clock
        self._started = clock()
        self._told = Throttle(max(_AT_LEAST, self._limit or 0.0))

    def tell(self, read: Collection[str]) -> None:
        """Write a line for each topic that is silent, of those that this worker reads."""
        if self._limit is None:
            return
        now = self._clock()
        for topic in self._topics:
            silent = now - self._statistics.context_heard.get(topic, self._started)
            if topic in read and silent > self._limit and self._told.passes(now, topic):
                self._log.silent(topic, silent, self._limit)
