"""What the web knows of its worker, and the one thing that it does: append an operator's command to a batch's log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from app.kafka.assignor import AggregatorAssignor
from app.kafka.producer import KafkaSender, SendError
from app.messages.frames import event_frames
from app.messages.partitioner import partition_of
from app.observability.history import SLOT, History
from app.observability.statistics import Statistics
from app.settings.enums import Language
from app.web.state import NotConfirmed
from tables.model.events import Command
from tables.working_set import WorkingSet

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

__all__ = ["WebView"]


class WebView:
    """Looks at a worker when it is asked; there before the worker has started."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        self._settings = app.settings
        self._sender: KafkaSender | None = None
        self.history = History(app.statistics)

    async def keep_history(self) -> None:
        """Take samples until the worker stops."""
        while not self._app.should_stop:
            await asyncio.sleep(SLOT - time.time() % SLOT)
            now = self._app.figures.now()
            self.history.take(time.time(), open_batches=now.open_batches, lag=sum(now.group_lag.values()))

    def send_by(self, sender: KafkaSender) -> None:
        """Send commands by this from now on."""
        self._sender = sender

    @property
    def url(self) -> str:
        """Where other workers reach this one."""
        return self._app.url

    @property
    def log_language(self) -> Language:
        """Of the worker's log lines."""
        return self._settings.log_language

    @property
    def statistics(self) -> Statistics:
        """What the worker has counted since its start."""
        return self._app.statistics

    @property
    def batch_timeout(self) -> float:
        """Seconds that a batch like the one that closed last would be given, if it were opened now."""
        return self._app.batch_timeout()

    @property
    def max_batch_age(self) -> float:
        """Seconds after its opening beyond which no batch's deadline is moved."""
        return self._settings.max_batch_age

    def live(self) -> bool:
        """Whether the worker works at all."""
        return self._app.live()

    def ready(self) -> bool:
        """Whether it is in the group and its assignment is recovered."""
        return self._app.ready()

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The worker's metrics for Prometheus, and their content type."""
        return self._app.figures.expose(accept)

    def working_sets(self) -> Mapping[int, WorkingSet]:
        """The batches of each partition that is the worker's."""
        return self._app.working_sets()

    def members(self) -> Mapping[str, frozenset[int]]:
        """The partitions of batches by the URL of the worker that owns them, as of the latest assignment."""
        return cast(AggregatorAssignor, self._app.assignor).members(self._settings.batch_events_topic)

    def partition_of(self, batch_id: str) -> int:
        """Where a batch of this id lives."""
        return partition_of(batch_id.encode(), self._settings.partitions)

    async def send_command(self, command: Command) -> None:
        """Append an operator's command to the log of its batch, which may be another worker's.

        Raises:
            NotConfirmed: The broker has not confirmed it.
        """
        if self._sender is None:
            message = "this worker has not started yet"
            raise NotConfirmed(message)
        topic = self._settings.batch_events_topic
        try:
            await self._sender.send(event_frames(topic, self.partition_of(command.batch_id), [command]))
        except SendError as error:
            raise NotConfirmed(str(error)) from error
