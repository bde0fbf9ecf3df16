"""Kafka besides reading streams and sending: connection options, and a look into an output partition."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from app.callbacks.tasks import is_from_outside
from app.kafka.pieces import in_message
from app.messages.message import InMessage
from app.messages.output import OutputId, output_id
from app.settings import Settings, SettingsError
from tables.model.events import Source

__all__ = [
    "Host",
    "administering",
    "client_options",
    "find_outputs",
    "find_sources",
    "reading",
    "ssl_context",
    "survive_lost_connections",
    "worker_credentials",
]

READ_SECONDS = 10.0  # for one message that stands in a partition
CLOCK_SLACK = 60.0  # seconds by which a broker's clock may be off when it stamps what it appends


class Host(Protocol):
    """The application around the consumer, the assignor and the tables, as far as they need to know it."""

    settings: Settings
    url: str  # where other workers reach this one's web; "" before that listens

    def count_gap(self, offsets: int) -> None:
        """So many offsets of a plant's topic hold no message."""

    async def give_up_work(self) -> None:
        """End or drop what is in flight, within seconds: partitions are being taken away, or the worker stops."""


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context that the settings ask for, or None.

    Raises:
        SettingsError: a file is there, but it holds nothing that can be used.
    """
    if not settings.security_protocol.encrypted:
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.ssl_cafile) if settings.ssl_cafile else None)
    except (OSError, ValueError) as error:
        raise SettingsError([f"AGG_SSL_CAFILE={settings.ssl_cafile}: no usable certificates: {error}"]) from error
    if settings.ssl_certfile:
        try:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
        except (OSError, ValueError) as error:
            files = f"AGG_SSL_CERTFILE={settings.ssl_certfile}, AGG_SSL_KEYFILE={settings.ssl_keyfile}"
            raise SettingsError([f"{files}: no usable certificate with its key: {error}"]) from error
    return context


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client of ours takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol.value,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.authenticated:
        password = settings.sasl_password
        options["sasl_mechanism"] = settings.sasl_mechanism.value
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = password.get_secret_value() if password else None
    return options


def survive_lost_connections(client: Any) -> None:
    """Have an aiokafka client live on when a connection is lost under what it does.

    Two things end its background tasks for ever, its heartbeat and its keeper of metadata among them: after a restart
    of the broker a consumer then reads on and is no member any more. A request that is under way on a connection that
    closes can end as cancelled, which a task takes for its own end. And uvloop's transport raises a RuntimeError when
    something is written to it after it was closed (asyncio's only warns), which aiokafka does until it has read that
    the connection is gone.
    """
    send, connect = client.send, client._get_conn

    async def send_or_lose(*args: Any, **options: Any) -> Any:
        with _lost_not_cancelled():
            return await send(*args, **options)

    async def connect_anew(*args: Any, **options: Any) -> Any:
        try:
            with _lost_not_cancelled():
                connection = await connect(*args, **options)
                # Nothing is awaited between this look and what is written.
                if connection is not None and _is_lost(connection):
                    connection.close(reason=CloseReason.CONNECTION_BROKEN)
                    connection = await connect(*args, **options)
                return connection
        except KafkaConnectionError:
            return None  # as aiokafka says it

    client.send, client._get_conn = send_or_lose, connect_anew


def _is_lost(connection: AIOKafkaConnection) -> bool:
    return connection._writer is not None and connection._writer.transport.is_closing()


@contextmanager
def _lost_not_cancelled() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError as error:
        if is_from_outside(error):
            raise
        message = "the connection was closed while the request was under way"
        raise KafkaConnectionError(message) from error


def worker_credentials(settings: Settings) -> Any:
    """The same for Faust, or None for a plain connection."""
    context = ssl_context(settings)
    if settings.security_protocol.authenticated:
        password = settings.sasl_password
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=password.get_secret_value() if password else None,
            ssl_context=context,
            mechanism=settings.sasl_mechanism.value,
        )
    return faust.SSLCredentials(context) if context else None


@asynccontextmanager
async def administering(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that looks at topics and makes them; closed whatever happens.

    It is asked about all topics: asking for one that is not there could create it.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def reading(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, for a look into partitions; closed whatever happens."""
    consumer = AIOKafkaConsumer(
        **client_options(settings), enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        try:
            await consumer.stop()
        except asyncio.CancelledError as error:
            if is_from_outside(error):  # otherwise it cancels itself, as the broker has gone
                raise


async def find_outputs(settings: Settings, topic: str, partition: int, since: float) -> set[OutputId]:
    """Which output messages stand in a partition from `since` (Unix seconds) up to its end now.

    A broker that is away is waited for, up to AGG_BROKER_PATIENCE.
    """
    return await _patiently(settings)(_find_outputs, settings, TopicPartition(topic, partition), since)


def _patiently(settings: Settings) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(KafkaError),
        stop=stop_after_delay(settings.broker_patience),
        wait=wait_exponential(multiplier=0.1, max=2.0),
        reraise=True,
    )


async def _find_outputs(settings: Settings, tp: TopicPartition, since: float) -> set[OutputId]:
    found: set[OutputId] = set()
    async with reading(settings) as consumer:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        start = (await consumer.offsets_for_times({tp: int((since - CLOCK_SLACK) * 1000)}))[tp]
        if start is None:
            return found
        consumer.seek(tp, start.offset)
        while await consumer.position(tp) < end:
            records = (await consumer.getmany(tp, timeout_ms=1000)).get(tp, ())
            ids = [output_id(record.key, record.headers) for record in records]
            found.update(found_id for found_id in ids if found_id is not None)
    return found


async def find_sources(settings: Settings, sources: Sequence[Source]) -> dict[Source, InMessage]:
    """The messages that stand at these places, as far as the broker still has them.

    A broker that is away is waited for, up to AGG_BROKER_PATIENCE.
    """
    return await _patiently(settings)(_find_sources, settings, sources)


async def _find_sources(settings: Settings, sources: Sequence[Source]) -> dict[Source, InMessage]:
    found: dict[Source, InMessage] = {}
    async with reading(settings) as consumer:
        for source in sorted(sources):
            tp = TopicPartition(source.topic, source.partition)
            consumer.assign([tp])
            first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
            if not first <= source.offset < end:
                continue
            consumer.seek(tp, source.offset)
            with suppress(TimeoutError):  # compacted away, with nothing behind it
                async with asyncio.timeout(READ_SECONDS):
                    record = await consumer.getone(tp)
                if record.offset == source.offset:
                    found[source] = in_message(record)
    return found
