"""Only a run of finished offsets without holes is ever committed."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.kafka.offset_ledger import OffsetLedger


@settings(max_examples=200)
@given(st.integers(0, 50), st.lists(st.integers(0, 40)), st.randoms(use_true_random=False))
def test_what_is_committable_is_the_run_without_holes(base: int, steps: list[int], random: Random) -> None:
    ledger = OffsetLedger[str]()
    ledger.rebase("tp", base)
    finished: set[int] = set()
    for step in steps:
        if random.random() < 0.3:
            stop = base + step + random.randint(0, 4)
            ledger.skip("tp", base + step, stop)
            finished.update(range(base + step, stop))
        else:
            ledger.done("tp", base + step)
            finished.add(base + step)
        run = base
        while run in finished:
            run += 1
        assert ledger.committable("tp") == run


@settings(max_examples=60)
@given(st.permutations(range(12)))
def test_whatever_the_order_all_that_is_finished_is_committable_in_the_end(order: list[int]) -> None:
    ledger = OffsetLedger[int]()
    ledger.rebase(0, 0)
    for offset in order:
        ledger.done(0, offset)
    assert ledger.committable(0) == 12
    assert not ledger._partitions[0].done, "what is below the base is not kept"


def test_an_offset_below_the_base_or_done_before_changes_nothing() -> None:
    ledger = OffsetLedger[str]()
    ledger.rebase("tp", 10)
    for offset in (9, 10, 10, 3, 12, 12):
        ledger.done("tp", offset)
    ledger.skip("tp", 0, 10)
    assert ledger.committable("tp") == 11


def test_a_partition_without_a_base_commits_nothing() -> None:
    ledger = OffsetLedger[str]()
    ledger.done("tp", 0)
    assert ledger.committable("tp") is None
    assert ledger.partitions() == []


def test_a_new_base_drops_what_was_done_before_it() -> None:
    ledger = OffsetLedger[str]()
    ledger.rebase("tp", 0)
    ledger.done("tp", 1)
    ledger.rebase("tp", 0)
    ledger.done("tp", 0)
    assert ledger.committable("tp") == 1


def test_partitions_are_counted_apart_and_dropped_when_they_are_no_longer_ours() -> None:
    ledger = OffsetLedger[str]()
    ledger.rebase("a", 0)
    ledger.rebase("b", 5)
    ledger.done("b", 5)
    assert (ledger.committable("a"), ledger.committable("b"), ledger.partitions()) == (0, 6, ["a", "b"])
    ledger.forget(["b", "c"])
    ledger.done("b", 6)
    assert (ledger.committable("b"), ledger.partitions()) == (None, ["a"])
