"""Batches of records as a broker keeps them, with any bytes as names of headers: aiokafka itself takes text only."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

__all__ = ["GBK", "Builder", "Name", "batch_bytes"]

GBK = "场站".encode("gbk")  # what a producer in C++ sends; no UTF-8

Builder = _DefaultRecordBatchBuilderPy  # that in C takes no `Name`


class Name(str):
    """A header's name that is sent as these bytes."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> Name:
        """Return the name."""
        name = super().__new__(cls, raw.decode(errors="replace"))
        name.raw = raw
        return name

    def encode(self, *_: object) -> bytes:
        """Return the bytes, whatever encoding is asked for."""
        return self.raw


def batch_bytes(
    first: int, names: Sequence[Sequence[bytes]], *, codec: int = 0, timestamp: int = 1_763_085_600_500
) -> bytes:
    """Return a batch of records from an offset on, each with headers of these names.

    A record's key is its offset, as text; so are its headers' values and the beginning of its value.
    """
    builder = Builder(2, codec, 0, -1, -1, -1, 1 << 30)
    for place, of_record in enumerate(names):
        text = b"%d" % (first + place)
        headers = [(Name(name), text) for name in of_record]
        builder.append(place, timestamp, text, text + b" " + b"v" * 100, headers)
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]  # no checksum goes over the offset
