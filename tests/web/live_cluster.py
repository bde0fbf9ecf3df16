"""Several fake workers with real servers, each of which knows where the others are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.web import cluster
from app.web.access import Access
from app.web.app import create_web
from app.web.server import WebServer
from tests.web.fake_worker import FakeWorker

__all__ = ["PATIENCE", "TOKEN", "Live", "Peer", "on_cluster", "peer"]

TOKEN = "the-token-of-all"  # noqa: S105
PATIENCE = (
    300.0  # seconds that an answer may take, also of a worker that another one asks: a busy machine takes its time
)
# No connection is used twice: the server may close it just then.
FRESH = httpx.Limits(max_keepalive_connections=0)
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Live:
    """A fake worker that is served."""

    def __init__(self, worker: FakeWorker, client: httpx.AsyncClient, web: FastAPI) -> None:
        self.worker = worker
        self.web = web
        self._client = client

    async def ask(self, path: str, *, method: str = "GET", token: str | None = TOKEN, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= more.pop("headers", {})
        return await self._client.request(method, self.worker.url + path, headers=headers, **more)

    async def get(self, path: str) -> Any:
        answer = await self.ask(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


def on_cluster(
    workers: list[FakeWorker],
    test: Callable[[list[Live]], Awaitable[None]],
    *,
    tokens: list[str] | None = None,
    accesses: list[Access] | None = None,
) -> None:
    """Serve the workers, for whom these allow, or with these tokens or the one of all, and run the test."""
    allowed = accesses or [Access(token) for token in tokens or [TOKEN] * len(workers)]

    async def running() -> None:
        async with AsyncExitStack() as stack, asyncio.timeout(600):
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE, limits=FRESH))
            webs: list[FastAPI] = []
            for worker, access in zip(workers, allowed, strict=True):
                web = create_web(worker, access)
                webs.append(web)
                server = WebServer(web, host="127.0.0.1", port=0, on_close=web.state.cluster.close)
                await server.start()
                stack.push_async_callback(server.stop)
                worker.url = server.url
            for worker in workers:
                worker.others |= {other.url: frozenset(other.records) for other in workers if other is not worker}
            await test([Live(worker, client, web) for worker, web in zip(workers, webs, strict=True)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "DEADLINE", PATIENCE)
        asyncio.run(running())


@asynccontextmanager
async def peer(behave: Peer) -> AsyncIterator[str]:
    """Something else at the place of a worker; its URL."""
    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
