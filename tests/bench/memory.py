"""What batches cost in memory and in the changelog: `python -m tests.bench.memory`; no Kafka, a few seconds."""

from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from tables.closed_batches import LIVE_STATIONS
from tables.faust_tables import exact
from tables.model.enums import LatePolicy
from tables.model.events import Arrived
from tables.model.policies import Rules
from tables.storage.records import Write
from tests.builders import MemoryRecords, Owner, open_, source

SIZES = (10, 100, 1_000, 5_000)
CHUNK = 200
FIRST_ID = 1881540927845654529  # ids of 19 digits, as the plants have them
RESULT = '{"station_id":"%s","result":"' + "x" * 72 + '"}'  # 120 bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes a batch: in memory while it is open and when it is remembered; in the changelog, in all and what stays."""

    stations: int
    opened: float
    closed: float
    written: float
    kept: float


class StoredRecords(MemoryRecords):
    """Records as the worker's table keeps them."""

    def write(self, writes: Iterable[Write]) -> None:
        super().write(Write(one.table, one.key, one.value and exact(one.value)) for one in writes)


def fill(owner: Owner, number: int, stations: int, *, whole: bool) -> None:
    """One batch: opened, its results in chunks; with `whole` also closed and published, else one station is missing."""
    batch_id = f"SCHEDULE-STATION-REALTIME-DATA_{1763085600 + number}"
    ids = [str(FIRST_ID + n) for n in range(stations)]
    owner.feed(open_(ids, batch=batch_id, at=100.0 + number))
    arrived = ids if whole else ids[:-1]
    for start in range(0, len(arrived), CHUNK):
        some = arrived[start : start + CHUNK]
        values = [RESULT % station for station in some]
        owner.feed(Arrived(batch_id, source(0), 101.0 + number, some, "r" * len(some), [*values], {}))
    if whole:
        owner.publish(batch_id)


def grown(owner: Owner, numbers: range, stations: int, *, whole: bool) -> float:
    """Bytes of memory that each of these batches adds."""
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for number in numbers:
        fill(owner, number, stations, whole=whole)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    return (after - before) / len(numbers)


def cost_of(stations: int, policy: LatePolicy) -> Cost:
    """Measured on as many batches as it takes until the few that stay as objects do not matter."""
    rules = Rules(late=policy)
    open_count = max(2, 20_000 // stations)
    tracemalloc.start()
    try:
        opened = grown(Owner(StoredRecords(), rules), range(open_count), stations, whole=False)
        owner = Owner(StoredRecords(), rules)
        warm = 2 * LIVE_STATIONS // stations + 1
        grown(owner, range(warm), stations, whole=True)
        before = owner.written
        closed = grown(owner, range(warm, 2 * warm), stations, whole=True)
    finally:
        tracemalloc.stop()
    kept = sum(len(key) + len(value) for records in owner.records.tables.values() for key, value in records.items())
    return Cost(stations, opened, closed, (owner.written - before) / warm, kept / (2 * warm))


def main() -> None:
    """Print a table for each late policy that keeps something of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="stations a batch")
    sizes = parser.parse_args().sizes
    console = Console(width=max(110, Console().width))
    for policy in (LatePolicy.TOPIC, LatePolicy.REVISE):
        table = RichTable(title=f"One batch, ids of 19 digits, results of 120 bytes, AGG_LATE_POLICY={policy}")
        for column in ("stations", "open: memory", "a station", "closed: memory", "a station", "changelog: written",
                       "a station", "stays", "a station"):  # fmt: skip
            table.add_column(column, justify="right")
        for size in sizes:
            cost = cost_of(size, policy)
            row = [f"{size:,}"]
            for value in (cost.opened, cost.closed, cost.written, cost.kept):
                row += [f"{value:,.0f}", f"{value / size:,.0f}"]
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
