"""Why a broker can't be reached, in words that a user can act on: aiokafka only says that it can't bootstrap."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection
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
from app.words import joined, words

ANSWER_SECONDS = 5.0
LEAVE_SECONDS = 1.0  # for the end of a connection
_UNTRUSTED: Final = words("AGG_SSL_CAFILE names the certificates that are", "受信任的证书由 AGG_SSL_CAFILE 指定")
# What to do about a certificate that is not accepted, by OpenSSL's X509_V_ERR codes.
_REMEDIES: Final = {
    9: words("this machine's clock is behind, or the certificate is for later", "本机时钟偏慢，或证书尚未生效"),
    10: words("the broker needs a new one, or this machine's clock is ahead", "Kafka 需要更换证书，或本机时钟偏快"),
    62: words("AGG_BROKER has to call the broker by a name that is in it", "AGG_BROKER 必须使用证书中的名称"),
    64: words(
        "AGG_BROKER has to call the broker by a name or an address that is in it",
        "AGG_BROKER 必须使用证书中的名称或地址",
    ),
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
    return Trouble(joined("; ", dict.fromkeys(trouble.text for trouble in final or troubles)), bool(final))


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
        return Trouble(words("{what} ({error!r})", "{what}（{error!r}）", what=UNEXPECTED, error=error))


async def _trouble_with(settings: Settings, host: str, port: int, options: dict[str, Any]) -> Trouble | None:
    connection = AIOKafkaConnection(host, port, **options)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.connect()
    except ssl.SSLError as error:
        return _tls_trouble(error)
    except (KafkaConnectionError, OSError, TimeoutError) as error:
        return _alert(settings, error) or await _unanswered(settings, host, port, error)
    except KafkaError as error:
        return Trouble(_refusal(settings, error), final=True)
    else:
        return await _trouble_asking(settings, connection)
    finally:
        await _end(connection)


async def _end(connection: AIOKafkaConnection) -> None:
    """Close a connection, also one that has not come about, and see it closed: TLS takes leave of the other side first.

    Python would tell of a connection that is not closed when the loop is.
    """
    connection.close()
    protocol = connection._protocol
    if protocol is not None:
        await _closed(asyncio.shield(connection._closed_fut), protocol._transport)


async def _leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await _closed(writer.wait_closed(), writer.transport)


async def _closed(closing: Awaitable[object], transport: asyncio.WriteTransport) -> None:
    """Wait for the end of a connection that is being closed, for LEAVE_SECONDS; then it is broken off."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            await closing
    except TimeoutError:
        transport.abort()
        await asyncio.sleep(0)
    except OSError:
        pass


