"""Kafka besides reading streams and sending: connection options, and a look into an output partition."""

from __future__ import annotations

import ssl
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.publisher import OutputId
from app.settings import Settings

__all__ = ["client_options", "find_outputs", "ssl_context", "worker_credentials"]

CLOCK_SLACK = 60.0  # seconds by which a broker's clock may be off when it stamps what it appends
REQUEST_TIMEOUT = 40.0


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context that the settings ask for, or None."""
    if not settings.security_protocol.encrypted:
        return None
    context = ssl.create_default_context(cafile=str(settings.ssl_cafile) if settings.ssl_cafile else None)
    if settings.ssl_certfile:
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
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


async def find_outputs(settings: Settings, topic: str, partition: int, since: float) -> set[OutputId]:
    """Which output messages stand in a partition from `since` (Unix seconds) up to its end now."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
    )
    await consumer.start()
    try:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        start = (await consumer.offsets_for_times({tp: int((since - CLOCK_SLACK) * 1000)}))[tp]
        if start is None:
            return set()
        consumer.seek(tp, start.offset)
        found: set[OutputId] = set()
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=1000)).get(tp, ()):
                headers = dict(record.headers)
                revision, part = headers.get("revision", b""), headers.get("part", b"")
                if revision.isdigit() and part.isdigit():
                    found.add((record.key or b"", int(revision), int(part)))
        return found
    finally:
        await consumer.stop()
