"""The worker's state store: the Faust tables in memory, their changelogs on the broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.kafka.producer import KafkaSender
from app.messages.message import OutMessage
from tables.faust_tables import BatchTable, PartitionRecords
from tables.storage.records import Table, Write

__all__ = ["TableState"]


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

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory; the messages are what `save` has to be given."""
        records = self.records(partition)
        messages = []
        for write in writes:
            records.write(write)
            messages.append(OutMessage(self._topics[write.table], write.value, key=write.key, partition=partition))
        return messages

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Send changes to the changelogs; when this returns they are durable."""
        offsets = await self._sender.send(messages)
        for message, offset in zip(messages, offsets, strict=True):
            self._tables_by_topic[message.topic].store.confirmed(message.partition or 0, offset)
