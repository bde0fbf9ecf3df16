"""The pipeline put together from settings, on top of any transport: the worker's and the test driver's are the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.aggregator import Aggregator, AggregatorConfig, StateStore
from app.callback_log import CallbackLog
from app.callbacks import Call, CallbackRunner, ModuleInput
from app.context_splitter import ContextSplitter, ContextSplitterConfig
from app.dead_letters import DeadLetters
from app.effects import EffectWriter
from app.failure_letters import FindSources, SourceLetters
from app.handler import ResultHandler, StationResultHandler
from app.log import BatchLog
from app.metrics import Metrics
from app.module_input import Alignment
from app.open_batches import OpenBatches
from app.outcomes import OutcomeGatherer
from app.output import OUTPUT_HEADROOM, RECORD_OVERHEAD
from app.partitions import Partitioner
from app.passthrough import PassThrough, PassThroughConfig
from app.publisher import OutputId, Publisher, PublisherConfig
from app.results import Outcome
from app.rules import rules_of, timeouts_of
from app.runners import make_runner
from app.settings import Settings
from app.splitter import Splitter, SplitterConfig
from app.station_context import StationContext
from app.stations import StationAgent
from app.statistics import Statistics
from app.traces import Traces
from app.transit import Transit
from app.transport import Clock, Sender
from app.user_functions import UserFunctions
from tables.timeouts import TimeoutPolicy

__all__ = ["Pipeline", "UserFunctions", "build_pipeline"]

FORGET_GRACE = 30.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts of one worker."""

    splitter: Splitter
    open_batches: OpenBatches
    context_splitter: ContextSplitter
    stations: StationAgent
    aggregator: Aggregator
    publisher: Publisher
    handler: ResultHandler | None
    station_handler: StationResultHandler | None
    metrics: Metrics
    statistics: Statistics
    timeouts: TimeoutPolicy

    async def start(self) -> None:
        """Get ready to take events."""
        await self.stations.runner.start()

    async def cancel(self) -> None:
        """Give everything in flight up, unacknowledged: the partitions are being taken away, or the worker stops."""
        await asyncio.gather(self.stations.cancel(), self.aggregator.settle())
        await self.publisher.cancel()
        self.aggregator.drop_all()

    async def stop(self) -> None:
        """End for good, within about a second even when a user's function hangs."""
        await self.cancel()
        await self.stations.runner.stop()
        for handler in self.handlers:
            handler.close()

    @property
    def handlers(self) -> list[ResultHandler | StationResultHandler]:
        """Those that the user has given."""
        return [handler for handler in (self.handler, self.station_handler) if handler is not None]


