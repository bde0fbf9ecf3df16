"""The composition root: from settings to the application, with its topics, agents and timer wired."""

from __future__ import annotations

from typing import Any

from mode import loop as event_loop

from app.cli.batches import register_batches
from app.cli.check import register_check
from app.cli.compare import register_compare
from app.cli.dead_letters.command import register_dead_letters
from app.cli.send import register_send
from app.kafka.assignor import AggregatorAssignor
from app.kafka.client import worker_credentials
from app.kafka.consumer import FetchedSchema
from app.kafka.delivery import Intake
from app.kafka.producer import BATCH_BYTES
from app.kafka.state_store import AggregatorTables
from app.kafka.topics import message_bytes
from app.observability.log_config import logging_config
from app.pipeline.aggregation.aggregator import TICK_SECONDS
from app.pipeline.build import Agent
from app.settings import Settings
from app.worker.app import AggregatorApp
from app.worker.faust_command import AggregatorWorker

SESSION_TIMEOUT = 10.0
HEARTBEAT = 2.0
# A request that a dying broker took may never be answered; a join waits for a dead member's session.
REQUEST_TIMEOUT = 30.0
COMMIT_INTERVAL = 1.0
BUFFERED_PIECES = 1_000  # in a stream; messages and bytes are bounded by the consumer
FETCH_BYTES = 4 * 1024 * 1024  # of a partition at once; a larger message comes alone
METADATA_AGE = 30.0


def create_app(settings: Settings) -> AggregatorApp:
    """Build the application. It connects to nothing before it is started."""
    event_loop.use("uvloop")
    app = AggregatorApp(
        settings,
        broker=settings.broker,
        broker_credentials=worker_credentials(settings),
        broker_session_timeout=SESSION_TIMEOUT,
        broker_heartbeat_interval=HEARTBEAT,
        broker_commit_interval=COMMIT_INTERVAL,
        broker_request_timeout=REQUEST_TIMEOUT,
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=int(METADATA_AGE * 1000),
        producer_acks=-1,
        producer_max_batch_size=BATCH_BYTES,
        producer_max_request_size=message_bytes(settings),
        # How long aiokafka tries to deliver what it has taken: a broker that is away for less is waited for.
        producer_request_timeout=max(1.0, settings.broker_patience),
        stream_buffer_maxsize=BUFFERED_PIECES,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        PartitionAssignor=AggregatorAssignor,
        TableManager=AggregatorTables,
        Worker=AggregatorWorker,
        store="memory://",
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication_factor,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        logging_config=logging_config(settings.log_format),
    )
    _wire(app)
    return app


def _wire(app: AggregatorApp) -> None:
    for agent, intake in app.intakes:
        _declare(app, agent, intake)
    app.timer(TICK_SECONDS)(app.tick)
    complete: Any = app.on_rebalance_complete  # its stubs want receivers that no function can be
    complete.connect(app.take_over, weak=False)
    register_send(app)
    register_check(app)
    register_dead_letters(app)
    register_compare(app)
    register_batches(app)


def _declare(app: AggregatorApp, agent: Agent, intake: Intake) -> None:
    """Make a Faust agent that puts what its topics' stream gives into the intake."""

    async def read(stream: Any) -> None:  # a faust.Stream, which Faust types as less than it is
        await intake.feed(stream.noack())

    read.__qualname__ = agent.name  # what log lines call it
    read.__doc__ = agent.purpose
    app.agent(app.topic(*agent.topics, schema=FetchedSchema(), internal=False), name=agent.name)(read)
