"""What a station costs in bytes, CPU and memory, by the length of its window: `python -m tests.bench.volume`."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families as parse
from rich.console import Console
from rich.table import Table

from app.devbroker import DevBroker
from app.devbroker.config import free_port
from tests.bench.cluster import PARTITIONS, Outputs, Worker, create_topics, producing
from tests.bench.loads import WINDOW_GUNS, window_message
from tests.topic_creation import CREATES_TOPICS

LOADS = ((100, 1), (1_000, 1), (1_000, 24), (100, 168))  # stations a batch, hourly records a station
KINDS = ("station-events", "batch-events", "changelog", "output")


@dataclass(frozen=True, slots=True)
class Volume:
    """One load. Bytes and CPU seconds a station; memory in bytes."""

    stations: int
    window: int
    source: float
    kinds: dict[str, float]
    cpu: float
    peak: int


def written(port: int) -> dict[str, float]:
    """Bytes that a worker has written, by kind of topic."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = parse(answer.read().decode())
    return {
        sample.labels["kind"]: sample.value
        for family in families
        if family.name == "batch_aggregator_bytes"
        for sample in family.samples
        if sample.labels.get("direction") == "out" and sample.name.endswith("_total")
    }


async def measure(broker: DevBroker, folder: Path, stations: int, window: int, *, total: int, startup: float) -> Volume:
    """Run one load of about `total` records through a fresh worker, which uses `startup` CPU seconds to begin with."""
    name, servers, port = f"{stations}x{window}", broker.bootstrap, free_port()
    batches = max(8, total // (stations * window))
    await create_topics(servers, [f"in-{name}", f"out-{name}"])
    async with producing(servers) as producer:
        size = 0
        for number in range(batches):
            value = window_message(number, stations, window)
            size += len(value)
            await producer.send_and_wait(f"in-{name}", value, partition=number % PARTITIONS)
    worker = Worker(
        broker.url,
        app_id=f"volume-{name}",
        source=f"in-{name}",
        output=f"out-{name}",
        port=port,
        log=folder / f"{name}.log",
    )
    try:
        await worker.ready()
        await Outputs(servers, f"out-{name}").read(batches, seconds=300)
        await asyncio.sleep(2)  # what follows an output: its record in the changelog
        cpu, kinds, peak = worker.cpu(), await asyncio.to_thread(written, port), worker.peak()
    finally:
        worker.stop()
    count = batches * stations
    return Volume(
        stations, window, size / count, {kind: kinds[kind] / count for kind in KINDS}, (cpu - startup) / count, peak
    )


async def idle(broker: DevBroker, folder: Path) -> tuple[int, float, float]:
    """Of a worker that has nothing to do: resident bytes, the share of a core that it takes, CPU seconds to start."""
    await create_topics(broker.bootstrap, ["in-idle", "out-idle"])
    worker = Worker(
        broker.url, app_id="volume-idle", source="in-idle", output="out-idle", port=free_port(),
        log=folder / "idle.log",
    )  # fmt: skip
    try:
        await worker.ready()
        startup = worker.cpu()
        await asyncio.sleep(3)
        before = worker.cpu()
        await asyncio.sleep(10)
        return worker.resident(), (worker.cpu() - before) / 10, startup
    finally:
        worker.stop()


def load_of(text: str) -> tuple[int, int]:
    """Of `100x168`, stations and records a station."""
    stations, _, window = text.partition("x")
    return int(stations), int(window)


async def run(loads: Sequence[tuple[int, int]], total: int) -> None:
    """Measure and print."""
    console = Console(width=max(120, Console().width))
    table = Table(
        title=f"A station, {WINDOW_GUNS} guns a record; bytes are those of Kafka's record batches, not compressed"
    )
    for column in ("stations", "records a station", "source", *KINDS, "CPU µs", "peak MiB"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder, DevBroker(overrides=CREATES_TOPICS) as broker:
        resident, share, startup = await idle(broker, Path(folder))
        for stations, window in loads:
            row = await measure(broker, Path(folder), stations, window, total=total, startup=startup)
            table.add_row(
                f"{row.stations:,}",
                f"{row.window:,}",
                f"{row.source:,.0f}",
                *(f"{row.kinds[kind]:,.0f}" for kind in KINDS),
                f"{row.cpu * 1e6:,.0f}",
                f"{row.peak / 2**20:,.0f}",
            )
    console.print(table)
    console.print(f"An idle worker: {resident / 2**20:.0f} MiB, {share:.1%} of a core; {psutil.cpu_count()} cores here")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000, help="records a load, about")
    parser.add_argument("--loads", type=load_of, nargs="+", default=LOADS, metavar="STATIONSxRECORDS", help="1000x168")
    options = parser.parse_args()
    asyncio.run(run(options.loads, options.records))
