"""What the Python peers share: their arguments, and the job itself, in the yardstick's pinned code."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.bench.model import plain_callback
from tests.bench.pinned import Batch, Record, align, encode_result, parse

PARTITIONS = 8
TIMEOUT = 60.0  # seconds from reading a message to its deadline, as the benchmark's workers have it

__all__ = ["PARTITIONS", "TIMEOUT", "Batch", "encode_output", "options", "parse", "result_of"]


def options() -> Any:
    """Return the arguments: servers, source, output, folder."""
    parser = argparse.ArgumentParser()
    for name in ("servers", "source", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    return parser.parse_args()


def result_of(topic: str, station_id: str, records: Sequence[Record]) -> str | None:
    """Run the callback of one station; return its result as JSON text."""
    return encode_result(station_id, plain_callback(station_id, {topic: align(records)})).value


def encode_output(
    batch_id: str,
    opened_at: float,
    expected: Sequence[str],
    results: Mapping[str, str | None],
    now: Callable[[], float] = time.time,
) -> bytes:
    """Return the merged message of a batch.

    Args:
        batch_id: the batch's.
        opened_at: Unix seconds at which its message was read.
        expected: the stations that the message names, in its order.
        results: of those that have arrived, the result as JSON text; None where there is none.
        now: Unix seconds.
    """
    given = [result for station in expected if (result := results.get(station)) is not None]
    missing = [] if len(results) == len(expected) else [station for station in expected if station not in results]
    head = orjson.dumps({"batch_id": batch_id, "timestamp": now(), "station_count": len(given)})
    meta = orjson.dumps({"opened_at": opened_at, "expected_count": len(expected), "missing": missing})
    return b'%b,"stations":[%b],"meta":%b}' % (head[:-1], ",".join(given).encode(), meta)
