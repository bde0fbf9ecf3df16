"""One application at work, whose only worker is killed at one point after the other, and what came of it."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from app.kafka.topics import TopicSpec, create_and_wait
from tests.chaos.killer.check import Seen, Sent
from tests.chaos.killer.flow import Flow, first_out
from tests.chaos.killer.journal import Journal
from tests.chaos.killer.producer import command
from tests.chaos.killer.site import skipped_in
from tests.chaos.killer.world import PlantProcess
from tests.chaos.points.check import Found, shared
from tests.chaos.points.nursery import Nursery
from tests.chaos.points.points import SIDE_TOPIC, Kind, Point
from tests.chaos.points.report import Kills, Measured
from tests.chaos.points.trap import TRAP, set_trap
from tests.integration.support.background import Background
from tests.integration.support.reading import Collector, admin_client, committed_offsets, end_offsets
from tests.integration.support.waiting import eventually
from tests.ports import own_port

__all__ = ["Group"]

PARTITIONS = 4
LATEST_PASSING = 5  # of a point, at which the worker is killed; the first one is not a rule
PATIENCE = 180.0  # seconds after which something counts as never coming
DIES = -9
# Seconds that a worker has before it is killed, to commit something: those that end where they began, one after the
# other, count as ended by a callback, and their successor calls one station at a time.
COMMITTED = 1.5
TOPICS_WITHIN = 60.0


class Group:
    """Entered, all of it is up and outputs flow.

    Attributes:
        measured: what was found.
    """

    def __init__(self, servers: str, folder: Path, kind: Kind, rate: float, seed: int) -> None:
        own = f"{kind.name}-{uuid.uuid4().hex[:8]}"
        self.measured = Measured()
        self._servers, self._folder, self._kind, self._rate = servers, folder, kind, rate
        self._app_id, self._source, self._output, self._side = f"points-{own}", f"in-{own}", f"out-{own}", f"side-{own}"
        self._journal = Journal(folder / "journal")
        self._trap = folder / "trap"
        self._random = random.Random(f"{seed}/{kind.name}")  # noqa: S311 - to be had again
        self._loop = Background()
        self._stack = ExitStack()
        self._killed: tuple[float, Point | None] = (time.time(), None)
        self._told: set[int] = set()  # batches that belong to a kill, or to none

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._loop.close)
            self._loop.run(self._create_topics())
            self._nursery = stack.enter_context(Nursery(self._folder, self._environment()))
            send = command(self._servers, self._source, PARTITIONS, self._journal.path, self._rate)
            self._plant = PlantProcess(send, self._folder / "plant.log")
            stack.callback(self._plant.kill)
            self._flow = stack.enter_context(Flow(self._servers, self._source, self._output, PARTITIONS))
            self._nursery.start(watched=True)
            self._wait_flow()
            self._told |= self._flow.out.keys()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- kills -------------------------------------------------------------------------------------------------------

    def kill_at(self, point: Point) -> None:
        """Have the worker kill itself at the point, and start another one, from which outputs flow again."""
        time.sleep(COMMITTED)
        if point.after:
            self._set(point.after)
            self._wait_death(point.after)
            self._set(point.trap, 1)  # there may be one output to look for, and one to send
            self._nursery.start(watched=True)
        else:
            self._set(point.trap)
        self._wait_death(point.trap)
        kills = self.measured.kills.setdefault(point.name, Kills())
        acknowledged = self._journal.follow().acknowledged.keys()
        kills.in_flight.append(len(acknowledged - self._flow.out.keys()))
        kills.batches |= acknowledged - self._told
        self._told |= acknowledged
        self._killed = (time.time(), point)
        self._nursery.start(watched=True)
        self._wait_flow()

    def _set(self, point: str, passing: int | None = None) -> None:
        set_trap(self._trap, point, passing or self._random.randint(1, LATEST_PASSING))

    def _wait_death(self, point: str) -> None:
        code = self._nursery.ended(PATIENCE)
        self._trap.unlink()
        assert code == DIES, f"at {point} the worker did not die, exit code {code}\n{self._nursery.tail()}"

    def _wait_flow(self) -> None:
        since, point = self._killed
        found: list[float] = []

        def flows() -> bool:
            at = first_out(self._journal.follow().acknowledged, dict(self._flow.complete), since)
            found.extend([] if at is None else [at])
            return bool(found) or self._nursery.ended(0.0) is not None

        eventually(flows, PATIENCE)
        assert found, f"no output after {point}\n{self._plant.tail()}\n{self._nursery.tail()}"
        if point is not None:
            self.measured.kills[point.name].back.append(max(0.0, found[0] - since))

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Go on with a worker as users start it until all is out and acknowledged, then check all that is there."""
        if not self._plant.stop():
            self.measured.faulty.append(f"the producer did not end well:\n{self._plant.tail()}")
        self._nursery.terminate()
        self._ended_well()
        self._nursery.start(watched=False)
        topics = {name: f"{self._app_id}-{name}" for name in ("late", "dead-letter", "batch-events")}
        asides = [self._side] if self._kind.handled else []
        collector = Collector(self._servers, [self._output, *asides, *topics.values()])
        reading = self._loop.start(collector.run())
        try:
            if not eventually(self._settled, PATIENCE):
                self.measured.faulty.append(f"not all is acknowledged in {PATIENCE:g} s\n{self._nursery.tail()}")
            found: Found = {}
            for found in self._judgements(collector, topics):
                if all(verdict.good for verdict in found.values()):
                    break
        finally:
            collector.stop()
            self._loop.ended(reading)
        self._nursery.terminate()
        self._ended_well()
        for point, verdict in found.items():
            self.measured.verdict_of(point).add(verdict)

    def _judgements(self, collector: Collector, topics: dict[str, str]) -> Iterator[Found]:
        """Yield what the checker says of all that there is now, again and again as long as more may come."""
        sent = Sent(self._source, self._journal.follow().acknowledged.keys(), self._journal.sent.keys())
        deadline = time.monotonic() + PATIENCE / 3
        while time.monotonic() < deadline:
            ends = self._loop.run(end_offsets(self._servers, [self._output, *topics.values()]))
            assert eventually(lambda ends=ends: collector.has_read(ends)), "the topics could not be read to their end"  # type: ignore[misc]
            late, letters, log = (collector.of(topics[name]) for name in ("late", "dead-letter", "batch-events"))
            skipped = skipped_in(log) if self._kind.revised else set()
            seen = Seen(collector.of(self._output), late, letters, skipped)
            side = collector.of(self._side) if self._kind.handled else None
            shares = {point: kills.batches for point, kills in self.measured.kills.items()}
            yield shared(sent, seen, side, shares)
            time.sleep(1.0)

    def _settled(self) -> bool:
        """Whether all that was read or made is acknowledged."""
        topics = [self._source, f"{self._app_id}-station-events", f"{self._app_id}-batch-events"]
        ends = self._loop.run(end_offsets(self._servers, topics))
        done = self._loop.run(committed_offsets(self._servers, self._app_id))
        return all(done.get(partition, 0) >= end for partition, end in ends.items())

    def _ended_well(self) -> None:
        code = self._nursery.ended(PATIENCE)
        if code != 0:
            self.measured.faulty.append(f"exit code {code} after SIGTERM\n{self._nursery.tail()}")

    # -- the beginning -----------------------------------------------------------------------------------------------

    async def _create_topics(self) -> None:
        # Records carry the time of their append: what is measured needs no clock but the broker's.
        config = {"message.timestamp.type": "LogAppendTime"}
        specs = [
            TopicSpec(self._source, PARTITIONS, 1, config, exact=True),
            TopicSpec(self._output, PARTITIONS, 1, config | dict(self._kind.output), exact=True),
            TopicSpec(self._side, PARTITIONS, 1, {}, exact=True),
        ]
        async with admin_client(self._servers) as admin:
            await asyncio.wait_for(create_and_wait(admin, specs, patience=TOPICS_WITHIN), TOPICS_WITHIN)

    def _environment(self) -> dict[str, str]:
        return {
            "AGG_BROKER": f"kafka://{self._servers}",
            "AGG_APP_ID": self._app_id,
            "AGG_INSTANCE_ID": "the-only-one",  # it takes its partitions up again at once
            "AGG_SOURCE_TOPICS": self._source,
            "AGG_OUTPUT_TOPIC": self._output,
            "AGG_PARTITIONS": str(PARTITIONS),
            "AGG_CALLBACK": "tests.chaos.killer.model:callback",
            "AGG_WEB_PORT": str(own_port()),
            "PYTHONUNBUFFERED": "1",
            SIDE_TOPIC: self._side,
            TRAP: str(self._trap),
            **self._kind.settings,
        }
