"""What is said of a broker that can't be reached, by what answers at its port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from app.kafka import diagnosis
from app.kafka.client import administering, reading
from app.kafka.diagnosis import Trouble, find_trouble, find_troubles
from app.kafka.topics import BrokerError, ensure_topics
from app.settings import Settings
from app.worker.startup import tell_troubles
from tests.ports import own_port

# Of no use but here: self-signed, for 127.0.0.1.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMZRlRaxicPv3txbY
J7vgwf3E+B72lgfa84xjgilbmrihRANCAAT91WWLjc2IDG96Si4rrP24U7zDUwOH
6dRVdPZx3y3vRJCknvGZHL221gRHRrH3nTO/hf4Woj2fijFDUPZfrJNf
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUPx8O04wa8+6TTzOf5OBw5ou4yZwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTEwMTcyMVoYDzIxMjYxMTA1
MTAxNzIxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT91WWLjc2IDG96Si4rrP24U7zDUwOH6dRVdPZx3y3vRJCknvGZHL22
1gRHRrH3nTO/hf4Woj2fijFDUPZfrJNfo2QwYjAdBgNVHQ4EFgQUE5Hv6Sw58O+5
0gzklogasWVtrYUwHwYDVR0jBBgwFoAUE5Hv6Sw58O+50gzklogasWVtrYUwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IQCweM3x7wn6d9iLOeUq72MDqWdurqpbETf8L7GnNSf/oAIgO2kU8wiG+v+DCC0p
Ce9eTZRKiMfx4YTQMFf0hQXVTRU=
-----END CERTIFICATE-----
"""


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A file with a certificate and its key."""
    file = tmp_path / "server.pem"
    file.write_text(CERTIFICATE)
    return file


@asynccontextmanager
async def closing_server(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A port that closes each connection as soon as something comes, as Kafka does with what it can't read."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(close, host, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def odd_server(body: bytes) -> AsyncIterator[int]:
    """A port that answers the first request of each connection with a body of that request's number, and stays."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(4096)
        writer.write(struct.pack(">i", 4 + len(body)) + request[8:12] + body)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def trouble_at(port: int, **settings: object) -> Trouble | None:
    return asyncio.run(find_trouble(Settings(broker=f"kafka://127.0.0.1:{port}", **settings)))


def trouble_of_server(context: ssl.SSLContext | None = None, **settings: object) -> Trouble:
    async def find() -> Trouble | None:
        async with closing_server(context) as port:
            return await find_trouble(Settings(broker=f"kafka://127.0.0.1:{port}", **settings))

    trouble = asyncio.run(find())
    assert trouble is not None
    return trouble


