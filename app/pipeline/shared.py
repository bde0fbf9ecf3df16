"""What the parts of one worker have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from app.messages.message import Clock, Sender
from app.messages.output import OUTPUT_HEADROOM, RECORD_OVERHEAD
from app.messages.partitioner import Partitioner
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics, Statistics
from app.observability.tracing import Traces
from app.pipeline.aggregation.aggregator import StateStore
from app.pipeline.dead_letters import DeadLetters
from app.settings import Settings

__all__ = ["Shared"]


@dataclass(frozen=True)
class Shared:
    """What several parts of a worker are given, or made of.

    Attributes:
        settings: the worker's.
        sender: sends confirmed.
        store: the tables.
        clock: Unix seconds.
        on_error: gets what must stop the worker: nothing is acknowledged after it.
        statistics: where everything is counted.
        traces: makes spans of it.
        output_limit: the largest value that the output topic takes, in bytes; None when that is not known.
    """

    settings: Settings
    sender: Sender
    store: StateStore
    clock: Clock
    on_error: Callable[[BaseException], None]
    statistics: Statistics
    traces: Traces
    output_limit: int | None

    @property
    def metrics(self) -> Metrics:
        """The plain counters."""
        return self.statistics.metrics

    @property
    def largest(self) -> int:
        """The largest result, payload of a handler, or part of an output, in bytes."""
        return min(self.settings.max_message_bytes, self.output_limit or self.settings.max_message_bytes)

    @property
    def most(self) -> int:
        """The largest value of the output topic, in bytes: what a part may grow to with its meta."""
        return self.output_limit or self.settings.max_message_bytes + OUTPUT_HEADROOM - RECORD_OVERHEAD

    @cached_property
    def partitioner(self) -> Partitioner:
        """Where stations and batches live."""
        return Partitioner(self.settings.partitions)

    @cached_property
    def log(self) -> BatchLog:
        """The lines of batches."""
        topic, partition_of = self.settings.batch_events_topic, self.partitioner
        return BatchLog(
            logging.getLogger("app.batches"),
            self.settings.log_language,
            self.clock,
            place=lambda batch_id: (topic, partition_of(batch_id)),
        )

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """What makes letters."""
        return DeadLetters(self.settings.dead_letter_topic, log=self.log, metrics=self.metrics)