def build_pipeline(
    settings: Settings,
    functions: UserFunctions,
    *,
    sender: Sender,
    store: StateStore,
    clock: Clock,
    output_partitions: int,
    output_limit: int | None = None,
    find_outputs: Callable[[str, int, float], Awaitable[set[OutputId]]],
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
    largest = min(settings.max_message_bytes, output_limit or settings.max_message_bytes)
    statistics, traces = statistics or Statistics(Metrics(), clock), traces or Traces()
    metrics = statistics.metrics
    partitioner = Partitioner(settings.partitions)
    log = BatchLog(
        logging.getLogger("app.batches"),
        settings.log_language,
        clock,
        place=lambda batch_id: (settings.batch_events_topic, partitioner(batch_id)),
    )
    dead_letters = DeadLetters(settings.dead_letter_topic, log=log, metrics=metrics)
    handler = None
    if functions.result_handler is not None:
        handler = ResultHandler(
            functions.result_handler,
            name=settings.result_handler or "result_handler",
            sender=sender,
            timeout=settings.handler_timeout,
            retries=settings.handler_retries,
        )
    station_handler = None
    if functions.station_result_handler is not None:
        station_handler = StationResultHandler(
            functions.station_result_handler,
            name=settings.station_result_handler or "station_result_handler",
            timeout=settings.handler_timeout,
            retries=settings.handler_retries,
            concurrency=settings.concurrency,
        )
    most = output_limit or settings.max_message_bytes + OUTPUT_HEADROOM - RECORD_OVERHEAD
    rules, timeouts = rules_of(settings), timeouts_of(settings)
    open_batches = OpenBatches(
        settings.max_open_batches, partitioner=partitioner, clock=clock, language=settings.log_language
    )
    publisher = Publisher(
        PublisherConfig(
            settings.output_topic,
            settings.module,
            settings.output_meta,
            largest,
            most,
            rules.partial,
        ),
        partitioner=partitioner if output_partitions == settings.partitions else Partitioner(output_partitions),
        sender=sender,
        save=store.save,
        handler=handler,
        dead_letters=dead_letters,
        find_outputs=find_outputs,
        on_error=on_error,
        log=log,
        metrics=metrics,
        traces=traces,
    )

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
            max_result_bytes=largest,
            observe=statistics.callback,
        )

    alignment = Alignment(settings.timezone, settings.fill, settings.window_step, settings.window_size)
    transit = Transit(open_batches.own_partitions)
    stations = StationAgent(
        make_runner=runner,
        gatherer=OutcomeGatherer(
            settings.batch_events_topic,
            sender=sender,
            clock=clock,
            busy=lambda: stations.runner.upcoming is not None or transit.age(clock()) > 0,
            on_error=on_error,
        ),
        alignment=alignment,
        partitioner=partitioner,
        sender=sender,
        dead_letters=dead_letters,
        passthrough=PassThrough(
            PassThroughConfig(settings.output_topic, settings.module, largest, most, settings.concurrency),
            sender=sender,
            handler=station_handler,
            dead_letters=dead_letters,
            on_error=on_error,
        ),
        passthrough_topics=frozenset(settings.passthrough_topics),
        context=StationContext(
            settings.context_topics,
            store=store,
            alignment=alignment,
            partitioner=partitioner,
            sender=sender,
            dead_letters=dead_letters,
            on_error=on_error,
        ),
        traces=traces,
        transit=transit,
        clock=clock,
    )
    return Pipeline(
        splitter=Splitter(
            SplitterConfig(
                settings.station_events_topic,
                settings.batch_events_topic,
                frozenset(settings.passthrough_topics),
                settings.envelope_keys,
                settings.timezone,
                settings.max_batch_age,
            ),
            sender=sender,
            dead_letters=dead_letters,
            partitioner=partitioner,
            timeouts=timeouts,
            open_batches=open_batches,
            lag=stations.lag,
            transit=transit,
            clock=clock,
            log=log,
            metrics=metrics,
            traces=traces,
        ),
        open_batches=open_batches,
        context_splitter=ContextSplitter(
            ContextSplitterConfig(settings.station_events_topic, settings.envelope_keys, settings.timezone),
            sender=sender,
            dead_letters=dead_letters,
            partitioner=partitioner,
            log=log,
            metrics=metrics,
        ),
        stations=stations,
        aggregator=Aggregator(
            AggregatorConfig(
                settings.batch_events_topic,
                rules,
                settings.closed_ttl,
                settings.closed_max,
                settings.max_batch_age + settings.station_timeout + FORGET_GRACE,
            ),
            store=store,
            sender=sender,
            publisher=publisher,
            effects=EffectWriter(
                settings.late_topic, dead_letters=dead_letters, log=log, statistics=statistics, timeouts=timeouts
            ),
            source_letters=SourceLetters(
                find_sources, envelope_keys=settings.envelope_keys, timezone=settings.timezone
            ),
            dead_letters=dead_letters,
            timeouts=timeouts,
            open_batches=open_batches,
            clock=clock,
            log=log,
        ),
        publisher=publisher,
        handler=handler,
        station_handler=station_handler,
        metrics=metrics,
        statistics=statistics,
        timeouts=timeouts,
    )
