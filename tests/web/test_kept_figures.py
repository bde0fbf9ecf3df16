"""Figures that are kept between two questions: the same as made anew, at the cost of what has come and gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from app.web import slots, tallies
from app.web.figures import sum_of
from app.web.filters import Filter
from app.web.paging import Shown, list_batches
from app.web.slots import Slots
from app.web.tallies import Tallies
from app.web.turns import Pace, Turns
from tables.closed_batches import BLOCK, Block, ClosedBatch
from tables.model.batch import Batch
from tables.model.enums import CompletedBy, LatePolicy
from tables.model.events import Revise
from tables.model.policies import Rules
from tables.tally import Tally
from tables.working_set import WorkingSet
from tests.web.fake_worker import FakeWorker

RULES = Rules(max_age=60.0, late=LatePolicy.REVISE)
RESULT = ("r", "{}")


async def no_time(seconds: float) -> None:
    await asyncio.sleep(0)


def pace() -> Pace:
    return Pace(sleep=no_time)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "GIVE_UP", 1e9)


class Plant:
    """Batches that close in any order, are revised and forgotten, and partitions that move away and back."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - no secret
        self.worker = FakeWorker(0, 1)
        self.worker.sets = {number: WorkingSet(self.worker.records[number], RULES) for number in self.worker.sets}
        self.now = 10_000.0
        self._number = 0
        self._waiting: list[tuple[str, int]] = []

    def go_on(self, batches: int) -> None:
        for _ in range(batches):
            self.now += self.random.random() * 2
            self._close()
            if self.random.random() < 0.05:
                self._forget()
        self._publish(leave=self.random.randint(0, 3))

    def _close(self) -> None:
        batch_id, partition, random = f"b{self._number}", self._number % 2, self.random
        self._number += 1
        stations = random.sample("ABCDEFGH", random.randint(1, 6))
        at = self.now - random.choice([1, 1, 1, 200]) * random.random()
        self.worker.open(batch_id, stations, at=at - random.random() * 5, partition=partition)
        came = dict.fromkeys(stations[random.randint(0, 2) :], RESULT)
        if came:
            self.worker.arrive(batch_id, came, at=at, partition=partition)
        if batch_id in self.worker.sets[partition].open and random.random() < 0.95:
            self.worker.expire(
                batch_id, at=max(at, self.worker.sets[partition].open[batch_id].deadline), partition=partition
            )
        if batch_id in self.worker.sets[partition].closing:
            self._waiting.append((batch_id, partition))
            if len(came) < len(stations) and random.random() < 0.3:
                self._publish(leave=0)
                self.worker.arrive(batch_id, dict.fromkeys(stations, RESULT), at=at + 20, partition=partition)
                self.worker.apply(Revise(batch_id, 2, at + 21), partition)

    def _publish(self, *, leave: int) -> None:
        while len(self._waiting) > leave:
            batch_id, partition = self._waiting.pop(0)
            self.worker.publish(batch_id, partition=partition)

    def _forget(self) -> None:
        partition = self.random.randrange(2)
        closed = sorted(self.worker.sets[partition].closed)
        if closed:
            self.worker.forget(self.random.choice(closed), partition=partition)

    def move(self) -> None:
        """The partitions go to another owner and come back."""
        self._publish(leave=0)
        self.worker.sets = {number: WorkingSet(records, RULES) for number, records in self.worker.records.items()}
        for working_set in self.worker.sets.values():
            working_set.recover()

    def stages(self) -> Iterator[float]:
        """Go on for a while, again and again; yields the time."""
        for stage in range(12):
            self.go_on(80)
            if stage == 7:
                self.move()
            yield self.now


@pytest.mark.parametrize("seed", range(3))
def test_slots_that_are_kept_are_those_that_are_made_anew(seed: int) -> None:
    plant = Plant(seed)
    kept = Slots(plant.worker, pace())

    async def shown(of: Slots, until: int) -> list[Any]:
        found = await of.of(until - 500, until)
        return [(one.at, one.open_batches, one.arrived, one.durations.counts) for one in found.slots]

    async def compare() -> None:
        for now in plant.stages():
            until = int(now) // 10 * 10
            found = await shown(kept, until)
            assert found == await shown(Slots(plant.worker, pace()), until)
            assert sum(arrived for _, _, arrived, _ in found) > 0

    asyncio.run(compare())


