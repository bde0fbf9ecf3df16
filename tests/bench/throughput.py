"""How many stations a worker gets through from preloaded messages, at what cost, beside the yardstick."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from rich.table import Table as RichTable

from app.devbroker import DevBroker
from app.kafka.topics import changelog_topic
from tables.storage.records import Table
from tests.bench.cluster import Outputs, Process, Worker, bytes_of, create_topics, preload

__all__ = ["Load", "Throughput", "flatness", "load_table"]

LEAST_BATCHES = 20


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement. CPU in microseconds a station, changelog in bytes a station, memory in bytes."""

    stations: int
    batches: int
    rate: float
    cpu: float
    changelog: float
    resident: int
    yardstick_rate: float
    yardstick_cpu: float
    ratio: float


class Throughput:
    """Measures `total` stations on one broker, each time in new topics and with a new worker."""

    def __init__(self, broker: DevBroker, folder: Path, total: int, make_worker: Callable[[str], Worker]) -> None:
        self._broker = broker
        self._folder = folder
        self._total = total
        self._worker = make_worker
        self._runs = 0

    async def round(self, sizes: Iterable[int]) -> list[Load]:
        """One measurement for each number of stations a batch, right after each other."""
        startup = await self._startup()
        return [await self._load(stations, startup) for stations in sizes]

    def _name(self) -> str:
        self._runs += 1
        return f"load{self._runs}"

    async def _startup(self) -> float:
        """CPU seconds of a worker that starts and has nothing to do; they are no cost of a station."""
        name = self._name()
        await create_topics(self._broker.bootstrap, [f"in-{name}", f"out-{name}"])
        worker = self._worker(name)
        try:
            await worker.ready()
            return worker.cpu()
        finally:
            worker.stop()

    async def _load(self, stations: int, startup: float) -> Load:
        """From the first batch's opening to the last output's append."""
        servers, name = self._broker.bootstrap, self._name()
        batches = max(LEAST_BATCHES, self._total // stations)
        await create_topics(servers, [f"in-{name}", f"out-{name}", f"yard-{name}"])
        await preload(servers, f"in-{name}", batches, stations)
        worker = self._worker(name)
        try:
            await worker.ready()
            outputs = await Outputs(servers, f"out-{name}").read(batches, seconds=300)
            used, resident = worker.cpu() - startup, worker.resident()
        finally:
            worker.stop()
        begun = min(float(str(output.meta["opened_at"])) for output in outputs)
        seconds = max(output.appended_at for output in outputs) - begun
        yard_rate, yard_cpu = await self._yardstick(name, batches, stations)
        written = await bytes_of(servers, [changelog_topic(f"bench-{name}", table) for table in Table])
        count = batches * stations
        return Load(
            stations=stations,
            batches=len(outputs),
            rate=count / seconds,
            cpu=used / count * 1e6,
            changelog=written / count,
            resident=resident,
            yardstick_rate=yard_rate,
            yardstick_cpu=yard_cpu,
            ratio=count / seconds / yard_rate,
        )

    async def _yardstick(self, name: str, batches: int, stations: int) -> tuple[float, float]:
        servers = self._broker.bootstrap
        options = ["--servers", servers, "--source", f"in-{name}", "--output", f"yard-{name}"]
        usage = os.times()
        command = [sys.executable, "-m", "tests.bench.yardstick", *options, "--batches", str(batches)]
        process = Process(command, {}, self._folder / "yard.log")
        outputs = await Outputs(servers, f"yard-{name}").read(batches, seconds=300)
        await asyncio.to_thread(process.wait)
        after = os.times()
        cpu = after.children_user + after.children_system - usage.children_user - usage.children_system
        begun = min(float(str(output.meta["opened_at"])) for output in outputs)
        seconds = max(output.appended_at for output in outputs) - begun
        return batches * stations / seconds, cpu / (batches * stations) * 1e6


def load_table(rounds: Sequence[Sequence[Load]]) -> RichTable:
    """The median of each figure over the rounds, a row for each number of stations a batch."""
    title = f"One worker, trivial callback, preloaded messages: the median of {len(rounds)} rounds"
    table = RichTable(title=title)
    for column in (
        "stations a batch", "batches", "stations/s", "CPU µs a station", "changelog bytes a station",
        "resident MiB", "yardstick stations/s", "yardstick CPU µs", "ratio",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for loads in zip(*rounds, strict=True):
        row = Load(*[statistics.median(figures) for figures in zip(*map(astuple, loads), strict=True)])
        table.add_row(
            f"{row.stations:,.0f}",
            f"{row.batches:,.0f}",
            f"{row.rate:,.0f}",
            f"{row.cpu:.1f}",
            f"{row.changelog:.0f}",
            f"{row.resident / 2**20:.0f}",
            f"{row.yardstick_rate:,.0f}",
            f"{row.yardstick_cpu:.1f}",
            f"{row.ratio:.2f}",
        )
    return table


def flatness(rounds: Sequence[Sequence[Load]]) -> str:
    """By how much the cost of a station differs between the sizes, in each round: the machine's speed varies."""
    costs: list[Mapping[int, float]] = [{load.stations: load.cpu for load in loads} for loads in rounds]
    ratios = [max(cost.values()) / min(cost.values()) for cost in costs]
    in_each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"CPU a station, the dearest size against the cheapest: {statistics.median(ratios):.2f} ({in_each})"
