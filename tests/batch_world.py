"""A partition's log, its changelogs and its output topic, with owners that live, die and outstay their welcome.

An owner's life is cut into steps as fine as those of the aggregator and the publisher: what is sent and what is stored
goes out piece by piece, each table's writes in order, but one table's before or after another's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from random import Random

from tables.model.events import BatchEvent, Decision, Effect, FailedStation, Forget, Late, Position
from tables.model.policies import Rules
from tables.storage.records import Prepared, Table, Write
from tests.batch_model import frames_of, is_unknown
from tests.builders import Entry, MemoryRecords, Owner, decisions, output_bytes

__all__ = ["Life", "World", "straight_run"]

Step = Iterator[None]


class _Sending:
    """A write on its way to a changelog."""

    def __init__(self, write: Write) -> None:
        self.write = write
        self.stored = False


class World:
    """What outlives every owner. With `handler` a custom result handler makes the payload."""

    def __init__(self, log: Sequence[Entry], rules: Rules, random: Random, *, handler: bool) -> None:
        self.frames = frames_of(log)
        self.rules = rules
        self.random = random
        self.handler = handler
        self.changelog = MemoryRecords()
        self.acked = 0
        self.owner: Life | None = None
        self.outputs: list[tuple[str, int, int, bytes]] = []  # batch, revision, part, value
        self.told: set[Effect] = set()
        self.durable: set[Effect] = set()
        self.told_again: set[Effect] = set()
        self.handled: list[Decision] = []

    def assign(self) -> Life:
        """A new owner takes over; nobody has told the old one."""
        self.owner = Life(self)
        return self.owner

    def tell(self, effects: Sequence[Effect]) -> None:
        """Late outcomes and letters go out; those that went out before and were stored too are noted."""
        told = {effect for effect in effects if isinstance(effect, Late | FailedStation) and not is_unknown(effect)}
        self.told_again |= told & self.durable
        self.told |= told

    def end(self) -> MemoryRecords:
        """Forget every batch; what is stored then."""
        owner = Owner(self.changelog, self.rules)
        assert not owner.left
        assert not owner.set.open
        # What changed nothing when it was looked at is looked at again after a recovery.
        events: list[BatchEvent] = [*owner.set.due(9e9)]
        events += [Forget(line.batch_id, line.first_closed_at, 9e9) for line in owner.set.closed.values()]
        owner.store(owner.apply([(Position(10_000 + i, 0), event) for i, event in enumerate(events)])[1])
        assert not owner.set._tracked
        return owner.records


class Life:
    """One owner's process: what it does at once, in steps, until it is not stepped any more."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.set_up = Owner(world.changelog.copy(), world.rules)
        self.tasks: list[Step] = [self._aggregate(world.acked)]
        self.sending: dict[Table, deque[_Sending]] = {table: deque() for table in Table}
        for left in self.set_up.left:
            self.tasks.append(self._publish(left.decision, left.prepared, recovered=True))

    @property
    def is_done(self) -> bool:
        """Whether all of the log is worked off and all that it led to is out."""
        return not self.tasks

    def step(self) -> None:
        """Let one thing happen."""
        random = self.world.random
        under_way = [queue for queue in self.sending.values() if queue]
        if under_way and random.random() < 0.5:
            sent = random.choice(under_way).popleft()
            self.world.changelog.write([sent.write])
            sent.stored = True
            return
        task = random.choice(self.tasks)
        try:
            next(task)
        except StopIteration:
            self.tasks.remove(task)

    def _save(self, writes: Sequence[Write]) -> Step:
        self.set_up.records.write(writes)
        sending = [_Sending(write) for write in writes]
        for one in sending:
            self.sending[one.write.table].append(one)
        while not all(one.stored for one in sending):
            yield

    def _aggregate(self, start: int) -> Step:
        world = self.world
        while start < len(world.frames):
            stop = start + world.random.randint(1, 4)
            chunk = [entry for frame in world.frames[start:stop] for entry in frame]
            effects, writes = self.set_up.apply(chunk)
            saved = self._save(writes)  # changes the memory when it is first asked
            next(saved, None)
            world.tell(effects)
            yield
            yield from saved
            world.durable |= {effect for effect in effects if isinstance(effect, Late | FailedStation)}
            yield
            if world.owner is self:
                world.acked = stop
            self.tasks += [self._publish(decision, None, recovered=False) for decision in decisions(effects)]
            start = stop
            yield

    def _publish(self, decision: Decision, prepared: Prepared | None, *, recovered: bool) -> Step:
        world, batch_id = self.world, decision.batch_id
        if world.handler and prepared is None:
            world.handled.append(decision)
            yield
            prepared = Prepared("|".join(decision.results))
            yield from self._save(self.set_up.set.prepared(batch_id, decision.revision, prepared))
        parts = output_bytes(decision) if prepared is None else [(prepared.value or "").encode()]
        found = {tuple(place) for *place, _ in world.outputs} if recovered else set()
        for number, value in enumerate(parts):
            yield
            place = (batch_id, decision.revision, number)
            if place not in found:
                world.outputs.append((*place, value))
        yield
        yield from self._save(self.set_up.set.published(batch_id, decision.revision))


def straight_run(log: Sequence[Entry], rules: Rules, *, handler: bool) -> World:
    """The world after one owner that nothing happens to."""
    world = World(log, rules, Random(0), handler=handler)  # noqa: S311 - a seed is what makes it repeatable
    life = world.assign()
    while not life.is_done:
        life.step()
    return world
