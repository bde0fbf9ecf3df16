"""Steps of a worker's start, before anything reads or sends. What can't be done is raised."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from typing import Any

from app.callbacks.executors import close_in_forks
from app.kafka.diagnosis import find_troubles
from app.kafka.topics import ensure_topics, output_limit
from app.messages.output import RECORD_OVERHEAD
from app.observability.log_lines import Line, Shown, tell
from app.observability.tracing import Traces
from app.settings import Settings
from app.web.access import access_of, advertised_url
from app.web.app import create_web
from app.web.server import WebServer
from app.web.users_pages import Page
from app.words import told
from app.worker.command_line import called_as
from app.worker.status import WorkerStatus

logger = logging.getLogger(__name__)

COLLECT_AFTER = 50_000  # objects made and not freed


async def start_web(
    settings: Settings, status: WorkerStatus, pages: Sequence[Page], **service: Any
) -> tuple[WebServer, str]:
    """Listen; returns the server, and the URL at which other workers reach it. `service` goes to the server.

    Raises:
        PageError: one of the user's pages can't be served.
        WebAddressError: the address is taken, or not this machine's.
    """
    web = create_web(status, access_of(settings), pages)
    server = WebServer(web, host=settings.web_host, port=settings.web_port, on_close=web.state.cluster.close, **service)
    close_in_forks(server.bind())
    # The others are told when we join the group, which is later.
    url = await asyncio.to_thread(advertised_url, settings, server.url)
    await server.start()
    server.add_future(web.state.heartbeat())
    tell(logger, logging.INFO, settings.log_language, Line.WEB, url=Shown(url))
    return server, url


async def prepare_topics(settings: Settings, others: Sequence[str] = ()) -> tuple[int, int | None]:
    """Create and verify; returns the output topic's partitions, and the largest value that it takes, in bytes.

    `others` are topics that agents of the user's read; which of them are missing is said, as of the plants'.

    Raises:
        BrokerError: there is no broker, or it refuses us.
        TopicError: a topic has the wrong partition count, or can't be created.
    """
    topics = await ensure_topics(settings, patience=settings.broker_patience)
    limit = await output_limit(settings)
    missing = [topic for topic in (*settings.foreign_topics, *others) if topic not in topics]
    if missing:
        about = {"topics": Shown(", ".join(missing)), "command": called_as()}
        tell(logger, logging.WARNING, settings.log_language, Line.SOURCES_MISSING, **about)
    if limit is None:
        return topics[settings.output_topic], None
    if limit - RECORD_OVERHEAD < settings.max_message_bytes:
        sizes = {"limit": limit, "wanted": settings.max_message_bytes}
        tell(logger, logging.WARNING, settings.log_language, Line.OUTPUT_LIMIT, topic=settings.output_topic, **sizes)
    return topics[settings.output_topic], limit - RECORD_OVERHEAD


async def tell_troubles(settings: Settings) -> None:
    """Say which of several brokers in the settings can't be used: with another one a worker starts all the same."""
    _first, *others = settings.bootstrap_servers
    if not others:
        return
    for server, trouble in (await find_troubles(settings)).items():
        about = {"broker": Shown(server), "error": told(trouble.text, settings.log_language)}
        tell(logger, logging.WARNING, settings.log_language, Line.BROKER_UNUSABLE, **about)


def tune_collector() -> None:
    """Look for garbage less often: events and records come in thousands and hold no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)


def make_traces(settings: Settings, clock: Callable[[], float]) -> Traces:
    """Return the traces that `AGG_TRACES` asks for. OpenTelemetry is imported only if it does.

    Raises:
        SettingsError: an `OTEL_*` variable has a value that OpenTelemetry does not take.
    """
    if not settings.traces:
        return Traces()
    from app.observability.opentelemetry import exporting_traces  # noqa: PLC0415 - it may not be installed

    return exporting_traces(settings.app_id, clock)
