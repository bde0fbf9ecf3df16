"""Requests to the web of a worker, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from app.web.server import create_web
from tests.web.fake_worker import FakeWorker

__all__ = ["ask", "get"]


def ask(
    worker: FakeWorker,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
) -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(create_web(worker))
        async with httpx.AsyncClient(transport=transport, base_url=worker.url) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(request())


def get(worker: FakeWorker, path: str) -> Any:
    answer = ask(worker, path)
    assert answer.status_code == 200, answer.text
    return answer.json()
