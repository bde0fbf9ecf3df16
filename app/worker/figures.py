"""A worker's own figures for Prometheus: how it stands, and what it has moved over Kafka."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from app.kafka.topics import changelog_topic
from app.messages.message import InMessage
from app.observability.prometheus import Now, expose, metrics_registry
from app.observability.statistics import oldest_open_age, open_batches
from app.pipeline.build import TopicKind
from tables.storage.records import Table

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

__all__ = ["WorkerFigures"]


class WorkerFigures:
    """Looks at a worker when it is asked."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        self._metrics = app.statistics.metrics
        settings = app.settings
        self._kinds = {
            settings.station_events_topic: TopicKind.STATION_EVENTS,
            settings.batch_events_topic: TopicKind.BATCH_EVENTS,
            settings.output_topic: "output",
            settings.late_topic: "late",
            settings.dead_letter_topic: "dead-letter",
            **{changelog_topic(settings.app_id, table): "changelog" for table in Table},
        }

    def read(self, kind: str, messages: Sequence[InMessage]) -> None:
        """These have come in from topics of one kind."""
        self._metrics.moved(kind, "in", len(messages), sum([len(message.value or b"") for message in messages]))

    def written(self, topic: str, messages: int, size: int) -> None:
        """So many messages of so many bytes are confirmed."""
        self._metrics.moved(self._kinds.get(topic, "other"), "out", messages, size)

    def expose(self, accept: str | None) -> tuple[bytes, str]:
        """All metrics in the format that an `Accept` header asks for, and the content type."""
        return expose(self._registry, accept)

    @cached_property
    def _registry(self) -> CollectorRegistry:
        settings = self._app.settings
        return metrics_registry(
            self._app.statistics,
            self.now,
            most_stations=settings.metrics_stations,
            build={"app_id": settings.app_id, "module": settings.module},
        )

    def now(self) -> Now:
        """How the worker stands."""
        app = self._app
        sets = app.working_sets()
        runner = app.runner
        ready = app.ready()
        bound = app.open_batches
        return Now(
            live=app.live(),
            ready=ready,
            partitions=len(sets),
            open_batches=open_batches(sets),
            oldest_open_age=oldest_open_age(sets, time.time()) or 0.0,
            max_batch_age=app.settings.max_batch_age,
            unclosed_batches=0 if bound is None else len(bound),
            max_open_batches=app.settings.max_open_batches,
            reading_waits=app.waits_for_room,
            closed_records=sum(len(working_set.closed) for working_set in sets.values()),
            heartbeat_age=app.reader.heartbeat_age() if ready else 0.0,
            callbacks_pending=runner.pending if runner else 0,
            callbacks_running=runner.running if runner else 0,
            group_lag=self._lag() if ready else {},
        )

    def _lag(self) -> Counter[str]:
        """Messages not done yet, by topic. A source topic's end may be a transaction's marker, which is no message."""
        reader = self._app.reader
        lag: Counter[str] = Counter()
        for tp in reader.ledger.partitions():
            done = reader.ledger.committable(tp) or 0
            lag[tp.topic] += max(0, (reader.highwater(tp) or done) - done)
        return lag
