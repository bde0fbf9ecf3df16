"""A worker's status: what its web and its metrics may ask, and the operators' commands that its web sends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import CollectorRegistry

from app.inputs.guns import AlignmentError
from app.inputs.timestamps import parse_time
from app.kafka.browsing import CannotLook, TopicView, looking_into
from app.kafka.consumer import AggregatorConsumer
from app.kafka.producer import KafkaSender
from app.kafka.reading import OffsetRange
from app.kafka.replay import replay_letters
from app.kafka.topics import TopicError, changelog_topic
from app.messages.frames import event_frames
from app.messages.message import InMessage, SendError
from app.messages.partitioner import partition_of
from app.messages.replays import Replay
from app.observability.counters import ContextSize, Statistics, oldest_open_age, open_batches
from app.observability.log_lines import Throttle
from app.observability.open_times import OpenTime
from app.observability.peers import Peers
from app.observability.prometheus import Gauges, expose, metrics_registry
from app.pipeline.build import Pipeline, TopicKind, timeouts_of
from app.settings import Settings
from app.web.state import NotConfirmed, Standing
from app.web.topics import NotReadable, OpenTopic, Window
from app.worker.topics import WorkerTopics
from tables.model.events import Command, Open
from tables.storage.records import Table
from tables.working_set import WorkingSet

PEERS_SECONDS: Final = 1.0  # between two looks at who has joined
SIZES_SECONDS: Final = 10.0  # between two counts of what is known of the context topics
POINTS_SHOWN: Final = 12  # of a window of context
OPENS_SECONDS: Final = 0.1  # between two looks at the times of an `open` event
_GUN_COLUMNS: Final = frozenset({"gunNo", "hostCode"})


class Worker(Protocol):
    """The worker whose status this is: `AggregatorApp`."""

    settings: Settings
    statistics: Statistics
    url: str

    @property
    def should_stop(self) -> bool:
        """Whether it is stopping."""

    @property
    def reader(self) -> AggregatorConsumer:
        """The consumer; there once the worker has started."""

    @property
    def assignor(self) -> Any:
        """The `AggregatorAssignor`."""

    def live(self) -> bool:
        """Say whether the worker works at all."""

    def ready(self) -> bool:
        """Say whether it is in the group and its assignment is recovered."""


@contextmanager
def _as_the_web_knows_it() -> Iterator[None]:
    """Take what may be wrong with Kafka for a topic that can't be read now."""
    try:
        yield
    except (CannotLook, TopicError) as error:
        raise NotReadable(str(error)) from error
    except (KafkaError, OSError) as error:
        message = f"Kafka can't be asked now: {error or repr(error)}"
        raise NotReadable(message) from error


class _View:
    """A topic as the web sees it."""

    def __init__(self, view: TopicView) -> None:
        self._view = view
        self.held: Mapping[int, Window] = {
            partition: Window(held.start, held.end) for partition, held in view.held.items()
        }

    async def read(self, windows: Mapping[int, Window], most: int) -> Mapping[int, Sequence[InMessage]]:
        """Return the messages of these windows; see `OpenTopic`."""
        ranges = {partition: OffsetRange(*window) for partition, window in windows.items()}
        with _as_the_web_knows_it():
            return await self._view.read(ranges, most)


