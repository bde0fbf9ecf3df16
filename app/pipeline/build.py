"""The pipeline put together from settings, on top of any backend: the worker's and the test driver's are the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypedDict

from app.callbacks.handlers import ResultHandler, StationResultHandler
from app.callbacks.loading import UserFunctions
from app.messages.message import Clock, Delivery, Sender
from app.messages.partitioner import Partitioner
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics, Statistics
from app.observability.tracing import Traces
from app.pipeline.aggregation.aggregator import Aggregator, OnOpen, ignore_open
from app.pipeline.aggregation.effects import EffectWriter
from app.pipeline.aggregation.publisher import Publisher
from app.pipeline.dead_letters import LetterSender
from app.pipeline.ports import SETTLE_SECONDS, Backend, Telemetry
from app.pipeline.splitting.flow_control import FlowControl, OpenBatches
from app.pipeline.splitting.splitter import Splitter
from app.pipeline.stations.agent import StationAgent
from app.pipeline.stations.context import ContextSplitter, SilentTopics
from app.settings import Settings
from app.settings.enums import TimeoutMode
from tables.model.policies import PartialPolicy, ReleasePolicy, Rules
from tables.model.timeouts import AdaptiveTimeout, FixedTimeout, TimeoutPolicy

# -- the parts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts of one worker, and how they start and end together."""

    splitter: Splitter
    open_batches: OpenBatches
    context_splitter: ContextSplitter
    silence: SilentTopics
    stations: StationAgent
    aggregator: Aggregator
    handlers: Sequence[ResultHandler | StationResultHandler]  # those that the user has given
    metrics: Metrics
    timeouts: TimeoutPolicy

    async def start(self) -> None:
        """Get ready to take events."""
        await self.stations.runner.start()

    async def cancel(self) -> None:
        """Give everything in flight up, unacknowledged: the partitions are being taken away, or the worker stops."""
        await asyncio.gather(self.stations.cancel(), self.aggregator.settle())
        await self.aggregator.cancel()

    async def stop(self) -> None:
        """End for good, within about a second even when a user's function hangs."""
        await self.cancel()
        await self.stations.runner.stop()
        for handler in self.handlers:
            handler.close()


class _SplitterParts(TypedDict):
    """What both splitters are made with."""

    sender: Sender
    partitioner: Partitioner
    clock: Clock
    telemetry: Telemetry


def build_pipeline(
    settings: Settings,
    functions: UserFunctions,
    backend: Backend,
    *,
    clock: Clock,
    on_error: Callable[[BaseException], None],
    statistics: Statistics | None = None,
    traces: Traces | None = None,
    on_open: OnOpen = ignore_open,
) -> Pipeline:
    """Wire the parts together.

    `on_error` gets what must stop the worker: nothing is acknowledged after it. `statistics` counts everything;
    `traces` makes spans of it. `on_open` gets each `open` event of the batches' log with its message.
    """
    partitioner = Partitioner(settings.partitions)
    log = _batch_log(settings, partitioner, clock)
    telemetry = Telemetry(log, statistics or Statistics(Metrics(), clock), traces or Traces())
    backend = replace(backend, sender=LetterSender(backend.sender, telemetry))
    sender, partitions = backend.sender, backend.output_partitions
    handler, station_handler = _handlers(settings, functions, sender)
    rules, timeouts = rules_of(settings), timeouts_of(settings)
    open_batches = OpenBatches(settings, partitioner, clock)
    parts: _SplitterParts = {"sender": sender, "partitioner": partitioner, "clock": clock, "telemetry": telemetry}
    stations = StationAgent(
        settings,
        functions,
        backend,
        partitioner=partitioner,
        handler=station_handler,
        telemetry=telemetry,
        clock=clock,
        on_error=on_error,
    )
    publisher = Publisher(
        settings,
        backend,
        partitioner=partitioner if partitions == settings.partitions else Partitioner(partitions),
        partial_policy=rules.partial,
        handler=handler,
        open_batches=open_batches,
        telemetry=telemetry,
        on_error=on_error,
    )
    return Pipeline(
        splitter=Splitter(
            settings,
            **parts,
            timeouts=timeouts,
            flow=FlowControl(open_batches, stations.in_flight, stations, clock),
        ),
        open_batches=open_batches,
        context_splitter=ContextSplitter(settings, **parts),
        silence=SilentTopics(settings, log, telemetry.statistics, clock),
        stations=stations,
        aggregator=Aggregator(
            settings,
            backend,
            rules=rules,
            publisher=publisher,
            effects=EffectWriter(settings, timeouts, telemetry),
            open_batches=open_batches,
            clock=clock,
            on_open=on_open,
        ),
        handlers=[given for given in (handler, station_handler) if given is not None],
        metrics=telemetry.statistics.metrics,
        timeouts=timeouts,
    )


