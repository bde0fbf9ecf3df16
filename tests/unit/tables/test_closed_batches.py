"""Closed batches in the order of closing, in blocks, whatever order they come and go in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables import closed_batches
from tables.closed_batches import Block, ClosedBatch, ClosedBatches
from tables.model.enums import CompletedBy, Status
from tables.tally import Tally, count_more, drop_large, tally_of
from tests.builders import Owner, arrived, expire, open_


def line(number: int, closed_at: float, opened_at: float = 0.0) -> ClosedBatch:
    return ClosedBatch(
        f"b{number}", Status.COMPLETE, CompletedBy.ALL, 1, opened_at, 9.0, closed_at, 1, 1, 0, 0, closed_at,
        CompletedBy.ALL,
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=120))
def test_the_order_is_that_of_closing_and_each_block_knows_its_bounds(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_batches, "BLOCK", 4)
        closed, model = ClosedBatches(), dict[str, ClosedBatch]()
        for number, closed_at, opened_at, forgets in steps:
            one = line(number, float(closed_at), float(opened_at))
            known = model.get(one.batch_id)
            if forgets and known is not None:
                closed.forget(one.batch_id)
                del model[one.batch_id]
            elif known is not None:  # revised
                model[one.batch_id] = revised = replace(known, revision=known.revision + 1)
                closed.put(revised)
            else:
                model[one.batch_id] = one
                closed.put(one)
            for block in closed.blocks:
                block.summed = block.lines[:]
        ordered = sorted(model.values(), key=lambda one: (one.first_closed_at, one.batch_id))
        assert list(closed.in_order()) == ordered
        assert list(closed.newest_first()) == ordered[::-1]
        assert closed.lines == model
        assert all(0 < len(block.lines) <= 8 for block in closed.blocks)
        assert all(one.opened_at <= block.opened_at for block in closed.blocks for one in block.lines)
        again = ClosedBatches()
        again.restore(model.values())
        assert list(again.in_order()) == ordered


def made_of(block: Block) -> tuple[object, object, int]:
    return block.summed, block.counted, block.counted_lines


def note(block: Block) -> None:
    """Make something of all lines."""
    block.summed, block.counted, block.counted_lines = "sum", "count", len(block.lines)


def test_what_was_made_of_a_block_goes_when_it_changes_and_counts_go_when_what_was_counted_does() -> None:
    closed = ClosedBatches()
    closed.put(line(1, 1.0))
    closed.put(line(3, 3.0))
    (block,) = closed.blocks
    note(block)
    closed.put(line(4, 4.0))
    assert made_of(block) == (None, "count", 2)  # the counting goes on where it was
    note(block)
    closed.put(replace(line(3, 3.0), revision=2))
    assert made_of(block) == (None, "count", 3)  # as the batches first closed
    closed.put(line(2, 2.0))
    assert made_of(block) == (None, None, 0)
    note(block)
    closed.forget("b4")
    assert made_of(block) == (None, None, 0)


def counted(owner: Owner) -> Tally:
    tally = Tally()
    for block in owner.set.closed_blocks:
        while not count_more(owner.set, block, 1):
            pass
        tally.add(tally_of(block))
    return tally


def test_of_several_messages_that_name_a_station_the_latest_counts() -> None:
    owner = Owner()
    owner.feed(open_("ABC"), open_("BCD", message=1))
    owner.feed(arrived("A"), arrived("B", "f"), arrived("C", "r"), arrived("BD", "re", message=1))
    owner.feed(expire())
    owner.publish()
    tally = counted(owner)
    assert tally.expected == dict.fromkeys("ABCD", 1)
    assert (+tally.misses, +tally.failures, +tally.empties) == ({}, {}, {"D": 1})  # C's older result stands


def test_counts_are_kept_where_several_batches_name_each_station() -> None:
    for stations, is_kept in ((lambda _: "AB", True), (lambda number: [f"S{number}"], False)):
        owner = Owner()
        for number in range(closed_batches.BLOCK):
            ids = list(stations(number))
            owner.feed(open_(ids, batch=f"b{number}"))
            owner.feed(arrived(ids, batch=f"b{number}"))
            owner.publish(f"b{number}")
        expected = counted(owner).expected
        (block,) = owner.set.closed_blocks
        drop_large(block)
        assert block.is_kept is is_kept
        assert counted(owner).expected == expected
