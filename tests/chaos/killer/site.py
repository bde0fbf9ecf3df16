"""A Kafka of one or three brokers, three workers and a plant, all of whose outputs are checked at the end."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.kafka.topics import TopicSpec, create_and_wait
from app.messages.frames import decode_events
from tables.model.enums import Code
from tables.model.events import Arrived
from tests.chaos.killer.brokers import Brokers
from tests.chaos.killer.check import Seen, Sent, Verdict, check
from tests.chaos.killer.clock import SteppedClock
from tests.chaos.killer.flow import Flow, first_out
from tests.chaos.killer.journal import Journal
from tests.chaos.killer.producer import command
from tests.chaos.killer.workers import PLACES, Workers
from tests.chaos.killer.world import Disk, PlantProcess, World
from tests.integration.support.background import Background
from tests.integration.support.reading import Collector, Received, admin_client, committed_offsets, end_offsets
from tests.integration.support.waiting import eventually

__all__ = ["Found", "Means", "Site", "Size", "skipped_in"]

PARTITIONS = 8
BATCH_TIMEOUT = 10.0
# Seconds after the last fault, or after an output, in which there has to be one as long as any is due: what takes
# longer because a busy machine has a backlog is no fault of what is tested.
OUT_WITHIN = 60.0
FLOW_WITHIN = 120.0  # seconds after which it is waited no more for outputs
SETTLED_WITHIN = 60.0
READ_WITHIN = 240.0
POLL = 0.05
TOPICS_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Means:
    """What the machine has: libfaketime's library, and whether the folder of a broker may be a disk of its own."""

    library: Path | None = None
    disk: Callable[[Path], Disk] | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How many brokers, how many batches a second, and other settings of the workers than those of the killer."""

    brokers: int = 1
    rate: float = 10.0
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What the checker says at the end, and lines about what went wrong besides."""

    verdict: Verdict
    faulty: Sequence[str]


