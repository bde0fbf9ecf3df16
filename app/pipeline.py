"""The parts of one worker, and how they start and end together; what makes them is app/wiring.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.aggregator import Aggregator
from app.context_splitter import ContextSplitter
from app.handler import ResultHandler, StationResultHandler
from app.metrics import Metrics
from app.open_batches import OpenBatches
from app.publisher import Publisher
from app.splitter import Splitter
from app.stations import StationAgent
from app.statistics import Statistics
from tables.timeouts import TimeoutPolicy

__all__ = ["Pipeline"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts of one worker."""

    splitter: Splitter
    open_batches: OpenBatches
    context_splitter: ContextSplitter
    stations: StationAgent
    aggregator: Aggregator
    publisher: Publisher
    handler: ResultHandler | None
    station_handler: StationResultHandler | None
    metrics: Metrics
    statistics: Statistics
    timeouts: TimeoutPolicy

    async def start(self) -> None:
        """Get ready to take events."""
        await self.stations.runner.start()

    async def cancel(self) -> None:
        """Give everything in flight up, unacknowledged: the partitions are being taken away, or the worker stops."""
        await asyncio.gather(self.stations.cancel(), self.aggregator.settle())
        await self.publisher.cancel()
        self.aggregator.drop_all()

    async def stop(self) -> None:
        """End for good, within about a second even when a user's function hangs."""
        await self.cancel()
        await self.stations.runner.stop()
        for handler in self.handlers:
            handler.close()

    @property
    def handlers(self) -> list[ResultHandler | StationResultHandler]:
        """Those that the user has given."""
        return [handler for handler in (self.handler, self.station_handler) if handler is not None]
