"""Memory in a burst: `python -m tests.bench.burst`; one worker that finds 100,000 source messages.

What a worker holds for a batch it lets go of when the output is out, but for the line by which it remembers the batch.
That grows on purpose (AGG_CLOSED_TTL, AGG_CLOSED_MAX), so here only a thousand are remembered.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse
from rich.console import Console

from app.devbroker import DevBroker
from app.devbroker.config import free_port
from tests.bench.cluster import Worker, create_topics, end_of, preload
from tests.topic_creation import CREATES_TOPICS

__all__ = ["MESSAGES", "measure", "told"]

MESSAGES = 100_000
STATIONS = 3
CLOSED_MAX = 1_000
WARM_UP = 0.1  # of the messages
LOOK_SECONDS = 0.5
LONGEST = 900.0


@dataclass(frozen=True, slots=True)
class Look:
    """How the worker stands: outputs so far, resident bytes, batches that its splitter takes for open."""

    outputs: int
    resident: int
    opened: int


@dataclass(frozen=True, slots=True)
class Burst:
    """What was seen after the warm-up, in order."""

    messages: int
    seconds: float
    idle: int  # resident bytes before
    looks: Sequence[Look]

    @property
    def resident(self) -> list[float]:
        """MiB."""
        return [look.resident / 2**20 for look in self.looks]

    @property
    def growth(self) -> float:
        """MiB by which the median of the last third is above that of the first."""
        third = max(1, len(self.looks) // 3)
        return statistics.median(self.resident[-third:]) - statistics.median(self.resident[:third])


async def measure(broker: DevBroker, folder: Path, messages: int) -> Burst:
    """Run a burst of so many messages through a fresh worker."""
    servers, port = broker.bootstrap, free_port()
    await create_topics(servers, ["in-burst", "out-burst"])
    await preload(servers, "in-burst", messages, STATIONS)
    worker = Worker(
        broker.url,
        app_id="bench-burst",
        source="in-burst",
        output="out-burst",
        port=port,
        log=folder / "burst.log",
        settings={"AGG_CLOSED_MAX": str(CLOSED_MAX)},
    )
    try:
        await worker.ready()
        idle, started = worker.resident(), time.monotonic()
        looks: list[Look] = []
        while not looks or looks[-1].outputs < messages:
            await asyncio.sleep(LOOK_SECONDS)
            worker.check()
            if time.monotonic() - started > LONGEST:
                message = f"only {looks[-1].outputs} of {messages} outputs within {LONGEST:g} s"
                raise TimeoutError(message)
            opened = await asyncio.to_thread(unclosed_batches, port)
            looks.append(Look(await end_of(servers, "out-burst"), worker.resident(), opened))
        seconds = time.monotonic() - started
    finally:
        worker.stop()
    return Burst(messages, seconds, idle, [look for look in looks if look.outputs > WARM_UP * messages])


def unclosed_batches(port: int) -> int:
    """What the worker's gauge of that name says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = parse(answer.read().decode())
    (value,) = [
        sample.value
        for family in families
        if family.name == "batch_aggregator_unclosed_batches"
        for sample in family.samples
    ]
    return int(value)


def told(burst: Burst) -> str:
    """A burst in a few lines."""
    resident = burst.resident
    return (
        f"Burst of {burst.messages:,} source messages of {STATIONS} stations, AGG_CLOSED_MAX={CLOSED_MAX}: "
        f"{burst.seconds:.0f} s, {burst.messages / burst.seconds:,.0f} messages/s, at most "
        f"{max(look.opened for look in burst.looks):,} open\n"
        f"Resident MiB: {burst.idle / 2**20:.0f} before; after the first {WARM_UP:.0%} min {min(resident):.0f}, p50 "
        f"{statistics.median(resident):.0f}, max {max(resident):.0f}; {burst.growth:+.0f} from the first to the last "
        f"third ({len(resident)} looks)"
    )


async def run(messages: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, DevBroker(overrides=CREATES_TOPICS) as broker:
        burst = await measure(broker, Path(folder), messages)
    Console(width=max(110, Console().width)).print(told(burst))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="source messages")
    asyncio.run(run(parser.parse_args().messages))
