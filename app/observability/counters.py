"""Counters of one worker. Plain integers: a count is one addition, whoever shows them."""

from __future__ import annotations

from collections import Counter
from typing import Literal

__all__ = ["Direction", "Metrics"]

Direction = Literal["in", "out"]


class Metrics:
    """What this worker has counted since its start; names are the contract's words."""

    def __init__(self) -> None:
        self.source_messages = 0
        self.context_messages = 0
        self.empty_messages = 0
        self.stations_split = 0
        self.passthrough_stations = 0  # of these
        self.batches_opened = 0
        self.batches_closed: Counter[str] = Counter()  # completed_by -> batches
        self.discarded = 0  # of these batches
        self.revisions = 0  # outputs after a batch's first
        self.arrivals: Counter[str] = Counter()  # outcome (`OUTCOMES`) -> stations of closed batches
        self.late_outcomes: Counter[str] = Counter()  # reason -> outcomes
        self.late_dropped = 0  # of these outcomes
        self.dead_letters: Counter[str] = Counter()  # reason -> letters
        self.outbox_recoveries: Counter[str] = Counter()  # "found" | "sent" -> messages
        self.source_gaps = 0
        self.frames: Counter[tuple[str, Direction]] = Counter()  # kind of topic and direction -> Kafka messages
        self.bytes: Counter[tuple[str, Direction]] = Counter()

    def moved(self, kind: str, direction: Direction, messages: int, size: int) -> None:
        """So many messages of so many bytes in all have been read from topics of a kind, or written to them."""
        self.frames[kind, direction] += messages
        self.bytes[kind, direction] += size
