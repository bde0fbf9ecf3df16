"""What a lost connection does to an aiokafka client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError

from app.kafka.client import survive_lost_connections


class _Connection:
    """What of aiokafka's connection matters here; it takes itself for connected until it is closed."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer: asyncio.StreamWriter | None = writer

    def connected(self) -> bool:
        return self._writer is not None

    def close(self, reason: CloseReason | None = None) -> None:
        del reason
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def write(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def lose(self) -> None:
        assert self._writer is not None
        self._writer.transport.abort()


class _Client:
    """What of aiokafka's client matters here: one connection, and requests that end as they are told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: _Connection | None = None
        self.cancelled: type[BaseException] | None = None

    async def send(self, node_id: int, request: object) -> object:
        del node_id
        if self.cancelled is not None:
            raise self.cancelled
        return request

    async def _get_conn(self, node_id: int) -> Any:
        del node_id
        if self.cancelled is not None:
            raise self.cancelled
        if self.connection is None or not self.connection.connected():
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.connection = _Connection(writer)
        return self.connection


@asynccontextmanager
async def listening() -> AsyncIterator[_Client]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = _Client(server.sockets[0].getsockname()[1])
    try:
        yield client
    finally:
        if client.connection is not None:
            client.connection.close()
        server.close()


def test_the_methods_that_are_wrapped_are_there() -> None:
    assert inspect.iscoroutinefunction(AIOKafkaClient.send)
    assert inspect.iscoroutinefunction(AIOKafkaClient._get_conn)


def test_a_connection_that_was_closed_is_made_anew_before_anything_is_written() -> None:
    async def run() -> None:
        async with listening() as client:
            lost = await client._get_conn(1)
            lost.lose()
            await asyncio.sleep(0)
            assert lost.connected(), "aiokafka has not seen it yet"
            with pytest.raises(RuntimeError, match="the handler is closed"):
                lost.write(b"request")  # what ended the keeper of metadata
            survive_lost_connections(client)
            found = await client._get_conn(1)
            assert found is not lost
            found.write(b"request")

    uvloop.run(run())


def test_a_request_that_ends_with_its_connection_is_an_error_and_no_cancellation() -> None:
    async def run() -> None:
        async with listening() as client:
            survive_lost_connections(client)
            assert await client.send(1, "request") == "request"
            client.cancelled = asyncio.CancelledError
            with pytest.raises(KafkaConnectionError):
                await client.send(1, "request")
            assert await client._get_conn(1) is None

    uvloop.run(run())


def test_a_task_that_is_cancelled_ends() -> None:
    async def run() -> None:
        async with listening() as client:

            async def hang(*_: Any) -> Any:
                await asyncio.Event().wait()

            client.send = hang  # type: ignore[assignment,method-assign]
            survive_lost_connections(client)
            task = asyncio.create_task(client.send(1, "request"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    uvloop.run(run())
