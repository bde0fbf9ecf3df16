"""The table in memory."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

import orjson

from tables.faust_tables import PartitionRecords
from tables.storage.records import Table, Write


def test_a_record_takes_no_more_memory_than_it_has_bytes() -> None:
    kept: dict[bytes, bytes | None] = {}
    store = SimpleNamespace(write=lambda _, key, value: kept.update({key: value}))
    records = PartitionRecords(cast(Any, {Table.BATCHES: SimpleNamespace(store=store)}), 0)
    header = {"stations": [str(1881540927845654529 + number) for number in range(100)]}
    tracemalloc.start()
    for number in range(100):
        records.write(Write(Table.BATCHES, b"%d" % number, orjson.dumps(header)))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 1.2 * 100 * len(orjson.dumps(header))
    records.write(Write(Table.BATCHES, b"0", None))
    assert kept[b"0"] is None
