"""The Faust tables: recovered by Faust, written by ourselves.

A change is made in memory and sent to the table's changelog as a message of our own, because only that can be awaited:
what Faust's `table[key] = value` sends can be lost when the process is killed. Factories take the Faust app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import faust
from faust.stores.base import Store
from faust.tables.table import Table as FaustTable
from faust.types import TP, EventT

from tables.storage.records import Table, Write
from tables.window_segments import PREFIX
from tables.windows import Windows

UNORDERED_MAX = 100_000  # own writes that are remembered while the offset before them has not been read


class _Partition:
    """Records of one partition, and the offset of the changelog up to which they are complete.

    `is_ahead`: they hold what may not stand in the changelog.
    """

    __slots__ = ("is_ahead", "offset", "own", "records", "windows")

    def __init__(self, windows: Windows | None) -> None:
        self.windows = windows
        self.records: dict[bytes, bytes] = {}
        self.offset: int | None = None
        self.own: set[int] = set()
        self.is_ahead = False


class PartitionStore(Store[bytes, bytes]):
    """A table store in memory that knows which partition each record belongs to.

    Faust replays a changelog from `persisted_offset` on. Our own writes move that offset only as far as they follow one
    another without a gap: a gap holds what another owner has written meanwhile, and that must be replayed.
    """

    def __post_init__(self) -> None:
        self.partitions: dict[int, _Partition] = {}
        self.make_windows: Callable[[], Windows | None] = lambda: None

    def partition(self, number: int) -> _Partition:
        """The records of a partition, made when first asked for."""
        partition = self.partitions.get(number)
        if partition is None:
            partition = self.partitions[number] = _Partition(self.make_windows())
        return partition

    def write(self, number: int, key: bytes, value: bytes | None) -> None:
        """Set a record, or delete it where `value` is None."""
        partition = self.partition(number)
        if partition.windows is not None and key[:1] == PREFIX:
            partition.windows.write(key, value)
            return
        records = partition.records
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value

    def confirmed(self, number: int, offset: int) -> None:
        """One of our own writes stands in the changelog at `offset`."""
        partition = self.partition(number)
        if partition.offset is None:
            return
        partition.own.add(offset)
        while partition.offset + 1 in partition.own:
            partition.offset += 1
            partition.own.discard(partition.offset)
        if len(partition.own) > UNORDERED_MAX:
            partition.own.clear()

    def not_confirmed(self, number: int) -> None:
        """Some of our own writes may not stand in the changelog: the next rebalance has all of it read anew."""
        self.partition(number).is_ahead = True

    def loaded(self, number: int, offset: int) -> None:
        """The changelog has been read up to and including `offset`."""
        self.partition(number).offset = offset

    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Take in a run of the changelog."""
        del to_key, to_value  # keys and values are bytes
        for event in batch:
            message = event.message
            self.write(message.partition, message.key or b"", message.value)
            self.loaded(message.partition, message.offset)

    def persisted_offset(self, tp: TP) -> int | None:
        """The offset up to which nothing has to be replayed."""
        partition = self.partitions.get(tp.partition)
        return None if partition is None else partition.offset

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Faust calls this for writes of its own, and makes none."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Drop the records of partitions that have been revoked, and those that are ahead of their changelog."""
        del assigned, revoked, newly_assigned, generation_id  # of the group's topics; the changelog's own count here
        topic = self.table.changelog_topic.get_topic_name()
        owned = {tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == topic}
        for number in [number for number in self.partitions if number not in owned]:
            del self.partitions[number]
        for number in owned:
            if self.partition(number).is_ahead:
                del self.partitions[number]
                self.partition(number).offset = -1  # and not None: Faust would go on from the last one that it knows
            self.partition(number).own.clear()

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Begin to count our own writes in partitions whose changelog is empty."""
        del standby_tps  # there are none
        for tp in active_tps:
            partition = self.partition(tp.partition)
            if partition.offset is None:
                partition.offset = -1

    def reset_state(self) -> None:
        """Nothing outlives the process."""

    async def backup_partition(self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """The changelog is the backup."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """The changelog is the backup."""


class BatchTable(FaustTable[bytes, bytes]):
    """A table of bytes over a `PartitionStore`."""

    def _new_store(self) -> PartitionStore:
        return PartitionStore(
            "memory://",
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            loop=self.loop,
        )

    @property
    def store(self) -> PartitionStore:
        """The store under the table."""
        return cast(PartitionStore, self.data)


def exact(value: bytes) -> bytes:
    """Copy bytes into memory of their own length: orjson returns them in a buffer of up to eight times that."""
    return bytes(memoryview(value))


class PartitionRecords:
    """The records of one partition over all tables, for a working set."""

    def __init__(self, tables: dict[Table, BatchTable], number: int) -> None:
        self._tables = tables
        self._number = number

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""
        return self._tables[table].store.partition(self._number).records.items()

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""
        return self._tables[table].store.partition(self._number).records.get(key)

    def write(self, write: Write) -> None:
        """Change a record in memory."""
        value = None if write.value is None else exact(write.value)
        self._tables[write.table].store.write(self._number, write.key, value)


_PURPOSES: Final = {
    Table.BATCHES: "Open and remembered batches, and what has come for them",
    Table.CONTEXT: "The newest records of each station on the context topics, and windows of them",
}


def make_tables(
    app: faust.App, *, partitions: int, max_message_bytes: int, make_windows: Callable[[], Windows]
) -> dict[Table, BatchTable]:
    """All tables, registered with the app; their changelogs are compacted topics.

    `make_windows` makes the windows of context of one partition.
    """
    tables: dict[Table, BatchTable] = {}
    for name in Table:
        tables[name] = BatchTable(
            app,
            name=name.value,
            help=_PURPOSES[name],
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            extra_topic_configs={"max.message.bytes": max_message_bytes},
        )
        app.tables.add(tables[name])
    tables[Table.CONTEXT].store.make_windows = make_windows
    return tables
