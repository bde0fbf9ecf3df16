"""Requests to the web of a worker, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from app.web.access import Access
from app.web.app import create_web
from tests.web.fake_worker import FakeWorker

__all__ = ["Ask", "ask", "ask_all", "forget_answers", "get"]


Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Ask:
    """One request."""

    path: str
    method: str = "GET"
    headers: Headers | None = None
    content: bytes | None = None


def ask_all(worker: FakeWorker, requests: Iterable[Ask], access: Access = Access()) -> list[httpx.Response]:  # noqa: B008 - frozen
    """One application, one request after the other."""

    async def asking() -> list[httpx.Response]:
        transport = httpx.ASGITransport(_web_of(worker, access))
        # verify: reading the certificates of the world would take a tenth of the time.
        async with httpx.AsyncClient(transport=transport, base_url=worker.url, verify=False) as client:  # noqa: S501
            return [
                await client.request(one.method, one.path, headers=one.headers, content=one.content) for one in requests
            ]

    return asyncio.run(asking())


def _web_of(worker: FakeWorker, access: Access) -> FastAPI:
    """Return the application of a worker: made once, as in a worker, for it takes FastAPI a tenth of a second."""
    settings, web = worker.webs.get(access, (None, None))
    if web is None or settings is not worker.settings:
        web = create_web(worker, access)
        worker.webs[access] = (worker.settings, web)
    return web


def forget_answers(worker: FakeWorker) -> None:
    """Have the worker count anew: what it has just answered may stand for a second."""
    worker.webs.clear()


def ask(
    worker: FakeWorker,
    path: str,
    *,
    method: str = "GET",
    headers: Headers | None = None,
    content: bytes | None = None,
    access: Access = Access(),  # noqa: B008 - frozen
) -> httpx.Response:
    return ask_all(worker, [Ask(path, method, headers, content)], access)[0]


def get(worker: FakeWorker, path: str) -> Any:
    answer = ask(worker, path)
    assert answer.status_code == 200, answer.text
    return answer.json()