class WorkerStatus:
    """Reads the worker when it is asked; there before the worker has started."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._sender: KafkaSender | None = None
        self._pipeline: Pipeline | None = None
        self.settings = settings = worker.settings
        self.statistics = worker.statistics
        self.peers = Peers(settings)
        self.topics = WorkerTopics(settings)
        self._opens = Throttle(OPENS_SECONDS)
        self._sizes: tuple[float, Mapping[str, ContextSize]] | None = None
        self.live, self.ready = worker.live, worker.ready
        self._kinds = {
            settings.station_events_topic: TopicKind.STATION_EVENTS,
            settings.batch_events_topic: TopicKind.BATCH_EVENTS,
            settings.output_topic: "output",
            settings.late_topic: "late",
            settings.dead_letter_topic: "dead-letter",
            **{changelog_topic(settings.app_id, table): "changelog" for table in Table},
        }

    def started(self, sender: KafkaSender, pipeline: Pipeline) -> None:
        """Take over what there is only once the worker has started: the sender of commands, and the pipeline."""
        self._sender, self._pipeline = sender, pipeline

    def opened(self, event: Open, message: InMessage) -> None:
        """Take what an `open` event tells of its sender's clock, if it was sent since the latest assignment.

        A few a second are enough, and many batches may open in one.
        """
        now = time.time()
        if not self._opens.passes(now):
            return
        worker, source = self._worker, event.source
        after = worker.reader.appended_after(TP(message.topic, message.partition), message.offset)
        sender = worker.assignor.owner_of(source.topic, source.partition)
        if sender is not None and after is not None and after > worker.assignor.assigned_at and message.is_dated:
            times = OpenTime(event.opened_at, message.timestamp, event.deadline, after, now)
            self.peers.opened(sender, times, own=sender == self.url)

    async def watch_peers(self) -> None:
        """Look which workers there are, and tell what is wrong with them, until the worker stops."""
        while not self._worker.should_stop:
            self.peers.joined(self._worker.assignor.others)
            self.peers.keep(self.members().keys())
            await asyncio.sleep(PEERS_SECONDS)

    # -- for the web -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """URL at which other workers reach this one."""
        return self._worker.url

    def callbacks(self) -> tuple[int, int]:
        """Return how many stations' callbacks run, and how many wait for theirs."""
        runner = self._pipeline.stations.runner if self._pipeline else None
        return (runner.running, max(0, runner.pending - runner.running)) if runner else (0, 0)

    def context_of(self, station_id: str) -> Mapping[str, Any] | None:
        """Return a station's context by topic, None where this worker does not keep that station's."""
        if self._pipeline is None or self.partition_of(station_id) not in self.working_sets():
            return None
        context = self._pipeline.stations.context_of(station_id)
        return shown_context(context, self.settings.timezone, time.time())

    def batch_timeout(self) -> float:
        """Return the seconds that a batch like the one that closed last would be given, if it were opened now."""
        timeouts = self._pipeline.timeouts if self._pipeline else timeouts_of(self.settings)
        return timeouts.usual(time.time())

    def working_sets(self) -> Mapping[int, WorkingSet]:
        """Return the batches of each partition that is the worker's."""
        return self._pipeline.aggregator.sets if self._pipeline else {}

    def members(self) -> Mapping[str, frozenset[int]]:
        """Return the partitions of batches by the URL of the worker that owns them, as of the latest assignment."""
        members: Mapping[str, frozenset[int]] = self._worker.assignor.members(self.settings.batch_events_topic)
        return members

    def partition_of(self, batch_id: str) -> int:
        """Return the partition of a batch."""
        return partition_of(batch_id.encode(), self.settings.partitions)

    async def send_command(self, command: Command) -> None:
        """Append an operator's command to the log of its batch, which may be another worker's.

        Raises:
            NotConfirmed: The broker has not confirmed it.
        """
        if self._sender is None:
            message = "this worker has not started yet"
            raise NotConfirmed(message)
        topic = self.settings.batch_events_topic
        try:
            await self._sender.send(event_frames(topic, self.partition_of(command.batch_id), [command]))
        except SendError as error:
            raise NotConfirmed(str(error)) from error

    def standings(self) -> list[Standing]:
        """Return the partitions that are assigned to this worker; how far they are is known once it is ready."""
        if self._pipeline is None:
            return []
        reader, ready = self._worker.reader, self.ready()
        return [
            Standing(
                *tp,
                committed=reader.committed(tp) if ready else None,
                end=reader.highwater(tp) if ready else None,
                lag=reader.lag(tp) if ready else None,
                oldest_unacknowledged_at=reader.oldest_in_flight(tp) if ready else None,
            )
            for tp in reader.owned()
        ]

    @asynccontextmanager
    async def open_topic(
        self, topic: str, *, since: float | None = None, partitions: Collection[int] | None = None
    ) -> AsyncIterator[OpenTopic]:
        """Open a topic for reading; see `WorkerState`."""
        with _as_the_web_knows_it():
            async with looking_into(self.settings, topic, since=since, partitions=partitions) as view:
                yield _View(view)

    async def replay(
        self, places: Sequence[tuple[int, int]], *, operator: str, dry_run: bool, again: bool
    ) -> Sequence[Replay]:
        """Send dead letters again; see `WorkerState`."""
        with _as_the_web_knows_it():
            return await replay_letters(self.settings, places, operator=operator, dry_run=dry_run, again=again)

    # -- metrics -----------------------------------------------------------------------------------------------------

    def read(self, kind: str, messages: Sequence[InMessage]) -> None:
        """Count messages that have come in from topics of one kind."""
        size = sum([len(message.value or b"") for message in messages])
        self.statistics.metrics.moved(kind, "in", len(messages), size)

    def written(self, topic: str, messages: int, size: int) -> None:
        """Count messages, of so many bytes in all, that the broker has confirmed."""
        self.statistics.metrics.moved(self._kinds.get(topic, "other"), "out", messages, size)

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """Return all metrics in the format that an `Accept` header asks for, and the content type."""
        return expose(self._registry, accept)

    @cached_property
    def _registry(self) -> CollectorRegistry:
        return metrics_registry(
            self.statistics,
            self._gauges(),
            self._group_lag,
            most_stations=self.settings.metrics_stations,
            build={"app_id": self.settings.app_id, "module": self.settings.module},
            context=self._context_sizes,
        )

    def _context_sizes(self) -> Mapping[str, ContextSize]:
        """Return what is known of each context topic; counted at most each few seconds, as it takes a while."""
        now = time.time()
        if self._sizes is None or not 0.0 <= now - self._sizes[0] < SIZES_SECONDS:
            sizes = self._pipeline.stations.context_sizes(self.working_sets()) if self._pipeline else {}
            self._sizes = now, sizes
        return self._sizes[1]

    def _gauges(self) -> Gauges:
        worker, settings, sets = self._worker, self.settings, self.working_sets

        def of(read: Callable[[Pipeline], float]) -> Callable[[], float]:
            return lambda: read(self._pipeline) if self._pipeline else 0.0

        return {
            "live": self.live,
            "ready": self.ready,
            "partitions": lambda: len(sets()),
            "open_batches": lambda: open_batches(sets()),
            "oldest_open_age_seconds": lambda: oldest_open_age(sets(), time.time()) or 0.0,
            "max_batch_age_seconds": lambda: settings.max_batch_age,
            "unclosed_batches": of(lambda pipeline: len(pipeline.open_batches)),
            "max_open_batches": lambda: settings.max_open_batches,
            "reading_waits": of(lambda pipeline: pipeline.open_batches.waiting),
            "closed_records": lambda: sum(len(working_set.closed) for working_set in sets().values()),
            "heartbeat_age_seconds": lambda: worker.reader.heartbeat_age() if self.ready() else 0.0,
            "callbacks_pending": of(lambda pipeline: pipeline.stations.runner.pending),
            "callbacks_running": of(lambda pipeline: pipeline.stations.runner.running),
            "settings_differ": lambda: len(self.peers.keys_that_differ),
            "clock_offset_seconds": lambda: self.peers.largest_offset,
        }

    def _group_lag(self) -> Counter[str]:
        """Count the messages not done yet, by topic."""
        lag: Counter[str] = Counter()
        if self.ready():
            reader = self._worker.reader
            for tp in reader.ledger.partitions():
                lag[tp.topic] += reader.lag(tp)
        return lag


def shown_context(
    context: Mapping[str, Mapping[str, list[Any]] | AlignmentError], timezone: ZoneInfo, now: float
) -> dict[str, Any]:
    """Return by topic how many points there are, the newest's time and age in seconds, and the latest columns.

    Args:
        context: columns by topic, as a callback gets them, or why they can't be made.
        timezone: of their `sendTime`.
        now: Unix seconds.
    """
    return {
        topic: {"error": str(columns)} if isinstance(columns, AlignmentError) else _shown(columns, timezone, now)
        for topic, columns in context.items()
    }


def _shown(columns: Mapping[str, list[Any]], timezone: ZoneInfo, now: float) -> dict[str, Any]:
    times = columns.get("sendTime", [])
    newest = parse_time(times[-1], timezone) if times else None
    of_guns = _GUN_COLUMNS if "gunNo" in columns else ()
    return {
        "points": len(times),
        "newest": newest,
        "age": None if newest is None else now - newest,
        "columns": {name: [*values] if name in of_guns else values[-POINTS_SHOWN:] for name, values in columns.items()},
    }
