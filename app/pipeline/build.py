"""The pipeline put together from settings, on top of any transport: the worker's and the test driver's are the same."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from app.callbacks.factory import make_runner
from app.callbacks.handlers import ResultHandler, StationResultHandler
from app.callbacks.outcome import Outcome
from app.callbacks.runner import Call, CallbackRunner, ModuleInput
from app.callbacks.user_functions import UserFunctions
from app.inputs.alignment import Alignment
from app.messages.message import Clock, Sender
from app.messages.output import OutputId
from app.messages.partitioner import Partitioner
from app.observability.batch_log import CallbackLog
from app.observability.counters import Metrics, Statistics
from app.observability.tracing import Traces
from app.pipeline.aggregation.aggregator import Aggregator, AggregatorConfig, StateStore
from app.pipeline.aggregation.effects import EffectWriter
from app.pipeline.aggregation.publisher import Publisher, PublisherConfig
from app.pipeline.failure_letters import FindSources, SourceLetters
from app.pipeline.pipeline import Pipeline
from app.pipeline.rules import rules_of, timeouts_of
from app.pipeline.shared import Shared
from app.pipeline.splitting.context_splitter import ContextSplitter, ContextSplitterConfig
from app.pipeline.splitting.flow_control import OpenBatches
from app.pipeline.splitting.pacing import Pacer
from app.pipeline.splitting.splitter import Splitter, SplitterConfig
from app.pipeline.splitting.transit import Transit
from app.pipeline.stations.agent import StationAgent
from app.pipeline.stations.context import StationContext
from app.pipeline.stations.outcomes import OutcomeGatherer
from app.pipeline.stations.passthrough import PassThrough, PassThroughConfig
from app.settings import Settings
from tables.model.timeouts import TimeoutPolicy

__all__ = ["build_pipeline"]

FORGET_GRACE = 30.0

FindOutputs = Callable[[str, int, float], Awaitable[set[OutputId]]]


def build_pipeline(
    settings: Settings,
    functions: UserFunctions,
    *,
    sender: Sender,
    store: StateStore,
    clock: Clock,
    output_partitions: int,
    output_limit: int | None = None,
    find_outputs: FindOutputs,
    find_sources: FindSources,
    on_error: Callable[[BaseException], None],
    statistics: Statistics | None = None,
    traces: Traces | None = None,
) -> Pipeline:
    """Wire the parts together.

    `output_limit` is the largest value that the output topic takes, in bytes; None when that is not known. `on_error`
    gets what must stop the worker: nothing is acknowledged after it. `statistics` is where everything is counted;
    `traces` makes spans of it.
    """
    shared = Shared(
        settings=settings,
        sender=sender,
        store=store,
        clock=clock,
        on_error=on_error,
        statistics=statistics or Statistics(Metrics(), clock),
        traces=traces or Traces(),
        output_limit=output_limit,
    )
    timeouts = timeouts_of(settings)
    open_batches = OpenBatches(
        settings.max_open_batches, partitioner=shared.partitioner, clock=clock, language=settings.log_language
    )
    transit = Transit(open_batches.own_partitions)
    handler, station_handler = _result_handler(shared, functions), _station_handler(shared, functions)
    publisher = _publisher(shared, handler, output_partitions, find_outputs)
    stations = _stations(shared, functions, station_handler, transit)
    return Pipeline(
        splitter=_splitter(shared, timeouts, open_batches, stations, transit),
        open_batches=open_batches,
        context_splitter=_context_splitter(shared),
        stations=stations,
        aggregator=_aggregator(shared, publisher, timeouts, open_batches, find_sources),
        publisher=publisher,
        handler=handler,
        station_handler=station_handler,
        metrics=shared.metrics,
        statistics=shared.statistics,
        timeouts=timeouts,
    )


def _result_handler(shared: Shared, functions: UserFunctions) -> ResultHandler | None:
    if functions.result_handler is None:
        return None
    settings = shared.settings
    return ResultHandler(
        functions.result_handler,
        name=settings.result_handler or "result_handler",
        sender=shared.sender,
        timeout=settings.handler_timeout,
        retries=settings.handler_retries,
    )


def _station_handler(shared: Shared, functions: UserFunctions) -> StationResultHandler | None:
    if functions.station_result_handler is None:
        return None
    settings = shared.settings
    return StationResultHandler(
        functions.station_result_handler,
        name=settings.station_result_handler or "station_result_handler",
        timeout=settings.handler_timeout,
        retries=settings.handler_retries,
        concurrency=settings.concurrency,
    )


def _publisher(
    shared: Shared, handler: ResultHandler | None, output_partitions: int, find_outputs: FindOutputs
) -> Publisher:
    settings, partitioner = shared.settings, shared.partitioner
    return Publisher(
        PublisherConfig(
            settings.output_topic,
            settings.module,
            settings.output_meta,
            shared.largest,
            shared.most,
            rules_of(settings).partial,
        ),
        partitioner=partitioner if output_partitions == settings.partitions else Partitioner(output_partitions),
        sender=shared.sender,
        save=shared.store.save,
        handler=handler,
        dead_letters=shared.dead_letters,
        find_outputs=find_outputs,
        on_error=shared.on_error,
        log=shared.log,
        metrics=shared.metrics,
        traces=shared.traces,
    )


def _stations(
    shared: Shared, functions: UserFunctions, handler: StationResultHandler | None, transit: Transit
) -> StationAgent:
    settings, clock = shared.settings, shared.clock

    def runner(
        module_input: Callable[[Call], ModuleInput], on_outcome: Callable[[Call, Outcome], None]
    ) -> CallbackRunner:
        return make_runner(
            settings,
            functions,
            log=CallbackLog(logging.getLogger("app.callbacks"), settings.log_language, functions.name, clock),
            module_input=module_input,
            on_outcome=on_outcome,
            clock=clock,
            max_result_bytes=shared.largest,
            observe=shared.statistics.callback,
        )

    alignment = Alignment(settings.timezone, settings.fill, settings.window_step, settings.window_size)
    stations = StationAgent(
        make_runner=runner,
        gatherer=OutcomeGatherer(
            settings.batch_events_topic,
            sender=shared.sender,
            clock=clock,
            busy=lambda: stations.runner.upcoming is not None or transit.age(clock()) > 0,
            on_error=shared.on_error,
        ),
        alignment=alignment,
        partitioner=shared.partitioner,
        sender=shared.sender,
        dead_letters=shared.dead_letters,
        passthrough=_passthrough(shared, handler),
        passthrough_topics=frozenset(settings.passthrough_topics),
        context=_station_context(shared, alignment),
        traces=shared.traces,
        transit=transit,
        clock=clock,
    )
    return stations


def _passthrough(shared: Shared, handler: StationResultHandler | None) -> PassThrough:
    settings = shared.settings
    return PassThrough(
        PassThroughConfig(settings.output_topic, settings.module, shared.largest, shared.most, settings.concurrency),
        sender=shared.sender,
        handler=handler,
        dead_letters=shared.dead_letters,
        on_error=shared.on_error,
    )


def _station_context(shared: Shared, alignment: Alignment) -> StationContext:
    return StationContext(
        shared.settings.context_topics,
        store=shared.store,
        alignment=alignment,
        partitioner=shared.partitioner,
        sender=shared.sender,
        dead_letters=shared.dead_letters,
        on_error=shared.on_error,
    )


def _splitter(
    shared: Shared, timeouts: TimeoutPolicy, open_batches: OpenBatches, stations: StationAgent, transit: Transit
) -> Splitter:
    settings = shared.settings
    return Splitter(
        SplitterConfig(
            settings.station_events_topic,
            settings.batch_events_topic,
            frozenset(settings.passthrough_topics),
            settings.envelope_keys,
            settings.timezone,
            settings.max_batch_age,
        ),
        sender=shared.sender,
        dead_letters=shared.dead_letters,
        partitioner=shared.partitioner,
        timeouts=timeouts,
        open_batches=open_batches,
        pacer=Pacer(stations.pace, transit, shared.clock),
        transit=transit,
        clock=shared.clock,
        log=shared.log,
        metrics=shared.metrics,
        traces=shared.traces,
    )


def _context_splitter(shared: Shared) -> ContextSplitter:
    settings = shared.settings
    return ContextSplitter(
        ContextSplitterConfig(settings.station_events_topic, settings.envelope_keys, settings.timezone),
        sender=shared.sender,
        dead_letters=shared.dead_letters,
        partitioner=shared.partitioner,
        log=shared.log,
        metrics=shared.metrics,
    )


def _aggregator(
    shared: Shared,
    publisher: Publisher,
    timeouts: TimeoutPolicy,
    open_batches: OpenBatches,
    find_sources: FindSources,
) -> Aggregator:
    settings, dead_letters, log = shared.settings, shared.dead_letters, shared.log
    return Aggregator(
        AggregatorConfig(
            settings.batch_events_topic,
            rules_of(settings),
            settings.closed_ttl,
            settings.closed_max,
            settings.max_batch_age + settings.station_timeout + FORGET_GRACE,
        ),
        store=shared.store,
        sender=shared.sender,
        publisher=publisher,
        effects=EffectWriter(
            settings.late_topic, dead_letters=dead_letters, log=log, statistics=shared.statistics, timeouts=timeouts
        ),
        source_letters=SourceLetters(find_sources, envelope_keys=settings.envelope_keys, timezone=settings.timezone),
        dead_letters=dead_letters,
        timeouts=timeouts,
        open_batches=open_batches,
        clock=shared.clock,
        log=log,
    )
