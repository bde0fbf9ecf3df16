"""Recovery of the tables in bulk.

Faust replays a changelog an event at a time through the worker's streams: about 10,000 records a second, which after an
hour of work is minutes. Here the records are read straight into the stores first; what is left for Faust is what has
come meanwhile, and the bookkeeping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP

from app.kafka.client import Host, reading
from tables.faust_tables import BatchTable

if TYPE_CHECKING:
    from collections import Counter

__all__ = ["AggregatorTables", "BulkRecovery"]

RECORDS_AT_ONCE = 5_000
FETCH_BYTES = 8 * 1024 * 1024
WAIT_MS = 500


class BulkRecovery(Recovery):
    """Faust's recovery, with most of the work done before it begins."""

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Counter[TP], title: str) -> None:
        await super()._build_offsets(consumer, tps, destination, title)
        if title == "active":
            await self._load(tps, destination)

    async def _load(self, tps: set[TP], offsets: Counter[TP]) -> None:
        """Read each changelog partition up to its end as it was when this recovery began.

        `offsets` are the last ones that the stores have; they are kept up to date, so that this may be cancelled by
        another rebalance at any point.
        """
        ends = {tp: end for tp in tps if (end := self.active_highwaters[tp]) is not None and end > offsets[tp]}
        if not ends:
            return
        settings = cast(Host, self.app).settings
        async with reading(settings, max_partition_fetch_bytes=FETCH_BYTES) as reader:
            reader.assign([TopicPartition(*tp) for tp in ends])
            for tp in ends:
                reader.seek(TopicPartition(*tp), offsets[tp] + 1)
            while ends:
                await self._read_some(reader, offsets)
                for tp, end in list(ends.items()):
                    if await reader.position(TopicPartition(*tp)) > end:
                        offsets[tp] = max(offsets[tp], end)
                        reader.pause(TopicPartition(*tp))
                        del ends[tp]

    async def _read_some(self, reader: AIOKafkaConsumer, offsets: Counter[TP]) -> None:
        for topic_partition, records in (await reader.getmany(timeout_ms=WAIT_MS, max_records=RECORDS_AT_ONCE)).items():
            tp = TP(*topic_partition)
            table = cast(BatchTable, self.tp_to_table[tp])
            for record in records:
                table.store.write(tp.partition, record.key, record.value)
            table.store.loaded(tp.partition, records[-1].offset)
            offsets[tp] = records[-1].offset


class AggregatorTables(TableManager):
    """Faust's tables with our recovery."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made when first asked for."""
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
