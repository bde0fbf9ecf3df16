"""The worker: Faust's application with our consumer, our tables and our web server, around the pipeline."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import Producer
from yarl import URL

from app.callbacks.loading import NOTHING_GIVEN, FunctionError, Functions, UserFunctions, find_functions
from app.kafka.client import survive_lost_connections
from app.kafka.consumer import AggregatorConsumer
from app.kafka.delivery import Fetched, Intake
from app.kafka.lookups import Lookups
from app.kafka.permissions import denial_text
from app.kafka.producer import BATCH_BYTES, KafkaSender
from app.kafka.producer_topics import pace_metadata
from app.kafka.state_store import AggregatorTables, TableState
from app.kafka.topics import BrokerError, TopicError, message_bytes, topic_specs
from app.kafka.transport import AggregatorTransport
from app.messages.message import Delivery, ForgottenError, SendError
from app.observability.counters import Metrics, Statistics
from app.observability.log_lines import Line, say, tell
from app.observability.tracing import Traces
from app.pipeline.build import Agent, Pipeline, agents_of, build_pipeline
from app.pipeline.ports import Backend
from app.settings import Settings, SettingsError
from app.web.server import WebAddressError, WebServer
from app.web.users_pages import PageError
from app.words import told, words
from app.worker.faust_command import OwnWebOnly
from app.worker.loop_watchdog import LoopWatch
from app.worker.shutdown import EXIT_BROKER, EXIT_BUG, EXIT_SETTINGS, leave_within, stop_at_once
from app.worker.startup import make_traces, prepare_topics, start_web, tell_troubles, tune_collector
from app.worker.status import WorkerStatus
from app.worker.users_parts import UsersParts
from app.worker.watchdog import Watchdog
from tables.faust_tables import make_tables
from tables.storage.checks import NewerFormatError
from tables.storage.records import UnreadableRecordError
from tables.windows import Windows

logger = logging.getLogger(__name__)

FENCE_PAUSE = 0.05
BROKER_ANSWER_SECONDS = 3.0
STOP_SECONDS = 4.5


class AggregatorApp(UsersParts):
    """The application that `faust -A app worker` runs. Made by `create_app`, which wires agents and timers to it.

    Attributes:
        given: the functions that the program gave as objects; the settings have names for them.
        keywords: all that the program gave, whether the environment is over it or not.
        intakes: each agent of the pipeline, with what takes its messages in.
        url: where other workers reach this one's web; "" before that listens.
    """

    BootStrategy = OwnWebOnly

    def __init__(
        self,
        settings: Settings,
        given: Functions = NOTHING_GIVEN,
        keywords: Mapping[str, object] = NOTHING_GIVEN,
        **options: Any,
    ) -> None:
        super().__init__(settings.app_id, **options)
        self.settings = settings
        self.given = given
        self.keywords = keywords
        self.url = ""
        self.state_tables = make_tables(
            self,
            partitions=settings.partitions,
            max_message_bytes=message_bytes(settings),
            make_windows=partial(Windows, settings.context_windows, settings.context_max_bytes),
        )
        self.statistics = Statistics(Metrics(), time.time)
        self.status = WorkerStatus(self)
        self.intakes = [
            (agent, Intake(partial(self._handle, agent), self.is_current, self.fail)) for agent in agents_of(settings)
        ]
        self._watchdog = Watchdog(self)
        self._functions: UserFunctions | None = None
        self._traces = Traces()
        self._pipeline: Pipeline | None = None
        self._loop_watch: LoopWatch | None = None
        self._web: WebServer | None = None
        self._gives_up = 0  # times that work is being given up: a subscription may change as a rebalance begins
        self._owner_since: int | None = None  # the group's generation whose tables have been recovered

    # -- the start ---------------------------------------------------------------------------------------------------

    def prepare(self) -> UserFunctions:
        """Find what a worker needs, before anything starts; exit code 2 when a setting does not lead to it."""
        try:
            self._functions = find_functions(self.settings, self.given, self.keywords)
            self._traces = make_traces(self.settings, time.time)
        except (FunctionError, SettingsError) as error:
            sys.stderr.write(f"{told(error, self.settings.log_language)}\n")
            raise SystemExit(EXIT_SETTINGS) from error
        return self._functions

    @property
    def web_server_url(self) -> URL:
        """The address of our pages, for Faust's banner."""
        return URL.build(scheme="http", host=self.settings.web_host, port=self.settings.web_port)

    async def on_first_start(self) -> None:
        """Start everything, before anything reads or sends; a start that can't be done ends the process."""
        functions = self._functions or self.prepare()
        await super().on_first_start()
        try:
            await self._start_parts(functions)
        except (BrokerError, TopicError, WebAddressError) as error:
            stop_at_once(EXIT_BROKER, told(error, self.settings.log_language))
        except (FunctionError, PageError) as error:
            stop_at_once(EXIT_SETTINGS, told(error, self.settings.log_language))
        tune_collector()
        self.add_future(self._watchdog.run())
        self.add_future(self.status.watch_peers())
        self.add_future(tell_troubles(self.settings))

    async def _start_parts(self, functions: UserFunctions) -> None:
        """Web, topics, producer, pipeline."""
        settings = self.settings
        self._loop_watch = LoopWatch(
            settings,
            callback=functions.name,
            observe=self.statistics.lagged,
            on_stuck=partial(stop_at_once, EXIT_BUG),
        )
        self._web, self.url = await start_web(settings, self.status, self.pages, loop=self.loop, beacon=self.beacon)
        self._loop_watch.start()  # to make the web holds the loop up, on a busy machine for seconds: nobody's fault
        partitions, largest = await prepare_topics(settings, self.users_topics())
        await self.producer.start()
        client = self._kafka_producer().client
        survive_lost_connections(client)
        pace_metadata(client)
        # The producer knows our topics for good: one that it had to ask for could be created by asking.
        await client.set_topics([spec.name for spec in topic_specs(settings)])
        sender = KafkaSender(
            settings,
            self._kafka_producer,
            self._fence,
            on_sent=self.status.written,
            one_by_one={settings.output_topic} if largest is not None and largest < BATCH_BYTES else (),
        )
        lookups = Lookups(settings, self._kafka_producer)
        self._pipeline = build_pipeline(
            settings,
            functions,
            Backend(
                sender,
                TableState(self.state_tables, sender),
                self.reader.notes,
                find_outputs=lookups.find_outputs,
                find_sources=lookups.find_sources,
                output_partitions=partitions,
                output_limit=largest,
            ),
            clock=time.time,
            on_error=self.fail,
            statistics=self.statistics,
            traces=self._traces,
            on_open=self.status.opened,
        )
        self.status.started(sender, self._pipeline)
        await self._pipeline.start()

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline; there once the worker has started."""
        if self._pipeline is None:
            message = "the worker has not started"
            raise RuntimeError(message)
        return self._pipeline

    def _new_transport(self) -> AggregatorTransport:
        return AggregatorTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing of ours is kept on disk: the state is in Kafka."""

    # -- the work ----------------------------------------------------------------------------------------------------

    async def _handle(self, agent: Agent, deliveries: Sequence[Delivery]) -> None:
        self.status.read(agent.kind, [delivery.message for delivery in deliveries])
        await agent.handler(self.pipeline)(deliveries)

    async def tick(self) -> None:
        """Deadlines and forgetting, on the partitions that are ours and recovered."""
        if not self.ready():
            return
        try:
            self.pipeline.silence.tell({tp.topic for tp in self.consumer.assignment()})
            await self.pipeline.aggregator.tick()
        except Exception as error:  # noqa: BLE001 - a timer that raises would end the worker with a success
            self.fail(error)

    def count_gap(self, offsets: int) -> None:
        """Count offsets of a plant's topic that hold no message."""
        self.statistics.metrics.source_gaps += offsets

    def count_lost(self, offsets: int) -> None:
        """Count offsets that were gone from the broker before they were read."""
        self.statistics.metrics.lost_offsets += offsets

    def count_restart(self) -> None:
        """Count a partition that is read from its beginning again, because its log is another one."""
        self.statistics.metrics.log_restarts += 1

    def fenced(self) -> None:
        """End the process at once: another worker of the group has this one's name now."""
        stop_at_once(EXIT_BROKER, say(self.settings.log_language, Line.FENCED, name=self.settings.instance_id))

    def denied(self, error: KafkaError) -> None:
        """End the process at once: the broker does not allow what it does."""
        stop_at_once(EXIT_BROKER, told(denial_text(self.settings, error), self.settings.log_language))

    # -- ownership ---------------------------------------------------------------------------------------------------

    def is_current(self, fetched: Fetched) -> bool:
        """Say whether messages belong to the assignment that this worker has now."""
        return fetched.generation == self._owner_since

    async def take_over(self, *_: Any, **__: Any) -> None:
        """Go on from the tables of a new assignment, which have been recovered."""
        # The generation whose recovery has just ended; by now there may be another.
        recovering = cast(AggregatorTables, self.tables).recovery._generation_id
        if recovering != self.consumer_generation_id:
            return
        topic = self.settings.batch_events_topic
        partitions = sorted(tp.partition for tp in self.consumer.assignment() if tp.topic == topic)
        try:
            self.pipeline.aggregator.recover(partitions)
        except Exception as error:  # noqa: BLE001 - Faust would go on without them
            self.fail(error)
        self._owner_since = recovering
        tell(logger, logging.INFO, self.settings.log_language, Line.WORKER_READY, partitions=partitions or "{}")

    async def give_up_work(self) -> None:
        """End or drop what is in flight, within seconds: partitions are being taken away, or the worker stops."""
        self._owner_since = None
        cast(AggregatorTables, self.tables).recovery.given_up()
        pipeline = self._pipeline
        if pipeline is None:
            return
        self._gives_up += 1
        try:
            await asyncio.gather(*(intake.cancel(agent.grace(pipeline)) for agent, intake in self.intakes))
            await pipeline.cancel()
        finally:
            self._gives_up -= 1

    async def _fence(self) -> None:
        """Hold back what a worker wants to send while it may be a zombie, which owns nothing any more.

        It goes on when the group still knows it. While work is given up nothing may wait for that: the worker joins the
        group again only when all of it has ended.

        Raises:
            ForgottenError: work is given up, and the group may know this worker no more.
        """
        # The heartbeat beats in another thread's loop: there is no event to wait for.
        while self._may_be_forgotten():
            if self._gives_up:
                message = "the group has not heard of this worker for longer than a session: its work is another's"
                raise ForgottenError(message)
            await asyncio.sleep(FENCE_PAUSE)

    # -- how the worker stands ---------------------------------------------------------------------------------------

    @property
    def reader(self) -> AggregatorConsumer:
        """The consumer, by its own type."""
        return cast(AggregatorConsumer, self.consumer)

    def _kafka_producer(self) -> AIOKafkaProducer:
        """The aiokafka producer under Faust's."""
        return cast(Producer, self.producer)._ensure_producer()

    @property
    def session_timeout(self) -> float:
        """Seconds after which the group gives the partitions of a worker that it has not heard of to others."""
        return float(self.conf.broker_session_timeout)

    def _may_be_forgotten(self) -> bool:
        return self.reader.heartbeat_age() > self.session_timeout

    def live(self) -> bool:
        """Say whether the worker works at all: false when a partition stands still or the group does not answer."""
        return not self.should_stop and self._watchdog.trouble is None

    def ready(self) -> bool:
        """Say whether the worker is in the group, its tables are recovered, and it knows from where to read."""
        since = self._owner_since
        if since is None or since != self.consumer_generation_id:
            return False
        return self.reader.has_bases(since) and not self._may_be_forgotten()

    async def broker_answers(self) -> bool:
        """Say whether a broker answers a question of the producer's within a few seconds."""
        try:
            async with asyncio.timeout(BROKER_ANSWER_SECONDS):
                await self._kafka_producer().client.fetch_all_metadata()
        except (TimeoutError, KafkaError):
            return False
        return True

    # -- the end -----------------------------------------------------------------------------------------------------

    async def on_stop(self) -> None:
        """Stop reading, end what is in flight, close; with a broker that is away this would never end by itself."""
        leave_within(STOP_SECONDS, EXIT_BROKER if self.crashed else 0, self.settings.log_language)
        await super().on_stop()
        await self.reader.stop()  # this leaves the group, which the others wait for
        if self._pipeline is not None:
            await self._pipeline.stop()
        await self._traces.close()
        if self._web is not None:
            await self._web.stop()
        if self._loop_watch is not None:
            self._loop_watch.stop()

    def fail(self, error: BaseException) -> None:
        """Stop the worker at once, so that nothing unfinished is acknowledged."""
        if isinstance(error, ForgottenError):
            return  # nothing of it was acknowledged, and all work is given up right now
        if isinstance(error, (SendError, KafkaError, NewerFormatError, UnreadableRecordError)):
            stop_at_once(EXIT_BROKER, told(error, self.settings.log_language))
        bug = words(
            "this is a bug, nothing of it was acknowledged: {error!r}",
            "程序缺陷，相关内容均未确认：{error!r}",
            error=error,
        )
        stop_at_once(EXIT_BUG, told(bug, self.settings.log_language), error)