async def _trouble_asking(settings: Settings, connection: AIOKafkaConnection) -> Trouble | None:
    """Ask a broker that has taken the connection: one that wants to know who we are closes it only now."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.send(MetadataRequest([]))
    except (KafkaError, OSError, TimeoutError) as error:
        if alert := _alert(settings, error):
            return alert
        text = words(
            "it takes the connection and then does not answer ({error!r})",
            "它接受连接但没有应答（{error!r}）",
            error=error,
        )
        if not settings.security_protocol.authenticated:
            secure = settings.security_protocol.value.replace("PLAINTEXT", "SASL_PLAINTEXT").replace("SSL", "SASL_SSL")
            text = words(
                "{text}; the port may be one that authenticates, for AGG_SECURITY_PROTOCOL={secure}",
                "{text}；该端口可能需要认证，应设置 AGG_SECURITY_PROTOCOL={secure}",
                text=text,
                secure=secure,
            )
        return Trouble(text)
    return None


def _alert(settings: Settings, error: BaseException) -> Trouble | None:
    """Tell what a broker that has taken our side of the handshake has said of it: with TLS 1.3 that comes later."""
    cause = error.__cause__
    reason = cause.reason or "" if isinstance(cause, ssl.SSLError) else ""
    if "ALERT" not in reason:
        return None
    if settings.ssl_certfile is None:
        text = words(
            "TLS failed: the broker asks for a certificate of ours ({reason}): set AGG_SSL_CERTFILE",
            "TLS 失败：Kafka 要求客户端证书（{reason}）：请设置 AGG_SSL_CERTFILE",
            reason=reason,
        )
    else:
        text = words(
            "TLS failed: the broker does not accept our certificate ({reason}): AGG_SSL_CERTFILE has to be one of an "
            "authority that it trusts, and not expired",
            "TLS 失败：Kafka 不接受客户端证书（{reason}）：AGG_SSL_CERTFILE 须由其信任的机构签发且未过期",
            reason=reason,
        )
    return Trouble(text, final=True)


def _tls_trouble(error: ssl.SSLError) -> Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = words(
            "TLS failed: the broker's certificate is not accepted: {why}; {remedy}",
            "TLS 失败：未接受 Kafka 的证书：{why}；{remedy}",
            why=error.verify_message.rstrip("."),
            remedy=_REMEDIES.get(error.verify_code, _UNTRUSTED),
        )
        return Trouble(text, final=True)
    text = words(
        "TLS failed: {error}; see AGG_SECURITY_PROTOCOL and AGG_SSL_CERTFILE",
        "TLS 失败：{error}；请检查 AGG_SECURITY_PROTOCOL 和 AGG_SSL_CERTFILE",
        error=error,
    )
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
        text = words(
            "the port speaks TLS: set AGG_SECURITY_PROTOCOL={secure}",
            "该端口使用 TLS：请设置 AGG_SECURITY_PROTOCOL={secure}",
            secure=secure,
        )
        return Trouble(text, final=True)
    return Trouble(
        words(
            "it takes the connection and closes it without an answer ({error!r})",
            "它接受连接后未应答即关闭（{error!r}）",
            error=error,
        )
    )


async def _tls_unanswered(host: str, port: int, error: Exception) -> Trouble:
    """Find out about a broker that has closed the connection before or after the handshake."""
    if await _speaks_plain(host, port):
        text = words(
            "TLS failed: the port is a plain one, for AGG_SECURITY_PROTOCOL=PLAINTEXT or SASL_PLAINTEXT",
            "TLS 失败：该端口不加密，应设置 AGG_SECURITY_PROTOCOL=PLAINTEXT 或 SASL_PLAINTEXT",
        )
        return Trouble(text, final=True)
    if await _speaks_tls(host, port):
        return Trouble(
            words(
                "TLS works, but the broker closes the connection ({error!r}): it may ask for a certificate of ours "
                "(AGG_SSL_CERTFILE, AGG_SSL_KEYFILE)",
                "TLS 正常，但 Kafka 关闭了连接（{error!r}）：可能要求客户端证书（AGG_SSL_CERTFILE、AGG_SSL_KEYFILE）",
                error=error,
            )
        )
    return Trouble(
        words(
            "TLS failed ({error!r}): the port may be a plain one (AGG_SECURITY_PROTOCOL)",
            "TLS 失败（{error!r}）：该端口可能不加密（AGG_SECURITY_PROTOCOL）",
            error=error,
        )
    )


async def _unreachable(host: str, port: int) -> str | None:
    """Say why a port can't be connected to; None when it can."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror as error:
        return words("there is no host {host}: {why}", "没有主机 {host}：{why}", host=host, why=error.strerror)
    except TimeoutError:
        return words("{host} does not answer at port {port}", "{host} 的端口 {port} 没有应答", host=host, port=port)
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):
            return words(
                "nothing listens at port {port} of {host}", "{host} 的端口 {port} 无人监听", host=host, port=port
            )
        return f"{error.strerror or error}"
    await _leave(writer)
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
    await _leave(writer)
    return True


async def _speaks_plain(host: str, port: int) -> bool:
    """Say whether the port answers Kafka's first question without TLS; nobody's password is sent for it."""
    connection = AIOKafkaConnection(host, port)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.connect()
    except Exception:  # noqa: BLE001 - as in `_trouble_at`
        return False
    else:
        return True
    finally:
        await _end(connection)


def _refusal(settings: Settings, error: KafkaError) -> str:
    match error:
        case SaslAuthenticationFailed():
            return words(
                "{error!r}: see AGG_SASL_USERNAME and AGG_SASL_PASSWORD",
                "{error!r}：请检查 AGG_SASL_USERNAME 和 AGG_SASL_PASSWORD",
                error=error,
            )
        case UnsupportedSaslMechanismError():
            mechanism = settings.sasl_mechanism.value
            return words(
                "it does not take AGG_SASL_MECHANISM={mechanism} (UnsupportedSaslMechanismError)",
                "它不支持 AGG_SASL_MECHANISM={mechanism}（UnsupportedSaslMechanismError）",
                mechanism=mechanism,
            )
        case IllegalSaslStateError():
            plain = settings.security_protocol.value.replace("SASL_", "")
            return words(
                "the port does not authenticate: set AGG_SECURITY_PROTOCOL={plain} (IllegalSaslStateError)",
                "该端口不做认证：请设置 AGG_SECURITY_PROTOCOL={plain}（IllegalSaslStateError）",
                plain=plain,
            )
        case _:
            return repr(error)
