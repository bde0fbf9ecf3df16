"""The parts of one worker, and how they start and end together; what makes them is app/pipeline/build.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.callbacks.handlers import ResultHandler, StationResultHandler
from app.observability.counters import Metrics, Statistics
from app.pipeline.aggregation.aggregator import Aggregator
from app.pipeline.aggregation.publisher import Publisher
from app.pipeline.splitting.context_splitter import ContextSplitter
from app.pipeline.splitting.flow_control import OpenBatches
from app.pipeline.splitting.splitter import Splitter
from app.pipeline.stations.agent import StationAgent
from tables.model.timeouts import TimeoutPolicy

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
