"""Which partition a key belongs to: the hash that every Kafka client uses, so that all of them agree."""

from __future__ import annotations

from aiokafka.partitioner import murmur2

__all__ = ["Partitioner", "partition_of"]

REMEMBERED_KEYS = 200_000


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key as Kafka's default partitioner chooses it."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class Partitioner:
    """`partition_of` for a fixed number of partitions, remembered: station ids come again with every batch."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._known: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        """Partition of a key."""
        partition = self._known.get(key)
        if partition is None:
            partition = partition_of(key.encode(), self.partitions)
            if len(self._known) >= REMEMBERED_KEYS:
                self._known.clear()
            self._known[key] = partition
        return partition
