"""The operator's desk over many remembered batches: `make bench DESK=1`.

Two workers remember so many closed batches, while others come at a steady rate. By turns nobody looks, and somebody
does: an overview, which is opened and then asks as the dashboard does, and the pages of single batches. What is
measured is how long answers take, from request to last byte, and whether the batches take longer while somebody looks.
Behind these rounds the overview is opened several times, for how long all of its answers take at once.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.table import Table as RichTable

from app.devbroker import DevBroker
from app.kafka.client import administering
from app.kafka.topics import changelog_topic, topic_specs
from app.kafka.topics import create_topics as create
from app.messages.partitioner import partition_of
from app.settings import Settings
from tables.model.events import Arrived, Expire, Open, Position, Released, Source
from tables.model.policies import Rules
from tables.storage.records import Destination, Table
from tables.working_set import WorkingSet
from tests.bench.cluster import Outputs, Worker, create_topics, producing, source_message
from tests.builders import MemoryRecords
from tests.ports import own_port

APP, SOURCE, OUTPUT = "bench-desk", "in-desk", "out-desk"
RATE: Final = 20.0  # batches a second
STATIONS: Final = 100
TIMEOUT: Final = 5.0
ODD: Final = 50  # of so many batches one misses a station, and one has a station that failed
WARM_UP: Final = 10.0  # seconds after the workers are ready
PRICED: Final = 10  # answers whose cost is measured: the system counts in steps of 10 ms
PRICED_EVERY: Final = 1.0  # seconds
PERIOD: Final = 1.0  # seconds from the answers to the next questions, as app/web/static/js/poll.js asks
OVERVIEW: Final = {  # path -> seconds between two questions, as app/web/static/js/main.js asks
    "/cluster": 5,
    "/stats?since=1h": 1,
    "/batches?status=open&limit=20": 1,
    "/batches?status=closed&limit=12": 1,
    "/stations?limit=1000&order=misses&since=1h": 10,
    "/heatmap?batches=30&stations=100": 5,
    "/history": 10,
    "/batches?completed_by=operator&since=1h&limit=100": 10,
    "/sources": 5,
}
OPENINGS: Final = 20  # of the overview, behind the rounds: who opens it asks for all at once
OPENED_EVERY: Final = 2.0  # seconds
BATCH: Final = ("/batches/{}", "/batches/{}/timeline")
WHOLE_OVERVIEW, WHOLE_BATCH = "an overview, all at once", "a batch's page, all at once"


def remembered(count: int, now: float) -> Iterator[tuple[bytes, bytes]]:
    """Yield the stored records of so many closed batches, the newest of which closed at `now`."""
    records = MemoryRecords()
    working_set = WorkingSet(records, Rules())
    ids = [f"S{number:05d}" for number in range(STATIONS)]
    values: list[str | None] = [f'{{"station_id":"{station}","result":1}}' for station in ids]
    for number in range(count):
        batch_id = f"{SOURCE}_{1763000000 + number}"
        closed_at = now - (count - 1 - number) / RATE
        source = Source(SOURCE, number % 8, number)
        opened_at = closed_at - TIMEOUT
        absent, failed = number % ODD == 0, number % ODD == 1
        codes = ("f" if failed else "r") + "r" * (STATIONS - 1 - absent)
        texts: list[str | None] = ["ValueError: no", *values[1:]] if failed else values
        arrived = Arrived(batch_id, source, closed_at, ids[: len(codes)], codes, texts[: len(codes)], {})
        working_set.apply(Open(batch_id, source, opened_at, closed_at, tuple(ids)), Position(3 * number, 0))
        effects = working_set.apply(arrived, Position(3 * number + 1, 0))
        if absent:
            effects = working_set.apply(Expire(batch_id, closed_at, closed_at), Position(3 * number + 2, 0))
        released = {one.decision.batch_id: Destination(OUTPUT, 0) for one in effects if isinstance(one, Released)}
        records.write(working_set.take_writes(released))
        records.write(working_set.published(batch_id, 1))
    yield from records.items(Table.BATCHES)


@dataclass(slots=True)
class Figures:
    """What was measured.

    Attributes:
        answers: seconds that answers took, by path.
        first: of these, that of the first answer.
        not_whole: answers in which a worker's share was missing.
        costs: CPU seconds of all workers for an answer, by path.
        latencies: seconds of batches in rounds, by whether somebody looked.
        busy: CPU seconds of all workers a second, in the same rounds.
    """

    answers: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    not_whole: Counter[str] = field(default_factory=Counter)
    costs: dict[str, float] = field(default_factory=dict)
    latencies: dict[bool, list[list[float]]] = field(default_factory=lambda: {False: [], True: []})
    busy: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})

    def answered(self, path: str, seconds: float) -> None:
        """Take how long an answer took; the first one of a path is kept apart."""
        self.first.setdefault(path, seconds)
        self.answers.setdefault(path, []).append(seconds)


class Desk:
    """The operator: asks one worker as the dashboard does."""

    def __init__(self, session: aiohttp.ClientSession, url: str, batch_ids: Sequence[str], figures: Figures) -> None:
        self._session = session
        self._url = url
        self._batch_ids = batch_ids
        self._figures = figures

    async def price(self, running: Sequence[Worker]) -> None:
        """Find what an answer costs the workers while nothing else is to be done."""
        for path in (*OVERVIEW, *BATCH):
            before = cpu_of_all(running)
            for _ in range(PRICED):
                await asyncio.sleep(PRICED_EVERY)
                async with self._session.get(self._url + path.format(self._batch_ids[-1])) as answer:
                    await answer.read()
            self._figures.costs[path] = (cpu_of_all(running) - before) / PRICED

    async def look(self, seconds: float) -> None:
        """Look for so long: open the overview, ask again and again for what is due, and each time at another batch."""
        started = time.monotonic()
        due = dict.fromkeys(OVERVIEW, 0.0)
        while (now := time.monotonic()) < started + seconds:
            await self._ask_all(paths := by_turns(due, now), WHOLE_OVERVIEW if len(paths) == len(OVERVIEW) else None)
            due |= {path: time.monotonic() + OVERVIEW[path] - PERIOD / 2 for path in paths}
            batch_id = random.choice(self._batch_ids)  # noqa: S311 - no secret
            await self._ask_all([path.format(batch_id) for path in BATCH], WHOLE_BATCH, named=BATCH)
            await asyncio.sleep(PERIOD)

    async def open(self) -> None:
        """Open the overview several times."""
        for _ in range(OPENINGS):
            await asyncio.sleep(OPENED_EVERY)
            await self._ask_all(list(OVERVIEW), WHOLE_OVERVIEW)

    async def _ask_all(self, paths: Sequence[str], whole: str | None, named: Sequence[str] = ()) -> None:
        started = time.perf_counter()
        await asyncio.gather(*(self._ask(path, name) for path, name in zip(paths, named or paths, strict=True)))
        if whole is not None:
            self._figures.answered(whole, time.perf_counter() - started)

    async def _ask(self, path: str, name: str) -> None:
        started = time.perf_counter()
        async with self._session.get(self._url + path) as answer:
            body = await answer.json()
        self._figures.answered(name, time.perf_counter() - started)
        if answer.status != HTTPStatus.OK or body.get("incomplete"):
            self._figures.not_whole[name] += 1


def by_turns(due: Mapping[str, float], now: float) -> list[str]:
    """Return the paths that are asked for now, as app/web/static/js/by_turns.js does; 0 is due at once."""
    over = [path for path, at in due.items() if at <= now]
    at_once = [path for path in over if due[path] == 0 or OVERVIEW[path] <= PERIOD]
    waiting = sorted((path for path in over if path not in at_once), key=lambda path: due[path])
    return at_once + waiting[: math.ceil(len(waiting) / 2)]


def cpu_of_all(running: Sequence[Worker]) -> float:
    """Return the CPU seconds of all workers so far."""
    return sum(worker.cpu() for worker in running)


class Traffic:
    """Batches at a steady rate."""

    def __init__(self) -> None:
        self.appended: dict[str, float] = {}  # by batch id, Unix seconds
        self._stopped = False

    async def run(self, servers: str) -> None:
        """Send until it is stopped."""
        started = time.monotonic()
        async with producing(servers) as producer:
            number = 0
            while not self._stopped:
                await asyncio.sleep(max(0.0, started + number / RATE - time.monotonic()))
                batch_id = f"batch-{number}"
                header = [("batch-id", batch_id.encode())]
                key, value = str(number).encode(), source_message(number, STATIONS)
                sent = await producer.send_and_wait(SOURCE, value, key=key, headers=header)
                self.appended[batch_id] = sent.timestamp / 1000
                number += 1

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True


async def fill(settings: Settings, servers: str, count: int) -> list[str]:
    """Make the topics, and write the closed batches into the changelog; returns their ids."""
    await create_topics(servers, [SOURCE, OUTPUT])
    async with administering(settings) as admin:
        await create(admin, [spec for spec in topic_specs(settings) if spec.name != OUTPUT])
    topic = changelog_topic(settings.app_id, Table.BATCHES)
    ids: list[str] = []
    async with producing(servers) as producer:
        records = remembered(count, time.time())
        while some := list(islice(records, 2000)):
            sent = []
            for key, value in some:
                ids.append(key.decode())
                partition = partition_of(key, settings.partitions)
                sent.append(await producer.send(topic, value, key=key, partition=partition))
            await asyncio.gather(*sent)
    return ids


@asynccontextmanager
async def workers(broker: DevBroker, folder: Path, name: str, settings: dict[str, str]) -> AsyncIterator[list[Worker]]:
    """Start two workers, and wait until both own partitions."""
    running: list[Worker] = []
    try:
        for number in range(2):
            log = folder / f"{name}-{number}.log"
            port = own_port()
            running.append(
                Worker(
                    broker.url, app_id=name, source=SOURCE, output=OUTPUT, port=port, log=log,
                    settings=settings | {"AGG_BATCH_TIMEOUT": str(TIMEOUT)},
                )
            )  # fmt: skip
        for worker in running:
            await worker.ready()
        async with aiohttp.ClientSession() as session:
            while not await _both_own(session, running[0].url):
                running[0].check()
                running[1].check()
                await asyncio.sleep(0.2)
        yield running
    finally:
        for worker in running:
            worker.stop()


async def _both_own(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(f"{url}/cluster") as answer:
        seen = (await answer.json())["workers"]
    return len(seen) == 2 and all(one["ready"] and one["partitions"] for one in seen)


async def measure(broker: DevBroker, folder: Path, options: argparse.Namespace, console: Console) -> None:
    """Measure, and print."""
    settings = Settings(broker=broker.url, app_id=APP, source_topics=(SOURCE,), output_topic=OUTPUT)
    own = {"AGG_CLOSED_TTL": "86400", "AGG_CLOSED_MAX": str(2 * options.batches + 1_000_000)}
    started = time.monotonic()
    ids = await fill(settings, broker.bootstrap, options.batches)
    console.print(f"{len(ids):,} closed batches of {STATIONS} stations written in {time.monotonic() - started:.0f} s")
    figures, traffic = Figures(), Traffic()
    started = time.monotonic()
    async with workers(broker, folder, APP, own) as running, aiohttp.ClientSession() as session:
        console.print(f"two workers have recovered them in {time.monotonic() - started:.0f} s")
        resident = [worker.resident() for worker in running]
        await asyncio.sleep(WARM_UP)
        desk = Desk(session, running[0].url, ids, figures)
        await desk.price(running)
        sending = asyncio.create_task(traffic.run(broker.bootstrap))
        await asyncio.sleep(WARM_UP)
        rounds: list[tuple[float, float, bool]] = []
        for number in range(2 * options.rounds):
            watched = number % 2 == 1
            begin, cpu = time.time(), cpu_of_all(running)
            await (desk.look(options.seconds) if watched else asyncio.sleep(options.seconds))
            rounds.append((begin, time.time(), watched))
            figures.busy[watched].append((cpu_of_all(running) - cpu) / (time.time() - begin))
        await desk.open()
        traffic.stop()
        await sending
        outputs = await Outputs(broker.bootstrap, OUTPUT).read(len(traffic.appended), seconds=60)
        later = [worker.resident() for worker in running]
    out = {output.batch_id: output.appended_at for output in outputs}
    for begin, end, watched in rounds:
        sent = {batch_id: at for batch_id, at in traffic.appended.items() if begin <= at < end}
        figures.latencies[watched].append(sorted(out[batch_id] - at for batch_id, at in sent.items()))
    show(figures, console)
    at_first, at_last = (", ".join(f"{size / 2**20:.0f}" for size in sizes) for sizes in (resident, later))
    console.print(f"resident memory of the workers: {at_first} MiB, at the end {at_last}")


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    table = RichTable(title="Answers, ms")
    for column in ("path", "CPU", "answers", "not whole", "first", "median", "p99", "worst"):
        table.add_column(column, justify="left" if column == "path" else "right")
    for path, seconds in figures.answers.items():
        ranked = sorted(seconds)
        shown = (figures.first[path], statistics.median(ranked), _p99(ranked), ranked[-1])
        cost = f"{figures.costs[path] * 1e3:.0f}" if path in figures.costs else ""
        table.add_row(
            path, cost, f"{len(ranked)}", f"{figures.not_whole[path]}", *(f"{one * 1e3:.0f}" for one in shown)
        )
    console.print(table)
    for watched, rounds in figures.latencies.items():
        p50 = statistics.median(statistics.median(one) for one in rounds)
        p99 = statistics.median(_p99(one) for one in rounds)
        each = " ".join(f"{_p99(one) * 1e3:.0f}" for one in rounds)
        who = "somebody looks" if watched else "nobody looks"
        console.print(
            f"latency while {who}: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms (medians of rounds; p99 {each}), "
            f"CPU {statistics.median(figures.busy[watched]):.3f} of a core"
        )


def _p99(ranked: Sequence[float]) -> float:
    return ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench DESK=1 ARGS=...", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=100_000, help="closed batches that are remembered")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each kind")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a round")
    parser.add_argument("--folder", type=Path, help="where the workers' logs go")
    return parser


async def run(options: argparse.Namespace) -> None:
    """Measure on a broker of its own."""
    console = Console(width=max(130, Console().width))
    with tempfile.TemporaryDirectory() as folder, DevBroker() as broker:
        await measure(broker, options.folder or Path(folder), options, console)


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(run(arguments().parse_args()))
