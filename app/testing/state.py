"""The aggregator's tables in memory, recovered from their changelogs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.kafka.topics import changelog_topic
from app.messages.message import OutMessage, Sender
from app.testing.broker import MemoryBroker
from tables.storage.records import Table, Write

__all__ = ["MemoryTables", "PartitionRecords"]


class PartitionRecords:
    """The records of one partition of all tables."""

    def __init__(self) -> None:
        self.tables: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""
        return self.tables[table].items()

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""
        return self.tables[table].get(key)

    def write(self, write: Write) -> None:
        """Set a record, or delete it."""
        if write.value is None:
            self.tables[write.table].pop(write.key, None)
        else:
            self.tables[write.table][write.key] = write.value


class MemoryTables:
    """The tables as dicts, recovered from their changelogs."""

    def __init__(self, app_id: str, broker: MemoryBroker, sender: Sender) -> None:
        self._sender = sender
        self._topics = {table: changelog_topic(app_id, table) for table in Table}
        self._partitions: dict[int, PartitionRecords] = {}
        for table, topic in self._topics.items():
            for message in broker.messages(topic):
                self.records(message.partition).write(Write(table, message.key or b"", message.value))

    def records(self, partition: int) -> PartitionRecords:
        """The records of one partition."""
        records = self._partitions.get(partition)
        if records is None:
            records = self._partitions[partition] = PartitionRecords()
        return records

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory; the messages are what `save` has to be given."""
        records = self.records(partition)
        messages = []
        for write in writes:
            records.write(write)
            messages.append(OutMessage(self._topics[write.table], write.value, key=write.key, partition=partition))
        return messages

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Append changes to the changelogs."""
        await self._sender.send(messages)
