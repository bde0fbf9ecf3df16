"""The web server over real sockets: taking the port, serving, stopping."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing

import httpx
import pytest
import uvloop

from app.web import server as web_server
from app.web.app import create_web
from app.web.server import PortTaken, WebAddressError, WebServer
from app.words import told
from tests.further import further
from tests.web.fake_worker import FakeWorker

ANSWER_BYTES = 20_000_000  # at least, of the largest answer here: more than sockets buffer
PATIENCE = 100.0  # seconds: what would be waited for takes ten times as long

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs a test on either event loop; nothing may be logged above INFO, by asyncio neither, nor be left open."""
    monkeypatch.setattr(web_server, "REQUEST_SECONDS", 10 * PATIENCE)

    def runs(test: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_debug(True)
            asyncio.get_running_loop().slow_callback_duration = 1e9
            await test()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.SelectorEventLoop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    with caplog.at_level(logging.INFO):
        yield runs
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


def server_of(worker: FakeWorker, *, host: str = "127.0.0.1", port: int = 0) -> WebServer:
    return WebServer(create_web(worker), host=host, port=port)


@asynccontextmanager
async def serving(worker: FakeWorker) -> AsyncIterator[WebServer]:
    server = server_of(worker)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def stop(server: WebServer) -> None:
    async with asyncio.timeout(PATIENCE):
        await server.stop()


async def status_of(url: str) -> int:
    async with httpx.AsyncClient(timeout=300.0) as client:
        return (await client.get(url)).status_code


async def bytes_to_the_end(reader: asyncio.StreamReader) -> int:
    """How much still comes until the server's end is closed."""
    count = 0
    async with asyncio.timeout(PATIENCE):
        try:
            while data := await reader.read(1_000_000):
                count += len(data)
        except ConnectionResetError:
            pass
    return count


def test_health_and_readiness_are_served_on_the_port_that_was_given(run: Run) -> None:
    async def test() -> None:
        worker = FakeWorker()
        worker.is_ready = False
        async with serving(worker) as server:
            assert server.url == f"http://127.0.0.1:{server.port}"
            assert server.port > 0
            assert await status_of(f"{server.url}/healthz") == 200
            assert await status_of(f"{server.url}/readyz") == 503
            worker.is_ready = True
            assert await status_of(f"{server.url}/readyz") == 200

    run(test)


def test_head_gets_the_headers_of_get_and_the_connection_goes_on(run: Run) -> None:
    async def test() -> None:
        async with serving(FakeWorker()) as server, httpx.AsyncClient(base_url=server.url, timeout=300.0) as client:
            for path in ("/", "/batches", "/static/icon.svg"):
                head, whole = await client.head(path), await client.get(path)
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["content-length"] == str(len(whole.content))

    run(test)


def test_nothing_tells_which_software_serves(run: Run) -> None:
    async def test() -> None:
        async with serving(FakeWorker()) as server, httpx.AsyncClient(timeout=300.0) as client:
            answer = await client.get(f"{server.url}/healthz")
            assert "server" not in answer.headers

    run(test)


def test_a_taken_port_is_told_with_its_setting() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        server = server_of(FakeWorker(), port=port)
        with pytest.raises(PortTaken) as raised:
            asyncio.run(server.start())
    assert str(raised.value) == (
        f"AGG_WEB_PORT={port}: another program listens on port {port} of 127.0.0.1; "
        "stop it, or set AGG_WEB_PORT to another port (0: any that is free)"
    )
    assert told(raised.value, "zh") == (
        f"AGG_WEB_PORT={port}：127.0.0.1 的端口 {port} 已被另一个程序占用；请停止该程序，"
        "或把 AGG_WEB_PORT 设为其他端口（0 表示任选空闲端口）"
    )


def test_two_servers_never_share_a_port() -> None:
    first = server_of(FakeWorker())
    first.bind()
    with pytest.raises(PortTaken, match=f"AGG_WEB_PORT={first.port}: "):
        server_of(FakeWorker(), port=first.port).bind()
    asyncio.run(first.stop())


def test_an_address_of_another_machine_is_told_with_its_setting() -> None:
    with pytest.raises(
        WebAddressError, match=r"AGG_WEB_HOST=192\.0\.2\.1, AGG_WEB_PORT=0: can't listen there: "
    ) as raised:
        server_of(FakeWorker(), host="192.0.2.1").bind()
    assert told(raised.value, "zh").startswith("AGG_WEB_HOST=192.0.2.1、AGG_WEB_PORT=0：无法在此监听：")


def test_the_port_is_known_before_the_start_and_free_after_the_stop(run: Run) -> None:
    async def test() -> None:
        server = server_of(FakeWorker())
        server.bind()
        port = server.port
        await server.start()
        assert await status_of(f"http://127.0.0.1:{port}/healthz") == 200
        await server.stop()
        with closing(socket.create_server(("127.0.0.1", port))):
            pass

    run(test)


def test_a_server_that_took_the_port_and_never_started_gives_it_back(run: Run) -> None:
    async def test() -> None:
        server = server_of(FakeWorker())
        server.bind()
        await server.stop()
        with closing(socket.create_server(("127.0.0.1", server.port))):
            pass

    run(test)


def test_on_all_addresses_of_ipv6_those_of_ipv4_are_listened_on_too() -> None:
    try:
        listening = server_of(FakeWorker(), host="::").bind()
    except WebAddressError:
        pytest.skip("this machine has no IPv6")
    with closing(listening):
        assert listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0


def test_loopback_of_ipv6_is_served_where_there_is_one(run: Run) -> None:
    async def test() -> None:
        server = server_of(FakeWorker(), host="::1")
        try:
            server.bind()
        except WebAddressError:
            pytest.skip("this machine has no IPv6")
        await server.start()
        assert server.url == f"http://[::1]:{server.port}"
        assert await status_of(f"{server.url}/healthz") == 200
        await server.stop()

    run(test)


def test_a_stop_does_not_wait_for_a_connection_that_is_kept_alive(run: Run) -> None:
    async def test() -> None:
        async with serving(FakeWorker()) as server, httpx.AsyncClient(timeout=300.0) as client:
            assert (await client.get(f"{server.url}/healthz")).status_code == 200
            await stop(server)

    run(test)


def test_a_restart_gets_the_port_again_while_old_connections_linger(run: Run) -> None:
    async def test() -> None:
        async with serving(FakeWorker()) as server, httpx.AsyncClient(timeout=300.0) as client:
            assert (await client.get(f"{server.url}/healthz")).status_code == 200
            await server.stop()
            again = server_of(FakeWorker(), port=server.port)
            again.bind()
            await again.stop()

    run(test)


@pytest.mark.parametrize(
    "request_bytes",
    [*further(b"", b"GET /healthz HTT"), b"GET /batches/big HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)
def test_a_stop_does_not_wait_for_a_client_that_is_silent_or_does_not_read(run: Run, request_bytes: bytes) -> None:
    async def test() -> None:
        worker = FakeWorker()
        worker.open("big", [f"station-{number:0>100}" for number in range(100_000)])
        async with serving(worker) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            writer.write(request_bytes)
            await writer.drain()
            if request_bytes.endswith(b"\r\n\r\n"):
                assert await reader.readexactly(8) == b"HTTP/1.1"  # the answer has begun
            else:
                assert await status_of(f"{server.url}/healthz") == 200  # the connection has been taken
            await stop(server)
            assert await bytes_to_the_end(reader) < ANSWER_BYTES / 2
            writer.transport.abort()

    run(test)


def test_signals_are_left_to_the_worker(run: Run) -> None:
    async def test() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with serving(FakeWorker()) as server:
            assert await status_of(f"{server.url}/healthz") == 200
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    run(test)
