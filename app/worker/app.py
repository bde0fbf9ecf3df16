"""The worker: Faust's application with our consumer, our tables and our web server, around the pipeline."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn, cast

import faust
from aiokafka.errors import KafkaError
from yarl import URL

from app.callbacks.loading import FunctionError, UserFunctions, find_functions
from app.callbacks.runner import CallbackRunner
from app.kafka.client import find_outputs, find_sources, survive_lost_connections
from app.kafka.consumer import AggregatorConsumer, AggregatorTransport
from app.kafka.delivery import Fetched
from app.kafka.producer import BATCH_BYTES, KafkaSender, SendError
from app.kafka.state_store import TableState
from app.kafka.topics import message_bytes, topic_specs
from app.observability.counters import Metrics
from app.observability.log_lines import Line, tell
from app.observability.statistics import Statistics
from app.observability.tracing import Traces
from app.pipeline.build import Pipeline, build_pipeline, timeouts_of
from app.pipeline.ports import Backend
from app.pipeline.splitting.flow_control import OpenBatches
from app.settings import Settings, SettingsError
from app.web.server import WebServer
from app.worker.agents import Intakes
from app.worker.faust_command import OwnWebOnly
from app.worker.figures import WorkerFigures
from app.worker.loop_watchdog import LoopWatch, watch_loop
from app.worker.shutdown import EXIT_BROKER, EXIT_BUG, EXIT_SETTINGS, leave_within, stop_at_once
from app.worker.startup import make_traces, prepare_topics, start_web, tune_collector
from app.worker.status import WebView
from app.worker.watchdog import Watchdog
from tables.faust_tables import make_tables
from tables.working_set import WorkingSet

__all__ = ["AggregatorApp"]

logger = logging.getLogger(__name__)

FENCE_PAUSE = 0.05
BROKER_ANSWER_SECONDS = 3.0
STOP_SECONDS = 4.5


class AggregatorApp(faust.App):
    """The application that `faust -A app worker` runs. Made by `create_app`, which wires agents and timers to it."""

    BootStrategy = OwnWebOnly

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(settings.app_id, **options)
        self.settings = settings
        self.state_tables = make_tables(self, partitions=settings.partitions, max_message_bytes=message_bytes(settings))
        self.intakes = Intakes(self)
        self.statistics = Statistics(Metrics(), time.time)
        self.figures = WorkerFigures(self)
        self._watchdog = Watchdog(self)
        self._web_view = WebView(self)
        self._functions: UserFunctions | None = None
        self._traces = Traces()
        self._pipeline: Pipeline | None = None
        self._loop_watch: LoopWatch | None = None
        self._web: WebServer | None = None
        self.url = ""  # where other workers reach this one's web; there once that listens
        self._owner_since: int | None = None  # the group's generation whose tables have been recovered

    # -- set up ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Find what a worker needs, before anything starts."""
        self._functions = self.load_functions()
        try:
            self._traces = make_traces(self.settings, time.time)
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(EXIT_SETTINGS) from error

    def load_functions(self) -> UserFunctions:
        """Find the user's functions; ends the process with exit code 2 when a setting does not lead to one."""
        try:
            return find_functions(self.settings)
        except FunctionError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(EXIT_SETTINGS) from error

    @property
    def web_server_url(self) -> URL:
        """Where our pages are, for Faust's banner."""
        return URL.build(scheme="http", host=self.settings.web_host, port=self.settings.web_port)

    @property
    def pipeline(self) -> Pipeline:
        """The parts of this worker; there once it has started."""
        if self._pipeline is None:
            message = "the worker has not started"
            raise RuntimeError(message)
        return self._pipeline

    async def on_first_start(self) -> None:
        """Before anything reads or sends: web, topics, pipeline."""
        functions = self._functions or self.load_functions()
        await super().on_first_start()
        self._loop_watch = watch_loop(self.settings, functions.name, self.statistics.lagged)
        self._web, self.url = await start_web(self.settings, self._web_view, loop=self.loop, beacon=self.beacon)
        partitions, largest = await prepare_topics(self.settings)
        await self.producer.start()
        survive_lost_connections(self._kafka_producer().client)
        await self._pin([spec.name for spec in topic_specs(self.settings)])
        sender = KafkaSender(
            self._kafka_producer, self._fence, self.settings.broker_patience, on_sent=self.figures.written
        )
        self._web_view.send_by(sender)
        if largest is not None and largest < BATCH_BYTES:
            sender.send_one_by_one(self.settings.output_topic)
        self._pipeline = build_pipeline(
            self.settings,
            functions,
            Backend(
                sender,
                TableState(self.state_tables, sender),
                find_outputs=partial(find_outputs, self.settings),
                find_sources=partial(find_sources, self.settings),
                output_partitions=partitions,
                output_limit=largest,
            ),
            clock=time.time,
            on_error=self.fail,
            statistics=self.statistics,
            traces=self._traces,
        )
        try:
            await self._pipeline.start()
        except FunctionError as error:
            stop_at_once(EXIT_SETTINGS, str(error))
        tune_collector()
        self.add_future(self._watchdog.run())
        self.add_future(self._web_view.keep_history())

    def _kafka_producer(self) -> Any:
        """The aiokafka producer under Faust's."""
        producer: Any = self.producer
        return producer._ensure_producer()

    async def _pin(self, topics: list[str]) -> None:
        """Have the producer know our topics for good: one that it had to ask for could be created by asking."""
        await self._kafka_producer().client.set_topics(topics)

    def _new_transport(self) -> AggregatorTransport:
        return AggregatorTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing of ours is kept on disk: the state is in Kafka."""

    def is_current(self, fetched: Fetched) -> bool:
        """Whether messages belong to the assignment that this worker has now."""
        return fetched.generation == self._owner_since

    async def tick(self) -> None:
        """Deadlines and forgetting, on the partitions that are ours and recovered."""
        if not self.ready():
            return
        try:
            await self.pipeline.aggregator.tick()
        except Exception as error:  # noqa: BLE001 - a timer that raises would end the worker with a success
            self.fail(error)

    # -- ownership ---------------------------------------------------------------------------------------------------

    async def take_over(self, *_: Any, **__: Any) -> None:
        """The tables of a new assignment have been recovered: go on from there."""
        tables: Any = self.tables
        recovering: int = tables.recovery._generation_id  # whose recovery has just ended
        if recovering != self.consumer_generation_id:
            return
        topic = self.settings.batch_events_topic
        partitions = sorted(tp.partition for tp in self.consumer.assignment() if tp.topic == topic)
        self.pipeline.aggregator.recover(partitions)
        self._owner_since = recovering
        tell(logger, logging.INFO, self.settings.log_language, Line.WORKER_READY, partitions=partitions or "{}")

    async def give_up_work(self) -> None:
        """Partitions are being taken away, or the worker stops: end or drop what is in flight, within seconds."""
        self._owner_since = None
        if self._pipeline is None:
            return
        await self.intakes.cancel()
        await self._pipeline.cancel()

    async def _fence(self) -> None:
        """Hold back what a worker wants to send while the group has not heard of it: it may own nothing any more.

        It goes on when the group still knows it, and is cancelled when its partitions are taken away.
        """
        # The heartbeat beats in another thread's loop: there is no event to wait for.
        while self._may_be_forgotten():  # noqa: ASYNC110
            await asyncio.sleep(FENCE_PAUSE)

    async def broker_answers(self) -> bool:
        """Whether a broker answers a question of the producer's within a few seconds."""
        try:
            async with asyncio.timeout(BROKER_ANSWER_SECONDS):
                await self._kafka_producer().client.fetch_all_metadata()
        except (TimeoutError, KafkaError):
            return False
        return True

    @property
    def reader(self) -> AggregatorConsumer:
        """The consumer, by its own type."""
        return cast(AggregatorConsumer, self.consumer)

    def count_gap(self, offsets: int) -> None:
        """Offsets of a plant's topic that hold no message."""
        self.pipeline.metrics.source_gaps += offsets

    # -- what the web shows ------------------------------------------------------------------------------------------

    def live(self) -> bool:
        """Whether the worker works at all: false when a partition stands still or the group does not answer."""
        return not self.should_stop and self._watchdog.trouble is None

    def ready(self) -> bool:
        """Whether the worker is in the group, its tables are recovered, and it is settled where it reads from."""
        since = self._owner_since
        if since is None or since != self.consumer_generation_id:
            return False
        return self.reader.has_bases(since) and not self._may_be_forgotten()

    def _may_be_forgotten(self) -> bool:
        """Whether the group has not heard of us for so long that it may have given our partitions to others."""
        return self.reader.heartbeat_age() > float(self.conf.broker_session_timeout)

    def batch_timeout(self) -> float:
        """Seconds that a batch like the one that closed last would be given, if it were opened now."""
        timeouts = self._pipeline.timeouts if self._pipeline else timeouts_of(self.settings)
        return timeouts.usual(time.time())

    def working_sets(self) -> Mapping[int, WorkingSet]:
        """The batches of each partition that is ours."""
        return self._pipeline.aggregator.sets if self._pipeline else {}

    @property
    def runner(self) -> CallbackRunner[Any] | None:
        """What runs the callbacks; None before the start."""
        return self._pipeline.stations.runner if self._pipeline else None

    @property
    def open_batches(self) -> OpenBatches | None:
        """What bounds them; None before the start."""
        return self._pipeline.open_batches if self._pipeline else None

    @property
    def waits_for_room(self) -> bool:
        """Whether source messages are not split because as many batches are open as may be."""
        return self._pipeline is not None and self._pipeline.open_batches.waiting

    @property
    def settled(self) -> int:
        """Outcomes of callbacks since the start."""
        return self.pipeline.stations.settled

    # -- the end -----------------------------------------------------------------------------------------------------

    async def on_stop(self) -> None:
        """Stop reading, end what is in flight, close; with a broker that is away this would never end by itself."""
        leave_within(STOP_SECONDS, EXIT_BROKER if self.crashed else 0, self.settings.log_language)
        await super().on_stop()
        if self._pipeline is not None:
            await self._pipeline.stop()
        await self._traces.close()
        if self._web is not None:
            await self._web.stop()
        if self._loop_watch is not None:
            self._loop_watch.stop()

    def give_up_on_broker(self, away: float) -> NoReturn:
        """The broker has been away for longer than the user's patience."""
        servers = ", ".join(self.settings.bootstrap_servers)
        patience = self.settings.broker_patience
        stop_at_once(
            EXIT_BROKER,
            f"the broker at {servers} has been away for {away:.0f} s, longer than AGG_BROKER_PATIENCE ({patience:g} s)",
        )

    def fail(self, error: BaseException) -> None:
        """Something must stop the worker: at once, so that nothing unfinished is acknowledged."""
        if isinstance(error, (SendError, KafkaError)):
            stop_at_once(EXIT_BROKER, str(error))
        stop_at_once(EXIT_BUG, f"this is a bug, nothing of it was acknowledged: {error!r}", error)
