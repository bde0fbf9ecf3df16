"""The streams' work: what each agent reads, on its way into the pipeline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from app.kafka.delivery import ChunkIntake, GradualIntake, MessageIntake
from app.worker.status import BATCH_EVENTS, CONTEXT, SOURCE, STATION_EVENTS

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

__all__ = ["Intakes"]

SETTLE_SECONDS = 3.0  # what work in progress gets to end when partitions are taken away


class Intakes:
    """One for each agent of the application."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        self.source = GradualIntake(self._split, app.is_current, app.fail)
        self.singles = GradualIntake(self._split, app.is_current, app.fail)
        self.context = ChunkIntake(self._split_context, app.is_current, app.fail)
        self.stations = MessageIntake(self._run_stations, app.is_current, app.fail)
        self.batches = GradualIntake(self._aggregate, app.is_current, app.fail)

    async def cancel(self) -> None:
        """End or drop what is in flight, within seconds."""
        await asyncio.gather(
            # While it waits nothing of its own is under way.
            self.source.cancel(0.0 if self._app.waits_for_room else SETTLE_SECONDS),
            self.singles.cancel(SETTLE_SECONDS),
            self.context.cancel(SETTLE_SECONDS),
            self.stations.cancel(0.0),
            self.batches.cancel(SETTLE_SECONDS),
        )

    async def _split(self, messages: Any, done: Any) -> None:
        self._app.status.read(SOURCE, messages)
        await self._app.pipeline.splitter.handle(messages, done)

    async def _split_context(self, messages: Any) -> None:
        self._app.status.read(CONTEXT, messages)
        await self._app.pipeline.context_splitter.handle(messages)

    async def _run_stations(self, messages: Any) -> None:
        self._app.status.read(STATION_EVENTS, [message for message, _ in messages])
        await self._app.pipeline.stations.handle(messages)

    async def _aggregate(self, messages: Any, done: Any) -> None:
        self._app.status.read(BATCH_EVENTS, messages)
        await self._app.pipeline.aggregator.handle(messages, done)