def serving(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_a_closed_port(protocol: str) -> None:
    port = own_port()
    text = f"nothing listens at port {port} of 127.0.0.1"
    assert trouble_at(port, security_protocol=protocol) == Trouble(text)


def test_a_host_that_is_none() -> None:
    trouble = asyncio.run(find_trouble(Settings(broker="kafka://no-such-host.invalid:9092")))
    assert trouble is not None
    assert trouble.text.startswith("there is no host no-such-host.invalid: ")
    assert not trouble.final


def test_a_port_that_does_not_speak_tls() -> None:
    trouble = trouble_of_server(security_protocol="SSL")
    assert trouble.text.startswith("TLS failed (")
    assert trouble.text.endswith("the port may be a plain one (AGG_SECURITY_PROTOCOL)")
    assert not trouble.final, "a proxy whose broker is away looks the same"


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_a_plain_client_at_a_tls_port(protocol: str, pem: Path) -> None:
    login = {"sasl_username": "u", "sasl_password": "p"} if protocol.startswith("SASL") else {}
    secure = protocol.replace("PLAINTEXT", "SSL")
    assert trouble_of_server(serving(pem), security_protocol=protocol, **login) == Trouble(
        f"the port speaks TLS: set AGG_SECURITY_PROTOCOL={secure}", final=True
    )


def test_a_certificate_that_nobody_vouches_for(pem: Path) -> None:
    trouble = trouble_of_server(serving(pem), security_protocol="SSL")
    assert trouble.text.startswith("TLS failed: the broker's certificate is not accepted: self")
    assert "AGG_SSL_CAFILE" in trouble.text
    assert trouble.final


def test_a_certificate_for_another_address_is_no_matter_of_who_is_trusted(pem: Path) -> None:
    async def find() -> Trouble | None:
        async with closing_server(serving(pem), "127.0.0.2") as port:
            return await find_trouble(
                Settings(broker=f"kafka://127.0.0.2:{port}", security_protocol="SSL", ssl_cafile=pem)
            )

    trouble = asyncio.run(find())
    assert trouble is not None
    assert trouble.text.endswith("; AGG_BROKER has to call the broker by a name or an address that is in it")
    assert "AGG_SSL_CAFILE" not in trouble.text
    assert trouble.final


def test_a_broker_that_closes_the_connection_after_the_handshake(pem: Path) -> None:
    trouble = trouble_of_server(serving(pem), security_protocol="SSL", ssl_cafile=pem)
    assert trouble.text.startswith("TLS works, but the broker closes the connection")
    assert not trouble.final


def test_a_port_that_closes_a_plain_connection() -> None:
    trouble = trouble_of_server()
    assert trouble.text.startswith("it takes the connection and closes it without an answer (")
    assert not trouble.final


def test_what_waiting_does_not_end_comes_first(pem: Path) -> None:
    async def find() -> Trouble | None:
        async with closing_server(serving(pem)) as port:
            return await find_trouble(Settings(broker=f"kafka://127.0.0.1:{own_port()};kafka://127.0.0.1:{port}"))

    assert asyncio.run(find()) == Trouble("the port speaks TLS: set AGG_SECURITY_PROTOCOL=SSL", final=True)


ODD = [b"\xff" * 10, b"\0\x23" + struct.pack(">i", -1), struct.pack(">hihhh", 0, 1, 3, 9, 1)]


@pytest.mark.parametrize("body", ODD)
def test_an_answer_that_nobody_expects_is_told_as_it_is(body: bytes) -> None:
    async def find() -> dict[str, Trouble]:
        async with odd_server(body) as port:
            return await find_troubles(Settings(broker=f"kafka://127.0.0.1:{port}"))

    (trouble,) = asyncio.run(find()).values()
    assert trouble.text.startswith("it answers what no broker answers (")
    assert "Error(" in trouble.text
    assert not trouble.final


def test_a_port_with_such_answers_does_not_end_the_start_of_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def start() -> str:
        async with odd_server(ODD[0]) as port:
            await tell_troubles(Settings(broker=f"kafka://127.0.0.1:{own_port()};kafka://127.0.0.1:{port}"))
            return f"127.0.0.1:{port}"

    server = asyncio.run(start())
    (line,) = [one for one in caplog.records if server in one.getMessage()]
    assert "it answers what no broker answers (TypeError(" in line.getMessage()
    assert line.exc_info is None


def test_clients_of_such_a_port_say_that_they_are_not_connected() -> None:
    async def connect() -> None:
        async with odd_server(ODD[0]) as port:
            settings = Settings(broker=f"kafka://127.0.0.1:{port}")
            for client in (administering(settings), reading(settings)):
                with pytest.raises(KafkaConnectionError, match="what no broker answers"):
                    await client.__aenter__()
            with pytest.raises(BrokerError, match=r"what no broker answers \(TypeError"):
                await ensure_topics(settings, patience=0.0)

    asyncio.run(connect())


def test_a_tls_port_that_never_takes_leave_leaves_no_connection_open(
    pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(diagnosis, "LEAVE_SECONDS", 0.1)
    held: list[ssl.SSLSocket] = []  # which nobody reads, or closes

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with contextlib.suppress(ssl.SSLError):  # of one that speaks no TLS
                        held.append(serving(pem).wrap_socket(connection, server_side=True))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        trouble = trouble_at(server.getsockname()[1], security_protocol="SSL", ssl_cafile=pem)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()
    assert trouble is not None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in told] == []
