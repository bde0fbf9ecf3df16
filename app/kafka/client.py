"""Clients of the broker: their options, how they outlive a lost connection, and two to look around with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import sample
from typing import Any, Final, Protocol, TypeVar

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.metadata import MetadataRequest
from faust.types.auth import CredentialsT

from app.callbacks.tasks import is_from_outside
from app.kafka.header_names import read_any_name
from app.settings import Settings, SettingsError
from app.words import told, words

T = TypeVar("T")

CONNECT_GRACE: Final = 3.0  # seconds; a broker that takes longer costs a connection that is left open
UNEXPECTED = words("it answers what no broker answers", "其应答不是 Kafka 的应答")


class Application(Protocol):
    """The worker's application, as far as the consumer, the assignor and the tables need to know it."""

    settings: Settings
    url: str  # where other workers reach this one's web; "" before that listens

    def count_gap(self, offsets: int) -> None:
        """Count offsets of a plant's topic that hold no message."""

    def count_lost(self, offsets: int) -> None:
        """Count offsets that were gone from the broker before they were read."""

    def count_restart(self) -> None:
        """Count a partition that is read from its beginning again, because its log is another one."""

    def fenced(self) -> None:
        """End the process at once: another worker has taken its name. Called in the consumer's thread."""

    def denied(self, error: KafkaError) -> None:
        """End the process at once: the broker does not allow what a worker does. Called in the consumer's thread."""

    async def give_up_work(self) -> None:
        """End or drop what is in flight, within seconds: partitions are being taken away, or the worker stops."""


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context that the settings ask for, or None.

    Raises:
        SettingsError: a file is there, but it holds nothing that can be used.
    """
    if not settings.security_protocol.encrypted:
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.ssl_cafile) if settings.ssl_cafile else None)
    except (OSError, ValueError) as error:
        raise SettingsError(
            [
                words(
                    "AGG_SSL_CAFILE={file}: no usable certificates: {error}",
                    "AGG_SSL_CAFILE={file}：没有可用的证书：{error}",
                    file=settings.ssl_cafile,
                    error=error,
                )
            ],
            settings.log_language,
        ) from error
    if settings.ssl_certfile:
        try:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=_no_passphrase)
        except (OSError, ValueError) as error:
            files = f"AGG_SSL_CERTFILE={settings.ssl_certfile}, AGG_SSL_KEYFILE={settings.ssl_keyfile}"
            raise SettingsError(
                [
                    words(
                        "{files}: no usable certificate with its key: {error}",
                        "{files}：没有可用的证书及其私钥：{error}",
                        files=files,
                        error=told(error, settings.log_language),
                    )
                ],
                settings.log_language,
            ) from error
    return context


def _no_passphrase() -> str:
    """Refuse an encrypted key: OpenSSL would ask for its passphrase at the terminal, and wait."""
    message = words(
        "the key is encrypted, and there is no setting for a passphrase: give one that is not",
        "私钥已加密，而没有口令的设置：请使用未加密的私钥",
    )
    raise ValueError(message)


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


def worker_credentials(settings: Settings) -> CredentialsT | None:
    """Return the credentials for Faust's clients, or None for a plain connection."""
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


def survive_lost_connections(client: AIOKafkaClient) -> None:
    """Make an aiokafka client go on when it loses a connection.

    Without this, two things can end its background tasks for ever. The heartbeat and the refresh of the metadata are
    such tasks: after a restart of the broker a consumer then reads on, but is no member of its group any more.

    - A request that is under way when its connection closes can end as cancelled. A task takes that for its own end.
    - uvloop's transport raises a RuntimeError when something is written to it after it was closed; asyncio's only
      warns. aiokafka writes until it has read that the connection is gone.
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


def never_create_topics(client: AIOKafkaClient) -> None:
    """Make an aiokafka client ask for topics without making them.

    Brokers make a topic that is asked for, unless they are told not to, and with a partition count of their own: a
    source topic that its owner has deleted, to make it again, would be there already.
    """
    connect = client._get_conn

    async def connect_to_ask(*args: Any, **options: Any) -> AIOKafkaConnection | None:
        connection: AIOKafkaConnection | None = await connect(*args, **options)
        if connection is not None and not hasattr(connection, "asks_only"):
            send = connection.send

            def ask(request: Any, *args: Any, **options: Any) -> Any:
                if isinstance(request, MetadataRequest):
                    request._allow_auto_topic_creation = False
                return send(request, *args, **options)

            connection.send, connection.asks_only = ask, True
        return connection

    client._get_conn = connect_to_ask


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


@contextmanager
def _unexpected_is_unconnected() -> Iterator[None]:
    """Take an answer that aiokafka can't take apart for none: it raises whatever comes of it."""
    try:
        yield
    except (KafkaError, OSError):
        raise
    except Exception as error:
        message = f"{UNEXPECTED} ({error!r})"
        raise KafkaConnectionError(message) from error


