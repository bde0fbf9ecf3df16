"""Why a broker can't be reached, in words that a user can act on: aiokafka only says that it can't bootstrap."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from app.kafka.client import client_options
from app.settings import Settings

ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a broker. `final` says that it stays so, however long one waits."""

    text: str
    final: bool = False


async def find_trouble(settings: Settings) -> Trouble | None:
    """Try each broker that the settings name; returns what is wrong with them, None when one lets us in."""
    troubles: list[Trouble] = []
    for server in settings.bootstrap_servers:
        host, _, port = server.rpartition(":")
        trouble = await _trouble_at(settings, host.strip("[]"), int(port))
        if trouble is None:
            return None
        troubles.append(trouble)
    final = [trouble for trouble in troubles if trouble.final]
    return Trouble("; ".join(dict.fromkeys(trouble.text for trouble in final or troubles)), bool(final))


async def _trouble_at(settings: Settings, host: str, port: int) -> Trouble | None:
    options = client_options(settings)
    del options["bootstrap_servers"]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await create_conn(host, port, **options)
    except ssl.SSLError as error:
        return _tls_trouble(error)
    except (KafkaConnectionError, OSError, TimeoutError) as error:
        return await _unanswered(settings, host, port, error)
    except KafkaError as error:
        return Trouble(_refusal(settings, error), final=True)
    connection.close()
    return None


def _tls_trouble(error: ssl.SSLError) -> Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"TLS failed: the broker's certificate is not accepted: {error.verify_message}"
        return Trouble(f"{text}; AGG_SSL_CAFILE names the certificates that are", final=True)
    text = f"TLS failed: {error}; see AGG_SECURITY_PROTOCOL and AGG_SSL_CERTFILE"
    return Trouble(text, final=True)


async def _unanswered(settings: Settings, host: str, port: int, error: Exception) -> Trouble:
    """Find out about a broker that could not be connected to, or has closed the connection."""
    away = await _unreachable(host, port)
    if away is not None:
        return Trouble(away)
    protocol = settings.security_protocol
    if protocol.encrypted:
        plain = protocol.value.replace("SSL", "PLAINTEXT")
        reason = str(error) or "the connection was closed in the handshake"
        return Trouble(f"TLS failed ({reason}): the port may be a plain one, for AGG_SECURITY_PROTOCOL={plain}")
    if await _speaks_tls(host, port):
        secure = protocol.value.replace("PLAINTEXT", "SSL")
        return Trouble(f"the port speaks TLS: set AGG_SECURITY_PROTOCOL={secure}", final=True)
    text = f"it takes the connection and closes it without an answer ({error})"
    if not protocol.authenticated:
        text += "; the port may be one for AGG_SECURITY_PROTOCOL=SASL_PLAINTEXT"
    return Trouble(text)


async def _unreachable(host: str, port: int) -> str | None:
    """Say why a port can't be connected to; None when it can."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror as error:
        return f"there is no host {host}: {error.strerror}"
    except TimeoutError:
        return f"{host} does not answer at port {port}"
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        return f"nothing listens at port {port} of {host}" if refused else f"{error.strerror or error}"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent, and nothing believed
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return error.reason is not None and "ALERT" in error.reason
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def _refusal(settings: Settings, error: KafkaError) -> str:
    match error:
        case SaslAuthenticationFailed():
            return f"{error!r}: see AGG_SASL_USERNAME and AGG_SASL_PASSWORD"
        case UnsupportedSaslMechanismError():
            mechanism = settings.sasl_mechanism.value
            return f"it does not take AGG_SASL_MECHANISM={mechanism} (UnsupportedSaslMechanismError)"
        case IllegalSaslStateError():
            plain = settings.security_protocol.value.replace("SASL_", "")
            return f"the port does not authenticate: set AGG_SECURITY_PROTOCOL={plain} (IllegalSaslStateError)"
        case _:
            return repr(error)
