"""The lag of the last hour, in samples that all workers have: none is lost with the worker that took it.

Kafka does not tell how far a group was some time ago. So one worker, the first by URL, takes a sample of the whole
cluster every ten seconds, and the others fetch it from there: whoever is left has the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

from fastapi import APIRouter
from pydantic import TypeAdapter

from app.observability.counters import SLOT, SLOTS
from app.web.cluster import INTERNAL, Cluster, NoAnswer, Share, share_of
from app.web.errors import api_router
from app.web.models import Answer
from app.web.routers.partitions import find_partitions
from app.web.state import WorkerState

_LAGS: Final = "/lags"


class Lag(Answer):
    """Messages that are not done at a time: of the source topics, and of the application's own; null: not known."""

    at: int
    sources: int | None
    internal: int | None


_SHARE: Final = TypeAdapter(Share[list[Lag]])


class Lags:
    """The samples as one worker has them."""

    def __init__(self, state: WorkerState, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster
        self._samples: dict[int, Lag] = {}

    def router(self) -> APIRouter:
        """Serve the samples to the other workers."""
        router = api_router()

        @router.get(INTERNAL + _LAGS, include_in_schema=False)
        async def lags(after: int) -> Share[list[Lag]]:
            return share_of(self._state, [lag for lag in self.samples() if lag.at > after])

        return router

    def samples(self) -> Sequence[Lag]:
        """Return the samples, oldest first, at most an hour of them."""
        return list(self._samples.values())

    async def keep(self) -> None:
        """Take or fetch samples for ever; run beside the web."""
        while True:
            await asyncio.sleep(SLOT - time.time() % SLOT)
            await self.take(time.time())

    async def take(self, now: float) -> None:
        """Take the sample of a slot (`now` is Unix seconds), or fetch what is new from the worker that takes it."""
        members = self._state.members()
        first = min(members, default=self._state.url)
        if first != self._state.url:
            await self._fetch([first])
            return
        if not self._samples:
            await self._fetch([url for url in members if url != first])
        found = await find_partitions(self._state, self._cluster)
        settings = self._state.settings
        sources, internal = found.lag(settings.started_topics), found.lag(settings.event_topics)
        self._add([Lag(at=int(now) // SLOT * SLOT, sources=sources, internal=internal)])

    async def _fetch(self, urls: Iterable[str]) -> None:
        path = f"{_LAGS}?after={next(reversed(self._samples), 0)}"
        for url in urls:
            try:
                share = await self._cluster.ask(url, path, _SHARE.validate_json)
            except NoAnswer:
                continue  # what is missed now is fetched the next time
            self._add(share.answer)

    def _add(self, lags: Iterable[Lag]) -> None:
        merged = self._samples | {lag.at: lag for lag in lags}
        newest = sorted(merged)[-SLOTS:]
        self._samples = {at: merged[at] for at in newest}
