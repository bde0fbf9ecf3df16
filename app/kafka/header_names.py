"""Header names that are not UTF-8: consumers read them, with U+FFFD in place of what can't be decoded.

A broker takes any bytes as the name of a header, and so do producers in other languages: one in C++ may send GBK.
aiokafka raises a UnicodeDecodeError while what it has fetched is taken from it. What stood before in the same fetch is
lost on the way, the position stays, and the next fetch brings the same again: a worker crashes at every start, and no
command gets past the message. Nobody looks for such a name, so the message is read like any other.

aiokafka's parser in C is the one that reads, as ever. Only a batch of records that it fails at is read once more, by
aiokafka's parser in Python. A fetcher has no place where one could give it another parser; it finds its classes in its
module, and so there they are replaced, for all consumers of the process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

# The head of a batch: its first offset, the length of what follows, the version of its form, its last offset less the
# first.
_HEAD: Final = struct.Struct(">qi4xb6xi")
_NOT_IN_LENGTH: Final = 12  # bytes of a batch that its length leaves out
_WITH_HEADERS: Final = 2


def read_any_name() -> None:
    """Have the consumers of this process read messages with any header names, those made before, too."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = FetchedRecords, TolerantRecords


class _Text(bytes):
    """Bytes that are text, whatever they hold."""

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """Decode them with U+FFFD in place of what is none, however strictly that is asked for."""
        del errors
        return super().decode(encoding, "replace")


class _Buffer(bytearray):
    """Bytes of records. All that is decoded of them is the names of headers."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Text(found) if isinstance(place, slice) else found


class TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # untyped there
    """A batch of records as aiokafka's Python parser reads it, with any header names."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Buffer(self._buffer)


class FetchedRecords(MemoryRecords):  # type: ignore[misc]  # untyped there
    """The batches that a fetch has brought of a partition, and their bytes, which aiokafka's parser keeps to itself."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class TolerantRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # untyped there
    """The records that a fetch has brought of a partition, whatever the names of their headers are."""

    _records_iterator: Iterator[Any] | None

    def __init__(self, tp: TopicPartition, records: FetchedRecords, *args: Any) -> None:
        super().__init__(tp, records, *args)
        self._fetched = records
        self._read_again = range(0)  # bytes of the batch that was read again last

    def __next__(self) -> Any:
        while True:
            try:
                return next(self._records_iterator)  # type: ignore[arg-type]  # an iterator until it has ended
            except StopIteration:
                self._records_iterator = None  # as aiokafka does
                raise
            # What the parser in C raises, that in Python raises as the cause of another error.
            except (UnicodeDecodeError, CorruptRecordException) as error:
                is_of_text = isinstance(error, UnicodeDecodeError) or isinstance(error.__cause__, UnicodeDecodeError)
                batch = batch_beyond(self._fetched.data, self.next_fetch_offset, self._read_again.start)
                if not is_of_text or batch is None or batch == self._read_again:
                    raise
            self._read_again = batch
            self._records = _Again(TolerantBatch(self._fetched.data[batch.start : batch.stop]), self._fetched)
            # It passes over what lies before `next_fetch_offset`: what has been given of the batch is not given again.
            self._records_iterator = self._unpack_records()


class _Again:
    """A batch that is read again, and those behind it."""

    def __init__(self, batch: TolerantBatch, rest: FetchedRecords) -> None:
        self._batch: TolerantBatch | None = batch
        self._rest = rest

    def has_next(self) -> bool:
        """Say whether there is a batch to be given."""
        return self._batch is not None or bool(self._rest.has_next())

    def next_batch(self) -> Any:
        """Return the next batch."""
        batch, self._batch = self._batch, None
        return self._rest.next_batch() if batch is None else batch


def batch_beyond(data: bytes, offset: int, place: int) -> range | None:
    """Return which bytes are the first batch, from a place on, that reaches an offset; None where there is none.

    Batches as they were before Kafka 0.11, whose records have no headers, are none.
    """
    while place + _HEAD.size <= len(data):
        first, length, version, last = _HEAD.unpack_from(data, place)
        end = place + _NOT_IN_LENGTH + length
        if version < _WITH_HEADERS or end <= place:
            return None
        if first + last >= offset:
            return range(place, end)
        place = end
    return None
