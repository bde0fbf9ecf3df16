"""Why a broker can't be reached, in words that a user can act on: aiokafka only says that it can't bootstrap."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from app.kafka.client import UNEXPECTED, client_options
from app.settings import Settings

ANSWER_SECONDS = 5.0
_UNTRUSTED: Final = "AGG_SSL_CAFILE names the certificates that are"
# What to do about a certificate that is not accepted, by OpenSSL's X509_V_ERR codes.
_REMEDIES: Final = {
    9: "this machine's clock is behind, or the certificate is for later",
    10: "the broker needs a new one, or this machine's clock is ahead",
    62: "AGG_BROKER has to call the broker by a name that is in it",
    64: "AGG_BROKER has to call the broker by a name or an address that is in it",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a broker. `final` says that it stays so, however long one waits."""

    text: str
    final: bool = False


async def find_trouble(settings: Settings) -> Trouble | None:
    """Try the brokers that the settings name; returns what is wrong with them, None when one lets us in."""
    troubles = list((await find_troubles(settings)).values())
    if len(troubles) < len(set(settings.bootstrap_servers)):
        return None
    final = [trouble for trouble in troubles if trouble.final]
    return Trouble("; ".join(dict.fromkeys(trouble.text for trouble in final or troubles)), bool(final))


async def find_troubles(settings: Settings) -> dict[str, Trouble]:
    """Try the brokers that the settings name; returns what is wrong with each that does not let us in."""
    servers = list(dict.fromkeys(settings.bootstrap_servers))
    tried = await asyncio.gather(*(_trouble_at(settings, server) for server in servers))
    return {server: trouble for server, trouble in zip(servers, tried, strict=True) if trouble is not None}


async def _trouble_at(settings: Settings, server: str) -> Trouble | None:
    name, _, number = server.rpartition(":")
    options = client_options(settings)
    del options["bootstrap_servers"]
    try:
        return await _trouble_with(settings, name.strip("[]"), int(number), options)
    except Exception as error:  # noqa: BLE001 - aiokafka takes an answer apart as if a broker had given it
        return Trouble(f"{UNEXPECTED} ({error!r})")


async def _trouble_with(settings: Settings, host: str, port: int, options: dict[str, Any]) -> Trouble | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await create_conn(host, port, **options)
    except ssl.SSLError as error:
        return _tls_trouble(error)
    except (KafkaConnectionError, OSError, TimeoutError) as error:
        return _alert(settings, error) or await _unanswered(settings, host, port, error)
    except KafkaError as error:
        return Trouble(_refusal(settings, error), final=True)
    return await _trouble_asking(settings, connection)


async def _trouble_asking(settings: Settings, connection: AIOKafkaConnection) -> Trouble | None:
    """Ask a broker that has taken the connection: one that wants to know who we are closes it only now."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.send(MetadataRequest([]))
    except (KafkaError, OSError, TimeoutError) as error:
        if alert := _alert(settings, error):
            return alert
        text = f"it takes the connection and then does not answer ({error!r})"
        if not settings.security_protocol.authenticated:
            secure = settings.security_protocol.value.replace("PLAINTEXT", "SASL_PLAINTEXT").replace("SSL", "SASL_SSL")
            text += f"; the port may be one that authenticates, for AGG_SECURITY_PROTOCOL={secure}"
        return Trouble(text)
    finally:
        connection.close()
    return None


def _alert(settings: Settings, error: BaseException) -> Trouble | None:
    """Tell what a broker that has taken our side of the handshake has said of it: with TLS 1.3 that comes later."""
    cause = error.__cause__
    reason = cause.reason or "" if isinstance(cause, ssl.SSLError) else ""
    if "ALERT" not in reason:
        return None
    if settings.ssl_certfile is None:
        text = f"TLS failed: the broker asks for a certificate of ours ({reason}): set AGG_SSL_CERTFILE"
    else:
        text = (
            f"TLS failed: the broker does not accept our certificate ({reason}): AGG_SSL_CERTFILE has to be one of an "
            "authority that it trusts, and not expired"
        )
    return Trouble(text, final=True)


def _tls_trouble(error: ssl.SSLError) -> Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"TLS failed: the broker's certificate is not accepted: {error.verify_message.rstrip('.')}"
        return Trouble(f"{text}; {_REMEDIES.get(error.verify_code, _UNTRUSTED)}", final=True)
    text = f"TLS failed: {error}; see AGG_SECURITY_PROTOCOL and AGG_SSL_CERTFILE"
    return Trouble(text, final=True)


async def _unanswered(settings: Settings, host: str, port: int, error: Exception) -> Trouble:
    """Find out about a broker that could not be connected to, or has closed the connection."""
    away = await _unreachable(host, port)
    if away is not None:
        return Trouble(away)
    protocol = settings.security_protocol
    if protocol.encrypted:
        return await _tls_unanswered(host, port, error)
    if await _speaks_tls(host, port):
        secure = protocol.value.replace("PLAINTEXT", "SSL")
        return Trouble(f"the port speaks TLS: set AGG_SECURITY_PROTOCOL={secure}", final=True)
    return Trouble(f"it takes the connection and closes it without an answer ({error!r})")


async def _tls_unanswered(host: str, port: int, error: Exception) -> Trouble:
    """Find out about a broker that has closed the connection before or after the handshake."""
    if await _speaks_plain(host, port):
        text = "TLS failed: the port is a plain one, for AGG_SECURITY_PROTOCOL=PLAINTEXT or SASL_PLAINTEXT"
        return Trouble(text, final=True)
    if await _speaks_tls(host, port):
        return Trouble(
            f"TLS works, but the broker closes the connection ({error!r}): it may ask for a certificate of ours "
            "(AGG_SSL_CERTFILE, AGG_SSL_KEYFILE)"
        )
    return Trouble(f"TLS failed ({error!r}): the port may be a plain one (AGG_SECURITY_PROTOCOL)")


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


async def _speaks_plain(host: str, port: int) -> bool:
    """Say whether the port answers Kafka's first question without TLS; nobody's password is sent for it."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await create_conn(host, port)
    except Exception:  # noqa: BLE001 - as in `_trouble_at`
        return False
    connection.close()
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
