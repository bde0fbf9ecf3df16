"""A worker for the web to show: real working sets over records in memory, fed with the events of a log."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from app.messages.dead_letters import place_of
from app.messages.message import InMessage
from app.messages.replays import Fate, Replay
from app.observability.counters import Metrics, Statistics
from app.observability.peers import Peers
from app.observability.prometheus import expose, metrics_registry
from app.settings import Settings
from app.web.state import NotConfirmed, Standing
from app.web.topics import Arrivals, NotReadable, OpenTopic, Published, Window
from tables.model.batch import FIRST_REVISION
from tables.model.events import (
    Arrived,
    BatchEvent,
    Command,
    Decision,
    Effect,
    Expire,
    Forget,
    Open,
    Position,
    Released,
    Source,
)
from tables.model.policies import Rules
from tables.storage.records import Destination
from tables.working_set import WorkingSet
from tests.builders import MemoryRecords

__all__ = ["FakeTopics", "FakeWorker", "MemoryTopic"]

MAX_AGE = 60.0
TIMEOUT = 5.0


class MemoryTopic:
    """A topic in memory; like one on a broker it holds what it held when it was opened."""

    def __init__(self, logs: Mapping[int, Sequence[InMessage]]) -> None:
        self._logs = logs
        self.held: Mapping[int, Window] = {
            partition: Window(log[0].offset, log[-1].offset + 1) if log else Window(0, 0)
            for partition, log in logs.items()
        }
        self.reads: list[Mapping[int, Window]] = []

    async def read(self, windows: Mapping[int, Window], most: int) -> Mapping[int, Sequence[InMessage]]:
        self.reads.append(windows)
        found = {
            partition: [message for message in self._logs[partition] if window.start <= message.offset < window.end]
            for partition, window in windows.items()
        }
        return {
            partition: messages
            for partition, messages in found.items()
            if windows[partition].end - windows[partition].start == 1 or sum(one.size for one in messages) <= most
        }


class FakeTopics:
    """What stands in Kafka: outputs, source messages, and how many messages topics have got at which times."""

    def __init__(self) -> None:
        self.is_away = False
        self.begins_at = -math.inf  # Unix seconds; what is older is gone
        self.written: dict[str, list[float]] = {}
        self.coming: dict[str, Arrivals] = {}
        self.messages: list[InMessage] = []
        self.read: list[str] = []

    def publish(
        self, batch_id: str, value: bytes | None, *, at: float, revision: int = 1, part: int = 1, parts: int = 1
    ) -> None:
        """Append an output to the first partition of the topic that fake workers publish to."""
        headers = [
            (name, str(number).encode()) for name, number in (("revision", revision), ("part", part), ("parts", parts))
        ]
        place = len(self.messages)
        self.messages.append(InMessage("OUT", 0, place, at, batch_id.encode(), value, headers))

    def _look(self, what: str) -> None:
        self.read.append(what)
        if self.is_away:
            message = f"{what} can't be read: there is no Kafka"
            raise NotReadable(message)

    async def count(self, topics: Sequence[str], since: float, until: float) -> Mapping[str, int]:
        self._look("counts")
        return {topic: sum(since <= at < until for at in self.written.get(topic, ())) for topic in topics}

    async def arrivals(self, topics: Sequence[str]) -> Mapping[str, Arrivals]:
        self._look("arrivals")
        return {topic: self.coming[topic] for topic in topics if topic in self.coming}

    async def outputs(self, batch_id: str, topic: str, partition: int, closings: Mapping[int, float]) -> Published:
        self._look("outputs")
        there = [one for one in self.messages if (one.topic, one.partition) == (topic, partition)]
        found = [one for one in there if one.key == batch_id.encode() and one.timestamp >= self.begins_at]
        return Published(found, not found and min(closings.values()) < self.begins_at)

    async def source_times(self, sources: Mapping[Source, float]) -> Mapping[Source, float]:
        self._look("times")
        return {one.source: one.timestamp for one in self.messages if one.source in sources}

    async def source_message(self, source: Source) -> InMessage | None:
        self._look("source")
        return next((one for one in self.messages if one.source == source), None)


class FakeWorker:
    """What `create_web` is given. Each batch has one source message, named like the batch, unless told otherwise."""

    def __init__(self, *partitions: int) -> None:
        self.url = "http://127.0.0.1:6066"
        self.settings = Settings(max_batch_age=MAX_AGE)
        self.is_live = True
        self.is_ready = True
        self.commands: list[Command] = []
        self.is_unconfirmed = False
        self.home: int | None = None
        self.others: dict[str, frozenset[int]] = {}
        self.records = {partition: MemoryRecords() for partition in partitions or (0,)}
        self.sets = {
            partition: WorkingSet(records, Rules(max_age=MAX_AGE)) for partition, records in self.records.items()
        }
        self.statistics = Statistics(Metrics(), lambda: 0.0)
        self.peers = Peers(self.settings)
        self.owned: list[Standing] = []
        self.logs: dict[str, dict[int, list[InMessage]]] = {
            topic: {0: [], 1: []}
            for topic in (self.settings.dead_letter_topic, self.settings.late_topic, self.settings.replayed_topic)
        }
        self.unreadable: str | None = None  # what is wrong with Kafka
        self.replays: list[tuple[list[tuple[int, int]], str, bool, bool]] = []
        self.topics = FakeTopics()
        self.webs: dict[object, tuple[Settings, Any]] = {}  # applications that were made for it, with its settings then
        self.context: dict[str, dict[str, Any]] = {}
        self.registry = metrics_registry(self.statistics, {}, dict, most_stations=10, build={})
        self.first_decisions: list[Decision] = []
        self._offset = 0

    def live(self) -> bool:
        return self.is_live

    def ready(self) -> bool:
        return self.is_ready

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        return expose(self.registry, accept)

    def members(self) -> Mapping[str, frozenset[int]]:
        return {self.url: frozenset(self.records)} | self.others

    def callbacks(self) -> tuple[int, int]:
        return (3, 5)

    def partition_of(self, batch_id: str) -> int:
        """`home` if that is set, else where it is, else the first: the hash is left to the real ones."""
        if self.home is not None:
            return self.home
        there = [partition for partition, working_set in self.sets.items() if working_set.look_up(batch_id)]
        return (there or sorted(self.records))[0]

    def context_of(self, station_id: str) -> Mapping[str, Any] | None:
        return self.context.get(station_id)

    def batch_timeout(self) -> float:
        return TIMEOUT

    async def send_command(self, command: Command) -> None:
        if self.is_unconfirmed:
            raise NotConfirmed
        self.commands.append(command)

    def standings(self) -> Sequence[Standing]:
        return self.owned

    @asynccontextmanager
    async def open_topic(
        self, topic: str, *, since: float | None = None, partitions: Collection[int] | None = None
    ) -> AsyncIterator[OpenTopic]:
        if self.unreadable is not None:
            raise NotReadable(self.unreadable)
        yield MemoryTopic(
            {
                partition: [message for message in log if since is None or message.timestamp >= since]
                for partition, log in self.logs[topic].items()
                if partitions is None or partition in partitions
            }
        )

    async def replay(
        self, places: Sequence[tuple[int, int]], *, operator: str, dry_run: bool, again: bool
    ) -> Sequence[Replay]:
        """Each letter that is there would go to T."""
        if self.unreadable is not None:
            raise NotReadable(self.unreadable)
        self.replays.append((list(places), operator, dry_run, again))
        letters = self.logs[self.settings.dead_letter_topic]
        there = {(partition, message.offset) for partition, log in letters.items() for message in log}
        fate = Fate.WOULD_SEND if dry_run else Fate.SENT
        return [
            Replay(place_of(*place), fate, "T")
            if place in there
            else Replay(place_of(*place), Fate.UNKNOWN, why="gone")
            for place in places
        ]

    def append(
        self,
        topic: str,
        value: bytes | None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        at: float = 100.0,
        key: bytes | None = None,
        partition: int = 0,
        hole: int = 0,
    ) -> int:
        """Append a message behind so many offsets without one; returns its offset."""
        log = self.logs[topic].setdefault(partition, [])
        offset = (log[-1].offset + 1 if log else 0) + hole
        pairs = [(name, text.encode()) for name, text in headers.items()]
        log.append(InMessage(topic, partition, offset, at, key, value, pairs))
        return offset

    def working_sets(self) -> Mapping[int, WorkingSet]:
        return self.sets

    def apply(self, event: BatchEvent, partition: int = 0) -> list[Effect]:
        self._offset += 1
        working_set = self.sets[partition]
        effects = working_set.apply(event, Position(self._offset, 0))
        for effect in effects:
            if isinstance(effect, Released):
                self.statistics.released(effect.decision)
                if effect.decision.revision == FIRST_REVISION:
                    self.first_decisions.append(effect.decision)
        released = {e.decision.batch_id: Destination("OUT", 0) for e in effects if isinstance(e, Released)}
        self.records[partition].write(working_set.take_writes(released))
        return effects

    def open(
        self,
        batch_id: str,
        stations: Iterable[str],
        *,
        at: float = 100.0,
        partition: int = 0,
        message: str | None = None,
    ) -> None:
        source = Source(message or batch_id, 0, 0)
        self.apply(Open(batch_id, source, at, at + TIMEOUT, tuple(stations)), partition)

    def arrive(
        self,
        batch_id: str,
        outcomes: Mapping[str, tuple[str, str | None]],
        *,
        at: float = 101.0,
        partition: int = 0,
        message: str | None = None,
    ) -> None:
        """Outcomes by station: the code and the value."""
        codes = "".join(code for code, _ in outcomes.values())
        values = [value for _, value in outcomes.values()]
        source = Source(message or batch_id, 0, 0)
        self.apply(Arrived(batch_id, source, at, list(outcomes), codes, values, {}), partition)

    def expire(self, batch_id: str, *, at: float, partition: int = 0) -> None:
        self.apply(Expire(batch_id, self.sets[partition].open[batch_id].deadline, at), partition)

    def publish(self, batch_id: str, *, partition: int = 0) -> None:
        self.records[partition].write(self.sets[partition].published(batch_id, 1))

    def forget(self, batch_id: str, *, partition: int = 0) -> None:
        closed = self.sets[partition].closed[batch_id]
        self.apply(Forget(batch_id, closed.closed_at, closed.closed_at + 3600), partition)

    def add_closed(self, batch_id: str, *, at: float, partition: int = 0) -> None:
        """A batch of one station, opened at `at`, and complete and published a second later."""
        self.open(batch_id, ["A"], at=at, partition=partition)
        self.arrive(batch_id, {"A": ("r", '{"station_id":"A"}')}, at=at + 1, partition=partition)
        self.publish(batch_id, partition=partition)

    def restart(self) -> None:
        """Rebuild everything from the stored records, as a new owner of the partitions does."""
        self.sets = {
            partition: WorkingSet(records, Rules(max_age=MAX_AGE)) for partition, records in self.records.items()
        }
        for working_set in self.sets.values():
            working_set.recover()
