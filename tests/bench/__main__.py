"""`python -m tests.bench`: how much, how fast, at what cost, beside the yardstick, and beside peers with `--peers`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from app.devbroker import DevBroker
from tests.bench import machine
from tests.bench.burst import MESSAGES
from tests.bench.burst import measure as measure_burst
from tests.bench.burst import told as told_burst
from tests.bench.cluster import Outputs, Worker, create_topics, producing, source_message
from tests.bench.counting import main as print_counting
from tests.bench.loads import Kind, Load
from tests.bench.peers.catalogue import PEERS
from tests.bench.programs import APPLICATION, PORT, YARDSTICK, NotInstalledError, Program
from tests.bench.report import Results, grids, remarks, with_results
from tests.bench.throughput import Start, Turns
from tests.topic_creation import CREATES_TOPICS

SIZES = (10, 100, 1_000, 5_000, 10_000)
WINDOWS = (100,)
LATENCY_RATE = 20.0
LATENCY_STATIONS = 100
WARM_UP_SECONDS = 2.0
WARM_UP_BATCHES = int(WARM_UP_SECONDS * LATENCY_RATE)
IDLE_BATCHES = 5


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


def loads_of(sizes: Sequence[int], windows: Sequence[int]) -> list[Load]:
    """Return the loads: records with guns of each size, windows, and plain records of each size."""
    guns = [Load(Kind.GUNS, stations) for stations in sizes]
    plain = [Load(Kind.PLAIN, stations) for stations in sizes]
    return [*guns, *(Load(Kind.WINDOW, stations) for stations in windows), *plain]


def install(programs: Sequence[Program], results: Results, told: Callable[[str], None]) -> dict[Program, Start]:
    """Make the programs ready; what can't be had on this machine is left out."""
    starts: dict[Program, Start] = {}
    for program in programs:
        try:
            starts[program] = program.install(told)
        except NotInstalledError as error:
            results.left_out[program.name] = str(error)
            told(f"{program.name} is left out: {error}")
    return starts


async def measure_throughput(broker: DevBroker, folder: Path, options: argparse.Namespace, console: Console) -> None:
    """Measure what a record costs, print it, and write it into the pages."""
    peers = [PEERS[name] for name in (options.peers or PEERS)] if options.peers is not None else []
    results = Results([APPLICATION, YARDSTICK, *peers], loads_of(options.sizes, options.windows))

    def told(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    turns = Turns(broker, folder, install(results.programs, results, told), options.records)
    for number in range(options.rounds):
        told(f"Round {number + 1} of {options.rounds}")
        await turns.round(number, results, told)
    for grid in grids(results):
        table = RichTable(*grid.heads, title=grid.title)
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)
    console.print(*remarks(results), sep="\n", markup=False)
    # Before the first page is written: that makes the tree one that was changed.
    measured_on = {chinese: machine.described(sys.argv[1:], peers, chinese=chinese) for chinese in (False, True)}
    for page in options.write:
        chinese = ".zh-CN." in page.name
        page.write_text(with_results(page.read_text(), results, measured_on[chinese], chinese=chinese))


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    console = Console(width=max(130, Console().width))
    with tempfile.TemporaryDirectory() as folder, DevBroker(overrides=CREATES_TOPICS) as broker:
        await measure_throughput(broker, Path(folder), options, console)
        print_counting()
        bench = Bench(broker, Path(folder))
        if options.seconds:
            console.print(latency_line(await bench.latency(WARM_UP_SECONDS + options.seconds)))
            late = await bench.idle()
            console.print(f"Output after the deadline on an idle topic: worst {max(late) * 1e3:.0f} ms of {len(late)}")
        messages = options.burst if options.burst is not None else MESSAGES * (options.peers is None)
        if messages:
            console.print(told_burst(await measure_burst(broker, Path(folder), messages)))


def latency_line(delays: Sequence[float]) -> str:
    """Return the latency's percentiles in a line."""
    cold, warm = delays[:WARM_UP_BATCHES], sorted(delays[WARM_UP_BATCHES:])
    return (
        f"Latency, {LATENCY_RATE:g} batches/s of {LATENCY_STATIONS}: p50 {statistics.median(warm) * 1e3:.0f} ms, "
        f"p99 {warm[int(len(warm) * 0.99)] * 1e3:.0f} ms, worst {warm[-1] * 1e3:.0f} ms ({len(warm)} batches); "
        f"worst of the first {WARM_UP_SECONDS:g} s of a new application {max(cold) * 1e3:.0f} ms"
    )


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=...", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], help="measure these beside it; all of them: --peers")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="stations a batch")
    parser.add_argument("--windows", type=int, nargs="*", default=list(WINDOWS), help="stations of batches of windows")
    parser.add_argument("--records", type=int, default=100_000, help="records a load and round, about")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all programs and loads")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="pages whose tables are replaced")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long latency is measured; 0: not at all")
    parser.add_argument("--burst", type=int, help=f"source messages of the burst: {MESSAGES:,}, none beside peers")
    return parser


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics come and go: what it says of them is no news
    asyncio.run(run(arguments().parse_args()))
