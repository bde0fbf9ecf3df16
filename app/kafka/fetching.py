"""Fetching beside seeks: what came while the flow was closed, or was asked for before a seek, is fetched again.

Faust's fetcher drops what comes while the flow is closed, and seeks every partition to make up for it. That seek runs
beside the one that ends a recovery, and on after the recovery has opened the flow. Both note their start beside the
commits, so that the second finds what looks like two workers that have ended where they began, and has the station
events run in small groups: seconds of silence at each rebalance.

Overrides of Faust's:

    _wait_next_records        the fetcher seeks; when all partitions are paused it sleeps for a second, and reads late
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka.errors import IllegalStateError
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.kafka.consumer_thread import ConsumerThread

PAUSED_SLEEP = 0.02


class FetchingConsumer(driver.Consumer):
    """Faust's consumer with a fetcher that leaves seeking to the recovery."""

    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next: dict[TP, int] = {}  # the offset that a partition's next message should have
        self._seeks = 0  # of all partitions
        self._unused: dict[TP, int] = {}  # partitions of which something was fetched and not used, and its first offset

    async def _wait_next_records(self, timeout: float) -> tuple[RecordMap, set[TP]]:  # noqa: ASYNC109 - Faust's
        """Wait for records, for a moment only when every partition is paused.

        What comes while the flow is closed, or was asked for before the partitions were sought, is fetched again.
        """
        while not self.should_stop:
            if not self.flow_active:
                await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # an asyncio.Event does, mode forgets it
                continue
            if self._unused:
                await self._go_back()
                continue
            active_partitions = self._get_active_partitions()
            if not active_partitions:
                await self.sleep(PAUSED_SLEEP)
                continue
            seeks = self._seeks
            fetched = await self._getmany(active_partitions, timeout)
            if self.flow_active and seeks == self._seeks:
                return fetched, active_partitions
            self._unused |= {
                tp: self._offset_of(tp, records) for tp, records in fetched.items() if tp not in self._unused
            }
        return {}, set()

    def _offset_of(self, tp: TP, records: Sequence[Any]) -> int:
        """Return the first offset of what `_getmany` has given of a partition."""
        first = records[0][0] if self._comes_in_pieces(tp) else records[0]
        return int(first.offset)

    def _comes_in_pieces(self, tp: TP) -> bool:
        """Say whether `_getmany` gives the records of a partition in lists, and not one by one."""
        return not self._is_changelog_tp(tp)

    async def _go_back(self) -> None:
        """Seek where the next fetch has to begin: what was fetched and not used has moved the positions.

        A partition that has been sought meanwhile, to before what was fetched, stays there.
        """
        tp, first = self._unused.popitem()
        at = self._thread.fetched_to(tp) if self._is_changelog_tp(tp) else self._next.get(tp)
        if at is not None:
            with suppress(IllegalStateError):  # no longer assigned
                await self._seek(tp, min(at, first) if self._is_changelog_tp(tp) else at)