def _batch_log(settings: Settings, partitioner: Partitioner, clock: Clock) -> BatchLog:
    topic = settings.batch_events_topic
    return BatchLog(
        logging.getLogger("app.batches"),
        settings.log_language,
        clock,
        place=lambda batch_id: (topic, partitioner(batch_id)),
    )


def _handlers(
    settings: Settings, functions: UserFunctions, sender: Sender
) -> tuple[ResultHandler | None, StationResultHandler | None]:
    """Make the result handlers that the user has given."""
    batches, stations = functions.result_handler, functions.station_result_handler
    return (
        None if batches is None else ResultHandler(batches, settings, sender),
        None if stations is None else StationResultHandler(stations, settings),
    )


# -- the policies that the settings choose -----------------------------------------------------------------------------


def rules_of(settings: Settings) -> Rules:
    """Return the rules by which the batches of a partition close."""
    required = frozenset(settings.required_stations)
    return Rules(
        max_age=settings.max_batch_age,
        partial=PartialPolicy(settings.partial_min_ratio, required),
        release=ReleasePolicy(settings.release_ratio, required),
        late=settings.late_policy,
        revise_delay=settings.revise_delay,
    )


def timeouts_of(settings: Settings) -> TimeoutPolicy:
    """Return what decides how much time a batch is given when it is opened."""
    if settings.timeout_mode is TimeoutMode.ADAPTIVE:
        return AdaptiveTimeout(settings.batch_timeout, settings.timeout_min, settings.timeout_max)
    return FixedTimeout(settings.batch_timeout)


# -- the agents --------------------------------------------------------------------------------------------------------

Handler = Callable[[Sequence[Delivery]], Awaitable[None]]


class TopicKind(StrEnum):
    """Kinds of topics that messages come from; the label `topic` of metrics."""

    SOURCE = "source"
    CONTEXT = "context"
    STATION_EVENTS = "station-events"
    BATCH_EVENTS = "batch-events"


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent.

    Attributes:
        name: what log lines call it.
        kind: of its topics.
        topics: what it reads.
        purpose: for `faust agents`.
        handler: gets the messages that have piled up, and acknowledges each when what was made of it is stored.
        grace: seconds that work in progress gets to end when partitions are taken away.
    """

    name: str
    kind: TopicKind
    topics: Sequence[str]
    purpose: str
    handler: Callable[[Pipeline], Handler]
    grace: Callable[[Pipeline], float] = lambda _: SETTLE_SECONDS


def agents_of(settings: Settings) -> list[Agent]:
    """List the agents that have something to read."""
    agents = [
        Agent(
            "splitter",
            TopicKind.SOURCE,
            settings.batch_topics,
            "Source messages into batches and stations",
            lambda pipeline: pipeline.splitter.handle,
            # While it waits for room nothing of its own is in flight.
            lambda pipeline: 0.0 if pipeline.open_batches.waiting else SETTLE_SECONDS,
        ),
        Agent(
            "singles",
            TopicKind.SOURCE,
            settings.passthrough_topics,
            "Messages whose stations pass through",
            lambda pipeline: pipeline.splitter.handle,
        ),
        Agent(
            "context",
            TopicKind.CONTEXT,
            settings.context_names,
            "The newest records of stations, and windows",
            lambda pipeline: pipeline.context_splitter.handle,
        ),
        Agent(
            "stations",
            TopicKind.STATION_EVENTS,
            [settings.station_events_topic],
            "Callbacks",
            lambda pipeline: pipeline.stations.handle,
            lambda _: 0.0,
        ),
        Agent(
            "aggregator",
            TopicKind.BATCH_EVENTS,
            [settings.batch_events_topic],
            "Results into batches, and their outputs",
            lambda pipeline: pipeline.aggregator.handle,
        ),
    ]
    return [agent for agent in agents if agent.topics]
