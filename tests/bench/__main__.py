"""`python -m tests.bench`: how much, how fast, at what cost; the yardstick in the same run, and the ratio to it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.devbroker import DevBroker
from tests.bench.burst import MESSAGES, measure, told
from tests.bench.cluster import Outputs, Worker, create_topics, producing, source_message
from tests.bench.counting import main as print_counting
from tests.bench.throughput import Throughput, flatness, load_table
from tests.topic_creation import CREATES_TOPICS

SIZES = (10, 100, 1_000, 5_000)
LATENCY_RATE = 20.0
LATENCY_STATIONS = 100
WARM_UP_SECONDS = 2.0
WARM_UP_BATCHES = int(WARM_UP_SECONDS * LATENCY_RATE)
IDLE_BATCHES = 5
PORT = 16901


class Bench:
    """Runs the measurements on one broker."""

    def __init__(self, broker: DevBroker, folder: Path) -> None:
        self._broker = broker
        self._folder = folder

    def worker(self, name: str) -> Worker:
        """A worker that reads the topic `in-<name>` and writes `out-<name>`."""
        return Worker(
            self._broker.url,
            app_id=f"bench-{name}",
            source=f"in-{name}",
            output=f"out-{name}",
            port=PORT,
            log=self._folder / f"{name}.log",
        )

    async def latency(self, seconds: float) -> list[float]:
        """Seconds from the append of a message to the append of its output, at a steady rate, in the order sent."""
        servers, name = self._broker.bootstrap, "latency"
        await create_topics(servers, [f"in-{name}", f"out-{name}"])
        worker = self.worker(name)
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
        worker = self.worker(name)
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


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    console = Console(width=max(110, Console().width))
    with tempfile.TemporaryDirectory() as folder, DevBroker(overrides=CREATES_TOPICS) as broker:
        bench = Bench(broker, Path(folder))
        throughput = Throughput(broker, Path(folder), options.stations, bench.worker)
        rounds = []
        for number in range(1, options.rounds + 1):
            loads = await throughput.round(options.sizes)
            rounds.append(loads)
            rates = ", ".join(f"{load.rate:,.0f} at {load.stations:,}" for load in loads)
            console.print(f"Round {number} of {options.rounds}, stations/s: {rates} stations a batch")
        console.print(load_table(rounds))
        console.print(flatness(rounds))
        print_counting()
        delays = await bench.latency(WARM_UP_SECONDS + options.seconds)
        cold, warm = delays[:WARM_UP_BATCHES], sorted(delays[WARM_UP_BATCHES:])
        console.print(
            f"Latency, {LATENCY_RATE:g} batches/s of {LATENCY_STATIONS}: p50 {statistics.median(warm) * 1e3:.0f} ms, "
            f"p99 {warm[int(len(warm) * 0.99)] * 1e3:.0f} ms, worst {warm[-1] * 1e3:.0f} ms ({len(warm)} batches); "
            f"worst of the first {WARM_UP_SECONDS:g} s of a new application {max(cold) * 1e3:.0f} ms"
        )
        late = await bench.idle()
        if options.burst:
            console.print(told(await measure(broker, Path(folder), options.burst)))
        console.print(f"Output after the deadline on an idle topic: worst {max(late) * 1e3:.0f} ms of {len(late)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=...", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="stations a batch")
    parser.add_argument("--stations", type=int, default=300_000, help="stations a row and round, in all")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all sizes")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long latency is measured")
    parser.add_argument("--burst", type=int, default=MESSAGES, help="source messages of the burst; 0: none")
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # a topic that was just created is sent to again: no news
    asyncio.run(run(parser.parse_args()))
