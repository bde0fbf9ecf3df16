"""`python -m tests.bench`: how much, how fast, at what cost; the yardstick in the same run, and the ratio to it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from app.devbroker import DevBroker
from app.topics import changelog_topic
from tables.records import Table
from tests.bench.burst import MESSAGES, measure, told
from tests.bench.cluster import Outputs, Process, Worker, bytes_of, create_topics, preload, producing, source_message
from tests.bench.counting import main as print_counting

SIZES = (10, 100, 1_000, 5_000)
LATENCY_RATE = 20.0
LATENCY_STATIONS = 100
WARM_UP_SECONDS = 2.0
WARM_UP_BATCHES = int(WARM_UP_SECONDS * LATENCY_RATE)
IDLE_BATCHES = 5
PORT = 16901


@dataclass(frozen=True, slots=True)
class Load:
    """One row of the throughput table. CPU in microseconds a station, changelog in bytes a station."""

    stations: int
    batches: int
    rate: float
    cpu: float
    yardstick_rate: float
    yardstick_cpu: float
    changelog: float
    resident: int


class Bench:
    """Runs the measurements on one broker."""

    def __init__(self, broker: DevBroker, folder: Path, total: int) -> None:
        self._broker = broker
        self._folder = folder
        self._total = total
        self._startup = 0.0

    async def measure_startup(self) -> None:
        """CPU seconds of a worker that starts and has nothing to do; they are no cost of a station."""
        await create_topics(self._broker.bootstrap, ["in-start", "out-start"])
        worker = self._worker("start")
        try:
            await worker.ready()
            self._startup = worker.cpu()
        finally:
            worker.stop()

    def _worker(self, name: str) -> Worker:
        return Worker(
            self._broker.url,
            app_id=f"bench-{name}",
            source=f"in-{name}",
            output=f"out-{name}",
            port=PORT,
            log=self._folder / f"{name}.log",
        )

    async def load(self, stations: int) -> Load:
        """Throughput from preloaded messages: from the first batch's opening to the last output's append."""
        servers, name = self._broker.bootstrap, f"load{stations}"
        batches = max(20, self._total // stations)
        await create_topics(servers, [f"in-{name}", f"out-{name}", f"yard-{name}"])
        await preload(servers, f"in-{name}", batches, stations)
        worker = self._worker(name)
        try:
            await worker.ready()
            outputs = await Outputs(servers, f"out-{name}").read(batches, seconds=300)
            used, resident = worker.cpu(), worker.resident()
        finally:
            worker.stop()
        begun = min(float(str(output.meta["opened_at"])) for output in outputs)
        seconds = max(output.appended_at for output in outputs) - begun
        yard_rate, yard_cpu = await self._yardstick(name, batches, stations)
        app_id = f"bench-{name}"
        written = await bytes_of(servers, [changelog_topic(app_id, table) for table in Table])
        count = batches * stations
        return Load(
            stations,
            len(outputs),
            count / seconds,
            (used - self._startup) / count * 1e6,
            yard_rate,
            yard_cpu,
            written / count,
            resident,
        )

    async def _yardstick(self, name: str, batches: int, stations: int) -> tuple[float, float]:
        servers = self._broker.bootstrap
        options = [
            "--servers",
            servers,
            "--source",
            f"in-{name}",
            "--output",
            f"yard-{name}",
            "--batches",
            str(batches),
        ]
        usage = os.times()
        process = Process([sys.executable, "-m", "tests.bench.yardstick", *options], {}, self._folder / "yard.log")
        outputs = await Outputs(servers, f"yard-{name}").read(batches, seconds=300)
        await asyncio.to_thread(process.wait)
        after = os.times()
        cpu = after.children_user + after.children_system - usage.children_user - usage.children_system
        begun = min(float(str(output.meta["opened_at"])) for output in outputs)
        seconds = max(output.appended_at for output in outputs) - begun
        return batches * stations / seconds, cpu / (batches * stations) * 1e6

    async def latency(self, seconds: float) -> list[float]:
        """Seconds from the append of a message to the append of its output, at a steady rate, in the order sent."""
        servers, name = self._broker.bootstrap, "latency"
        await create_topics(servers, [f"in-{name}", f"out-{name}"])
        worker = self._worker(name)
        try:
            await worker.ready()
            appended: dict[str, float] = {}
            count = int(LATENCY_RATE * seconds)
            started = time.monotonic()
            async with producing(servers) as producer:
                for number in range(count):
                    await asyncio.sleep(max(0.0, started + number / LATENCY_RATE - time.monotonic()))
                    message = source_message(number, LATENCY_STATIONS)
                    header = [("batch-id", f"batch-{number}".encode())]
                    sent = await producer.send_and_wait(f"in-{name}", message, key=str(number).encode(), headers=header)
                    appended[f"batch-{number}"] = sent.timestamp / 1000
            outputs = await Outputs(servers, f"out-{name}").read(count, seconds=60)
        finally:
            worker.stop()
        out = {output.batch_id: output.appended_at for output in outputs}
        return [out[batch_id] - sent_at for batch_id, sent_at in appended.items() if batch_id in out]

    async def idle(self) -> list[float]:
        """Seconds from the deadline to the append of the output, when nothing else comes in."""
        servers, name = self._broker.bootstrap, "idle"
        await create_topics(servers, [f"in-{name}", f"out-{name}"])
        os.environ["BENCH_TIMEOUT"] = "1"
        worker = self._worker(name)
        delays: list[float] = []
        try:
            await worker.ready()
            async with producing(servers) as producer:
                for number in range(IDLE_BATCHES):
                    message = source_message(number, 3).replace(b"S00001", b"HANGS")
                    header = [("batch-id", f"idle-{number}".encode())]
                    await producer.send_and_wait(f"in-{name}", message, headers=header)
                    outputs = await Outputs(servers, f"out-{name}").read(number + 1, seconds=30)
                    last = max(outputs, key=lambda output: output.appended_at)
                    delays.append(last.appended_at - float(str(last.meta["deadline"])))
        finally:
            worker.stop()
            del os.environ["BENCH_TIMEOUT"]
        return delays


async def run(sizes: list[int], total: int, seconds: float, burst_messages: int) -> None:
    """Measure and print."""
    console = Console(width=max(110, Console().width))
    with tempfile.TemporaryDirectory() as folder, DevBroker() as broker:
        bench = Bench(broker, Path(folder), total)
        await bench.measure_startup()
        table = RichTable(title=f"One worker, trivial callback, about {total:,} preloaded stations a row")
        for column in (
            "stations a batch", "batches", "stations/s", "CPU µs a station", "changelog bytes a station",
            "resident MiB", "yardstick stations/s", "yardstick CPU µs", "ratio",
        ):  # fmt: skip
            table.add_column(column, justify="right")
        for stations in sizes:
            row = await bench.load(stations)
            table.add_row(
                f"{row.stations:,}",
                f"{row.batches:,}",
                f"{row.rate:,.0f}",
                f"{row.cpu:.1f}",
                f"{row.changelog:.0f}",
                f"{row.resident / 2**20:.0f}",
                f"{row.yardstick_rate:,.0f}",
                f"{row.yardstick_cpu:.1f}",
                f"{row.rate / row.yardstick_rate:.2f}",
            )
            console.print(f"{stations:,} stations a batch: {row.rate:,.0f} stations/s")
        console.print(table)
        print_counting()
        delays = await bench.latency(WARM_UP_SECONDS + seconds)
        cold, warm = delays[:WARM_UP_BATCHES], sorted(delays[WARM_UP_BATCHES:])
        console.print(
            f"Latency, {LATENCY_RATE:g} batches/s of {LATENCY_STATIONS}: p50 {statistics.median(warm) * 1e3:.0f} ms, "
            f"p99 {warm[int(len(warm) * 0.99)] * 1e3:.0f} ms, worst {warm[-1] * 1e3:.0f} ms ({len(warm)} batches); "
            f"worst of the first {WARM_UP_SECONDS:g} s of a new application {max(cold) * 1e3:.0f} ms"
        )
        late = await bench.idle()
        if burst_messages:
            console.print(told(await measure(broker, Path(folder), burst_messages)))
        console.print(f"Output after the deadline on an idle topic: worst {max(late) * 1e3:.0f} ms of {len(late)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=...", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="stations a batch")
    parser.add_argument("--stations", type=int, default=300_000, help="stations a row, in all")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long latency is measured")
    parser.add_argument("--burst", type=int, default=MESSAGES, help="source messages of the burst; 0: none")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # a topic that was just created is sent to again: no news
    asyncio.run(run(options.sizes, options.stations, options.seconds, options.burst))