class Site:
    """Entered, all of it is up and outputs flow; `end` stops plant and workers and checks.

    Attributes:
        world: what can be hurt.
        flow: what has come out so far.
        journal: what was sent so far.
    """

    world: World
    flow: Flow

    def __init__(self, folder: Path, size: Size, means: Means, say: Callable[[str], None]) -> None:
        own = uuid.uuid4().hex[:8]
        self.app_id, self._source, self._output = f"chaos-{own}", f"in-{own}", f"out-{own}"
        self.journal = Journal(folder / "journal")
        self._folder, self._size, self._means, self._say = folder, size, means, say
        self._stack = ExitStack()
        self._loop = Background()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._loop.close)
            disk = self._disk()
            if disk is not None:
                stack.callback(disk.unmount)
            brokers = stack.enter_context(Brokers(self._folder, count=self._size.brokers, places=PLACES))
            self._loop.run(self._create_topics(brokers))
            clock = SteppedClock(self._means.library, self._folder / "clock") if self._means.library else None
            workers = Workers(self._folder, self._settings(brokers.replicas), self._own(brokers, clock))
            stack.callback(workers.end)
            send = command(brokers.bootstrap, self._source, PARTITIONS, self.journal.path, self._size.rate)
            plant = PlantProcess(send, self._folder / "plant.log")
            stack.callback(plant.kill)
            self.world = World(workers, brokers, plant, self._say, clock, disk)
            for place in self.world.homes:
                workers.start(place)
            self.world.wait_ready(self.world.homes)
            self.flow = stack.enter_context(Flow(brokers.bootstrap, self._source, self._output, PARTITIONS))
            assert self.wait_flow(time.time()) is not None, f"no output\n{plant.tail()}\n{workers.logs()}"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- while it works ----------------------------------------------------------------------------------------------

    def wait_flow(self, since: float) -> float | None:
        """Wait until a batch that was sent since then is out complete; returns the seconds; None: it never was."""
        found: float | None = None

        def flows() -> bool:
            nonlocal found
            self.world.workers.tend()
            self.journal.follow()
            found = first_out(self.journal.acknowledged, dict(self.flow.complete), since)
            return found is not None

        eventually(flows, FLOW_WITHIN)
        return None if found is None else max(0.0, found - since)

    def rest(self, seconds: float) -> None:
        """Let it work; what ends by itself is started again."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.world.workers.tend()
            time.sleep(min(POLL, left))

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> Found:
        """Wait until all that is due is out and acknowledged, stop the workers, read the topics and check them."""
        world = self.world
        faulty = [] if world.plant.stop() else [f"the producer did not end well:\n{world.plant.tail()}"]
        acknowledged = self.journal.follow().acknowledged.keys()
        self._wait_out(acknowledged)
        if late := sorted(acknowledged - self.flow.out.keys()):
            faulty.append(f"{len(late)} batches are not out in {OUT_WITHIN:g} s, such as {late[:5]}")
        if not eventually(self._settled, SETTLED_WITHIN):
            faulty.append(f"not all is acknowledged in {SETTLED_WITHIN:g} s")
        if faulty:
            faulty.append(world.workers.logs())
        for place in world.workers.places:
            world.workers.terminate(place)
        sent = Sent(self._source, acknowledged, self.journal.sent.keys(), self.journal.repeated)
        return Found(check(sent, self._seen()), [*world.workers.faulty, *faulty])

    def _wait_out(self, due: AbstractSet[int]) -> None:
        """Wait until these batches are out, or no more come."""
        moved = True
        while moved and not due <= self.flow.out.keys():
            moved = self._moves(len(self.flow.out))

    def _moves(self, before: int) -> bool:
        """Wait for an output; returns whether one has come."""

        def more() -> bool:
            self.world.workers.tend()
            return len(self.flow.out) > before

        return eventually(more, OUT_WITHIN)

    def _settled(self) -> bool:
        """Whether all that was read or made is acknowledged."""
        self.world.workers.tend()
        topics = [self._source, f"{self.app_id}-station-events", f"{self.app_id}-batch-events"]
        ends = self._loop.run(end_offsets(self.world.brokers.bootstrap, topics))
        done = self._loop.run(committed_offsets(self.world.brokers.bootstrap, self.app_id))
        return all(done.get(partition, 0) >= end for partition, end in ends.items())

    def _seen(self) -> Seen:
        late, letters, log = (f"{self.app_id}-{name}" for name in ("late", "dead-letter", "batch-events"))
        read = self._read([self._output, late, letters])
        partial = any(output.json["meta"]["missing"] for output in read[self._output])
        skipped = skipped_in(self._read([log])[log]) if partial else set()
        return Seen(read[self._output], read[late], read[letters], skipped)

    def _read(self, topics: Sequence[str]) -> Mapping[str, Sequence[Received]]:
        """Read topics from their beginning to their end."""
        bootstrap = self.world.brokers.bootstrap
        ends = self._loop.run(end_offsets(bootstrap, topics))
        collector = Collector(bootstrap, topics)
        reading = self._loop.start(collector.run())
        try:
            assert eventually(lambda: collector.has_read(ends), READ_WITHIN), f"{topics} could not be read to their end"
        finally:
            collector.stop()
            self._loop.ended(reading)
        return {topic: collector.of(topic) for topic in topics}

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _disk(self) -> Disk | None:
        alone = self._size.brokers == 1 and self._means.disk is not None
        return self._means.disk(self._folder / "kafka-1") if alone and self._means.disk else None

    async def _create_topics(self, brokers: Brokers) -> None:
        # Records carry the time of their append: what is measured needs no clock but the broker's.
        config = {"message.timestamp.type": "LogAppendTime"}
        specs = [
            TopicSpec(name, PARTITIONS, brokers.replicas, config, exact=True) for name in (self._source, self._output)
        ]
        async with admin_client(brokers.bootstrap) as admin:
            await asyncio.wait_for(create_and_wait(admin, specs, patience=TOPICS_WITHIN), TOPICS_WITHIN)

    def _settings(self, replicas: int) -> Mapping[str, str]:
        return {
            "AGG_APP_ID": self.app_id,
            "AGG_SOURCE_TOPICS": self._source,
            "AGG_OUTPUT_TOPIC": self._output,
            "AGG_PARTITIONS": str(PARTITIONS),
            "AGG_REPLICATION_FACTOR": str(replicas),
            "AGG_CALLBACK": "tests.chaos.killer.model:callback",
            "AGG_BATCH_TIMEOUT": str(BATCH_TIMEOUT),
            **self._size.settings,
        }

    def _own(self, brokers: Brokers, clock: SteppedClock | None) -> Callable[[int], Mapping[str, str]]:
        def own(place: int) -> Mapping[str, str]:
            name = {"AGG_INSTANCE_ID": f"worker-{place}"} if place % 2 == 0 else {}  # with a name, and without
            stepped = clock.environment if clock is not None and place == 0 else {}
            return {"AGG_BROKER": brokers.servers_of(place), **name, **stepped}

        return own


def skipped_in(log: Sequence[Received]) -> set[tuple[str, str]]:
    """Return batch id and station of the skipped outcomes that stand in the batches' log."""
    return {
        (event.batch_id, station)
        for message in log
        for event in decode_events(message.value)
        if isinstance(event, Arrived)
        for station, code in zip(event.stations, event.codes, strict=True)
        if code == Code.SKIPPED
    }