@pytest.mark.parametrize("seed", range(3))
def test_counts_that_are_kept_are_those_that_are_made_anew(seed: int) -> None:
    plant = Plant(seed)
    kept = Tallies(plant.worker, pace())

    async def compare() -> None:
        for now in plant.stages():
            kept._made._made._made.clear()  # what has been answered a moment ago
            found = await kept.between(("1h", ""), now - 500, None)
            anew = await Tallies(plant.worker, pace()).between(("1h", ""), now - 500, None)
            assert found.tally.expected.total() > 0
            for name in ("expected", "misses", "failures", "empties"):
                assert getattr(found.tally, name) == getattr(anew.tally, name)

    asyncio.run(compare())


def many(count: int) -> FakeWorker:
    worker = FakeWorker()
    for number in range(count):
        worker.add_closed(f"b{number}", at=100.0 + number)
    return worker


class Looked:
    """Counts what is looked at in a turn, and in all."""

    def __init__(self) -> None:
        self.in_turn = self.longest_turn = self.whole = 0

    def look(self, number: int) -> None:
        self.in_turn += number
        self.whole += number
        self.longest_turn = max(self.longest_turn, self.in_turn)

    def turns(self, *_: object) -> Turns:
        looked = self

        class Counting(Turns):
            async def rest(self) -> None:
                looked.in_turn = 0

        return Counting(pace())


def test_a_question_for_slots_looks_at_what_is_new_and_gives_way_after_each_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, looked, cells_of = many(10 * BLOCK), Looked(), slots._cells_of

    def counted(lines: Sequence[ClosedBatch]) -> Any:
        looked.look(len(lines))
        return cells_of(lines)

    monkeypatch.setattr(slots, "_cells_of", counted)
    monkeypatch.setattr(slots, "Turns", looked.turns)
    kept = Slots(worker, pace())

    async def ask_twice() -> None:
        await kept.of(0, 2000)
        assert looked.whole == 10 * BLOCK
        assert looked.longest_turn <= 2 * BLOCK
        looked.whole = 0
        worker.add_closed("new", at=5000.0)
        await kept.of(0, 6000)

    asyncio.run(ask_twice())
    assert looked.whole <= 1 + BLOCK


def test_a_question_for_stations_adds_up_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, looked, add = many(10 * BLOCK), Looked(), Tally.add

    def counted(self: Tally, other: Tally) -> None:
        looked.look(1)
        add(self, other)

    monkeypatch.setattr(Tally, "add", counted)
    kept = Tallies(worker, pace())

    async def ask_twice() -> None:
        await kept.between(("1h", ""), 0.0, 1e9)
        assert looked.whole >= 10
        looked.whole = 0
        worker.add_closed("new", at=5000.0)
        kept._made._made._made.clear()
        found = await kept.between(("1h", ""), 100.0 + BLOCK, 1e9)
        assert found.tally.expected["A"] == 9 * BLOCK + 2

    asyncio.run(ask_twice())
    assert looked.whole <= 3


@pytest.mark.parametrize("summed", [False, True])
def test_a_list_passes_over_blocks_in_which_no_batch_can_be_wanted(summed: bool) -> None:
    worker, looked = many(10 * BLOCK), Looked()
    if summed:
        for block in worker.sets[0].closed_blocks:
            sum_of(block)
    by_operator = Filter(completed_by=CompletedBy.OPERATOR)

    class Wanted:
        def matches(self, batch: Batch | ClosedBatch) -> bool:
            looked.look(1)
            return by_operator.matches(batch)

        def may_match(self, block: Block) -> bool:
            return by_operator.may_match(block)

    listed = list_batches(
        worker.sets, shown=Shown.CLOSED, after=None, limit=10, worker="", pace=Pace(), wanted=Wanted()
    )
    assert asyncio.run(listed).batches == []
    assert looked.whole == (0 if summed else 10 * BLOCK)


def test_a_batch_that_comes_to_the_end_of_a_block_that_was_added_up_counts_once() -> None:
    """The block's count went into the sum as it was: it is not changed behind its back."""
    worker = many(3 * BLOCK)
    kept = Tallies(worker, pace())

    async def asked(since: float) -> int:
        kept._made._made._made.clear()
        return (await kept.between(("1h", ""), since, None)).tally.expected["A"]

    async def ask() -> None:
        assert await asked(0.0) == 3 * BLOCK
        worker.add_closed("between", at=100.0 + BLOCK - 0.5)
        assert len(worker.sets[0].closed_blocks[0].lines) == BLOCK + 1
        assert await asked(0.0) == 3 * BLOCK + 1
        assert await asked(101.0 + BLOCK) == 2 * BLOCK

    asyncio.run(ask())