async def connected(work: Coroutine[Any, Any, T]) -> T:
    """Await work of aiokafka's that makes connections or closes them: cancelled meanwhile, it leaves them open.

    So who is cancelled waits until it has ended, for CONNECT_GRACE at most. The client closes them then.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=CONNECT_GRACE)
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            task.exception()  # nobody wants to know any more
        raise


class BrokersSilentError(KafkaError):  # type: ignore[misc]  # aiokafka is untyped here
    """None of the brokers that the cluster names answers, at the address that it names."""

    retriable = True


async def send_to_any(client: AIOKafkaClient, request: Any, *, first: int | None = None) -> Any:
    """Send what any broker can answer, and any may get twice; where one is not there, another one is asked.

    aiokafka asks one of those that it knows, at random, and fails when just that one is away.

    Args:
        client: what is known of the cluster.
        request: any of aiokafka's.
        first: the broker that is asked before the others.

    Raises:
        BrokersSilentError: none is there.
        KafkaConnectionError: no broker is known.
    """
    brokers = client.cluster.brokers()
    nodes = [broker.nodeId for broker in brokers]
    failed: KafkaError | None = None
    for node in sorted(sample(nodes, len(nodes)), key=lambda node: node != first):
        try:
            return await client.send(node, request)
        except (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError) as error:
            failed = error
    if failed is None:
        raise KafkaConnectionError(words("no broker is known", "没有已知的 Kafka"))
    message = words(
        "the brokers that it names do not answer, {others}; do they run, and is advertised.listeners right? ({error})",
        "它所列出的 broker {others} 没有应答；它们是否在运行，advertised.listeners 是否正确？（{error}）",
        others=", ".join(sorted(f"{broker.host}:{broker.port}" for broker in brokers)),
        error=type(failed).__name__,
    )
    raise BrokersSilentError(message) from failed


@asynccontextmanager
async def administering(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that looks at topics and makes them; closed whatever happens.

    It is asked about all topics: asking for one that is not there could create it.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    client, send_to = admin._client, admin._send_request

    async def send_request(request: Any, node_id: int | None = None) -> Any:
        return await (send_to_any(client, request) if node_id is None else send_to(request, node_id))

    async def send_to_controller(request: Any) -> Any:
        """Ask the controller first. aiokafka waits 40 s for that one; brokers of Kafka 4 name any, and pass it on."""
        controller = client.cluster.controller
        return await send_to_any(client, request, first=controller and controller.nodeId)

    survive_lost_connections(client)
    admin._send_request, admin._send_to_controller = send_request, send_to_controller
    try:
        with _unexpected_is_unconnected():
            await connected(admin.start())
        yield admin
    finally:
        await connected(admin.close())


@asynccontextmanager
async def reading(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, for a look into partitions; closed whatever happens."""
    read_any_name()
    consumer = AIOKafkaConsumer(
        **client_options(settings), enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    client = consumer._client
    never_create_topics(client)
    connect = client._get_conn
    client._get_conn = lambda *args, **more: connected(connect(*args, **more))
    try:
        with _unexpected_is_unconnected():
            await connected(consumer.start())
        yield consumer
    finally:
        try:
            await connected(consumer.stop())
        except asyncio.CancelledError as error:
            if is_from_outside(error):  # it cancels itself when the broker has gone
                raise
