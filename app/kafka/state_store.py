"""The worker's state: the Faust tables in memory, and their changelogs on the broker, which they are recovered from.

Faust replays a changelog an event at a time through the worker's streams: about 10,000 records a second, which after an
hour of work is minutes. Here the records are read straight into the stores first; what is left for Faust is what has
come meanwhile, and the bookkeeping.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any, cast

from aiokafka import TopicPartition
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from faust.types.transports import ConsumerT

from app.kafka.client import Application, reading
from app.kafka.log_changes import LogChanges
from app.kafka.producer import KafkaSender
from app.kafka.reading import OffsetRange, read_batches
from app.messages.message import OutMessage
from tables.faust_tables import BatchTable, PartitionRecords
from tables.storage.records import Table, Write
from tables.windows import Windows

RECORDS_AT_ONCE = 5_000
TURN_SECONDS = 0.02  # of the event loop
_NONE = -1  # no generation of a group has this number


class TableState:
    """Applies writes to the tables and makes them durable."""

    def __init__(self, tables: dict[Table, BatchTable], sender: KafkaSender) -> None:
        self._tables = tables
        self._sender = sender
        self._topics = {name: str(table.changelog_topic.get_topic_name()) for name, table in tables.items()}
        self._tables_by_topic = {topic: tables[name] for name, topic in self._topics.items()}

    def records(self, partition: int) -> PartitionRecords:
        """The records of one partition."""
        return PartitionRecords(self._tables, partition)

    def windows(self, partition: int) -> Windows:
        """The windows of context of one partition."""
        windows = self._tables[Table.CONTEXT].store.partition(partition).windows
        if windows is None:
            message = "the table of context has been made without windows"
            raise RuntimeError(message)
        return windows

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory; the messages are what `save` has to be given."""
        records = self.records(partition)
        messages = []
        for write in writes:
            records.write(write)
            messages.append(OutMessage(self._topics[write.table], write.value, key=write.key, partition=partition))
        return messages

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Send changes to the changelogs; when this returns they are durable.

        If it does not, batches that this worker keeps over a rebalance must not know of them: a message that is read
        again would be taken for one that is stored already, and acknowledged, and whoever owns the partition next would
        have neither. Context is stored again whatever is kept.
        """
        try:
            offsets = await self._sender.send(messages)
        except BaseException:
            for message in messages:
                if message.topic == self._topics[Table.BATCHES]:
                    self._tables[Table.BATCHES].store.not_confirmed(message.partition or 0)
            raise
        for message, offset in zip(messages, offsets, strict=True):
            self._tables_by_topic[message.topic].store.confirmed(message.partition or 0, offset)


class BulkRecovery(Recovery):
    """Faust's recovery, with most of the work done before it begins."""

    def given_up(self) -> None:
        """Partitions are being taken away: a recovery that is under way must not make this worker their owner.

        Faust stops it when the next assignment is there, which may take as long as a session.
        """
        self._generation_id = _NONE

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Hand the partitions over, if they have not been taken away meanwhile."""
        if generation_id == self._generation_id:
            await super().on_recovery_completed(generation_id)

    async def _wait(self, coro: Any, timeout: object = None) -> None:  # noqa: ARG002, ASYNC109 - Faust's
        """Wait for a step, however long a broker is away: that is the watchdog's business.

        Faust takes a step that has run out of time for the end of this service. The worker would stay in the group, and
        recover nothing and do nothing any more.
        """
        await super()._wait(coro)

    async def _build_offsets(self, consumer: ConsumerT, tps: set[TP], destination: Counter[TP], title: str) -> None:
        await super()._build_offsets(consumer, tps, destination, title)
        if title == "active":
            self._follow_shorter(tps, destination)
            await self._load(tps, destination)

    def _follow_shorter(self, tps: set[TP], offsets: Counter[TP]) -> None:
        """Go on from the end of a changelog that holds less than this worker has of it, and say so.

        Its records stay in memory. Faust would end the worker, whose successor would know nothing of them.
        """
        for tp in tps:
            end = self.active_highwaters[tp]
            if offsets[tp] > end and isinstance(self.tp_to_table[tp], BatchTable):
                LogChanges(cast(Application, self.app)).changelog_shorter(tp, end + 1)
                cast(BatchTable, self.tp_to_table[tp]).store.loaded(tp.partition, end)
                offsets[tp] = end

    async def _load(self, tps: set[TP], offsets: Counter[TP]) -> None:
        """Read each changelog partition up to its end as it was when this recovery began.

        `offsets` are the last ones that the stores have; they are kept up to date, so that this may be cancelled by
        another rebalance at any point.
        """
        ours = [tp for tp in tps if isinstance(self.tp_to_table[tp], BatchTable)]  # Faust replays those of the user's
        ends = {tp: end for tp in ours if (end := self.active_highwaters[tp]) is not None and end > offsets[tp]}
        if not ends:
            return
        ranges = {TopicPartition(*tp): OffsetRange(offsets[tp] + 1, end + 1) for tp, end in ends.items()}
        async with reading(cast(Application, self.app).settings, max_poll_records=RECORDS_AT_ONCE) as consumer:
            # A broker that is away is the watchdog's business.
            async for topic_partition, records in read_batches(consumer, ranges, stalled_after=None):
                tp = TP(*topic_partition)
                store = cast(BatchTable, self.tp_to_table[tp]).store
                turn_ends = perf_counter() + TURN_SECONDS
                for record in records:
                    store.write(tp.partition, record.key, record.value)
                    if perf_counter() > turn_ends or record is records[-1]:
                        store.loaded(tp.partition, record.offset)
                        offsets[tp] = record.offset
                        await asyncio.sleep(0)  # heartbeats, the web: segments of windows take a while
                        turn_ends = perf_counter() + TURN_SECONDS
        for tp, end in ends.items():
            offsets[tp] = max(offsets[tp], end)
            # What the owner before, a zombie by now, has written meanwhile is read too. Faust ends a worker for that.
            self.active_highwaters[tp] = offsets[tp]


class AggregatorTables(TableManager):
    """Faust's tables with our recovery."""

    async def on_start(self) -> None:
        """Start at once: Faust sleeps for a second, in which agents might add tables. Ours are made with the app."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    @property
    def recovery(self) -> BulkRecovery:
        """The recovery service, made when first asked for."""
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast(BulkRecovery, self._recovery)
