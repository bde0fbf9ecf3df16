"""The composition root: from settings to the application, with its topics, agents and timer wired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mode import loop as event_loop

from app.callbacks.given import load_given
from app.callbacks.loading import NOTHING_GIVEN, Functions
from app.cli.commands import COMMANDS, register_commands
from app.kafka.assignor import AggregatorAssignor
from app.kafka.client import worker_credentials
from app.kafka.delivery import Intake
from app.kafka.producer import BATCH_BYTES
from app.kafka.state_store import AggregatorTables
from app.kafka.topics import message_bytes
from app.kafka.transport import FetchedSchema
from app.observability.log_config import logging_config
from app.pipeline.aggregation.aggregator import TICK_SECONDS
from app.pipeline.build import Agent
from app.settings import Settings, SettingsError
from app.worker.app import AggregatorApp
from app.worker.faust_command import AggregatorWorker
from app.worker.users_parts import PatientSupervisor, RefusedError

SESSION_SECONDS = 6.0  # as short as brokers take it (group.min.session.timeout.ms): who dies is missed for that long

HEARTBEAT_SECONDS = 0.3  # a member learns from the answer to one that others wait for it to join anew


def build_app(arguments: Mapping[str, object]) -> AggregatorApp:
    """Build the application from keyword arguments, see `create_app` in app/__init__.py, and the environment.

    Raises:
        SettingsError: they can't be used; while `faust` imports the program, it is told and ends that.
    """
    try:
        return create_app(*load_given(arguments), arguments)
    except SettingsError as error:
        raise RefusedError(error.problems, error.language) from error


def create_app(
    settings: Settings, functions: Functions = NOTHING_GIVEN, keywords: Mapping[str, object] = NOTHING_GIVEN
) -> AggregatorApp:
    """Build the application. It connects to nothing before it is started; `keywords`: see `AggregatorApp`."""
    event_loop.use("uvloop")
    app = AggregatorApp(
        settings,
        functions,
        keywords,
        broker=settings.broker,
        broker_credentials=worker_credentials(settings),
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        consumer_group_instance_id=settings.instance_id,
        broker_commit_interval=1.0,
        # A request that a dying broker took may never be answered; a join waits for a dead member's session.
        broker_request_timeout=30.0,
        consumer_max_fetch_size=4 * 1024 * 1024,  # of a partition at once; a larger message comes alone
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=30_000,
        # Faust would take these two from the environment; users' messages would go by another way than ours.
        processing_guarantee="at_least_once",
        producer_threaded=False,
        producer_acks=-1,
        producer_max_batch_size=BATCH_BYTES,
        producer_max_request_size=message_bytes(settings),
        # How long aiokafka tries to deliver what it has taken: a broker that is away for less is waited for.
        producer_request_timeout=max(1.0, settings.broker_patience),
        stream_buffer_maxsize=1_000,  # pieces; messages and bytes are bounded by the consumer
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        PartitionAssignor=AggregatorAssignor,
        TableManager=AggregatorTables,
        Worker=AggregatorWorker,
        agent_supervisor=PatientSupervisor,
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
    register_commands(lambda: app)
    app.taken_commands = {*COMMANDS, "worker"}


def _declare(app: AggregatorApp, agent: Agent, intake: Intake) -> None:
    """Make a Faust agent that puts what its topics' stream gives into the intake."""

    async def read(stream: Any) -> None:  # a faust.Stream, which Faust types as less than it is
        await intake.feed(stream.noack())

    read.__qualname__ = agent.name  # what log lines call it
    read.__doc__ = agent.purpose
    app.agent(app.topic(*agent.topics, schema=FetchedSchema(), internal=False), name=agent.name)(read)
