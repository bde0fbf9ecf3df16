"""What windows of context cost in memory, changelog and time: `python -m tests.bench.windows`; no Kafka, minutes.

Each station has so many points, one a message with all stations, as meters are read. It is read back as after a
restart, partition by partition, from all that was written: nothing is compacted yet, which is the most there can be.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from zoneinfo import ZoneInfo

import orjson
from rich.console import Console
from rich.table import Table as RichTable

from app.inputs.alignment import Alignment
from app.inputs.arrays import ArrayMaker
from app.inputs.window_alignment import align_window
from tables.context import ContextUpdate, Place
from tables.storage.records import Write
from tables.storage.window import Content, Span
from tables.windows import Windows

TOPIC = "SCHEDULE-DEVICE-METER"
FIRST = 1_763_085_600
STEP = 300
NAMES = ("activePower", "voltage", "current", "energy")
MOST = 8 * 2**20
READS = 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one partition. Bytes of numbers are those of their columns as JSON."""

    numbers: int
    memory: int
    written: int
    apply: float  # seconds
    load: float
    read: float
    align: float
    arrays: float


def frames(stations: int, points: int, fields: int) -> Iterator[list[ContextUpdate]]:
    """Frames with a point of each station."""
    values = random.Random(1)  # noqa: S311 - data
    for point in range(points):
        place = Place(0, point, FIRST + STEP * point + values.random())
        yield [
            ContextUpdate(TOPIC, place, None, f"S{station:05}", FIRST + STEP * point, [record])
            for station in range(stations)
            for record in [
                {"stationId": f"S{station:05}"} | {name: round(values.random() * 300, 2) for name in NAMES[:fields]}
            ]
        ]


def filled(windows: Windows, stations: int, points: int, fields: int) -> tuple[list[Write], float]:
    """Fill windows; return what was written, and the seconds that it took."""
    written: list[Write] = []
    seconds = 0.0
    for events in frames(stations, points, fields):
        start = time.process_time()
        changes = windows.apply(events, now=1.0)
        for write in changes.writes:
            windows.write(write.key, write.value)
        windows.settled(changes.writes)
        seconds += time.process_time() - start
        written += changes.writes
    return written, seconds


def loaded(spans: dict[str, Span], written: Sequence[Write]) -> Windows:
    """Windows that were read back."""
    windows = Windows(spans, MOST)
    for write in written:
        windows.write(write.key, write.value)
    return windows


def measured(stations: int, points: int, fields: int) -> Cost:
    """Measure one partition with so many stations."""
    spans = {TOPIC: Span(points=points)}
    written, apply = filled(Windows(spans, MOST), stations, points, fields)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    windows = loaded(spans, written)
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    start = time.process_time()
    loaded(spans, written)
    load = time.process_time() - start
    contents: list[Content] = []
    reads = []
    for _, window in list(windows.items())[:READS]:
        start = time.process_time()
        contents.append(window.content(spans[TOPIC]))
        reads.append(time.process_time() - start)
    aligned, made = [], []
    numbers = 0.0
    alignment, maker = Alignment(ZoneInfo("Asia/Shanghai")), ArrayMaker()
    for content in contents:
        start = time.process_time()
        columns = align_window(content, alignment)
        aligned.append(time.process_time() - start)
        start = time.process_time()
        maker.align_window(content, alignment)
        made.append(time.process_time() - start)
        numbers += sum(len(orjson.dumps(columns[name])) for name in NAMES[:fields])
    return Cost(
        numbers=int(numbers / len(contents) * stations),
        memory=memory,
        written=sum(len(one.key) + len(one.value or b"") for one in written),
        apply=apply,
        load=load,
        read=median(reads),
        align=median(aligned),
        arrays=median(made),
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.windows", description=__doc__)
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--points", type=int, default=2016)
    parser.add_argument("--partitions", type=int, default=8, help="one of them is measured")
    options = parser.parse_args()
    stations, points = options.stations // options.partitions, options.points
    table = RichTable(
        title=f"{stations} of {options.stations} stations x {points} points, one partition of {options.partitions}"
    )
    for head in (
        "numbers a record",
        "memory / JSON of numbers",
        "memory of all, MiB",
        "changelog, bytes a record",
        "apply, µs a record",
        "read back all, s of CPU",
        "read a window, ms",
        "with columns, ms",
        "with arrays, ms",
    ):
        table.add_column(head, justify="right")
    for fields in (1, len(NAMES)):
        cost = measured(stations, points, fields)
        records = stations * points
        table.add_row(
            str(fields),
            f"{cost.memory / cost.numbers:.2f}",
            f"{cost.memory * options.partitions / 2**20:.0f}",
            f"{cost.written / records:.0f}",
            f"{cost.apply / records * 1e6:.1f}",
            f"{cost.load * options.partitions:.1f}",
            f"{cost.read * 1e3:.2f}",
            f"{(cost.read + cost.align) * 1e3:.2f}",
            f"{(cost.read + cost.arrays) * 1e3:.2f}",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
