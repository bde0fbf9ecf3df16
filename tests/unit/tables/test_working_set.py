"""The batches of a partition: what is due, what is stored, what is remembered and for how long."""

from __future__ import annotations

import math

import pytest

from tables import closed_batches as closed
from tables.model.enums import Code, Status
from tables.model.events import BatchEvent, Expire, Forget, Late, Position
from tables.model.policies import Rules
from tables.storage.records import Destination, Prepared, Table, UnreadableRecordError, Write
from tables.working_set import WorkingSet
from tests.builders import (
    DESTINATION,
    MemoryRecords,
    Owner,
    arrived,
    decisions,
    expire,
    late_stations,
    of_type,
    open_,
    output_bytes,
)


@pytest.fixture
def owner() -> Owner:
    return Owner()


def keys(owner: Owner) -> list[bytes]:
    return list(owner.records.tables[Table.BATCHES])


def close(owner: Owner, *batches: str, at: float = 101.0) -> None:
    """Open, complete and publish batches of one station."""
    for batch in batches:
        owner.feed(open_("A", batch=batch), arrived("A", batch=batch, at=at))
        owner.publish(batch)


def forget(owner: Owner, now: float = 1e9) -> None:
    owner.feed(*owner.set.forgettable(now, ttl=0.0))


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_batch_is_due_once_its_deadline_has_come(owner: Owner) -> None:
    owner.feed(open_("A", batch="b1", at=100), open_("A", batch="b2", at=101))
    assert owner.set.due(104.999) == []
    assert owner.set.due(105.0) == [Expire("b1", 105.0, 105.0)]
    assert owner.set.due(200.0) == [Expire("b2", 106.0, 200.0)]
    assert owner.set.due(300.0) == []


def test_a_batch_whose_deadline_has_moved_is_due_at_the_later_one(owner: Owner) -> None:
    owner.feed(open_("A"), open_("B", message=1, at=103), open_("C", message=2, at=101))
    assert owner.set.due(105.5) == []
    assert owner.set.due(108.0) == [Expire("b", 108.0, 108.0)]
    assert owner.set.due(300.0) == []


def test_an_expiry_is_given_out_once_however_often_the_message_is_repeated(owner: Owner) -> None:
    owner.feed(*[open_("A", at=100 + n) for n in range(5)])
    assert owner.set.due(105.0) == [Expire("b", 105.0, 105.0)]
    assert owner.set.due(300.0) == []


def test_a_batch_without_any_time_left_is_due_at_once(owner: Owner) -> None:
    owner.feed(open_("A", timeout=0.0))
    assert owner.set.due(100.0) == [Expire("b", 100.0, 100.0)]


def test_a_batch_that_has_closed_is_not_due(owner: Owner) -> None:
    owner.feed(open_("A"), arrived("A"))
    assert owner.set.due(300.0) == []


def test_an_overdue_batch_is_due_right_after_recovery(owner: Owner) -> None:
    owner.feed(open_("A"), open_("B", message=1, at=103))
    assert owner.restarted().set.due(500.0) == [Expire("b", 108.0, 500.0)]


# -- what is stored --------------------------------------------------------------------------------------------------


def test_what_a_chunk_brings_to_a_batch_is_one_record(owner: Owner) -> None:
    entries: list[BatchEvent] = [open_("ABC"), arrived("A"), arrived("B", "f")]
    owner.feed(*entries)
    owner.feed(open_("D", message=1))
    owner.feed(*entries)
    assert keys(owner) == [b"b#0.0-2.0", b"b#3.0-0.0"]


def test_the_decision_is_one_record_with_all_that_its_chunk_brought(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("A"), arrived("B"))
    assert keys(owner) == [b"b"]
    (left,) = owner.restarted().left
    assert left.decision == owner.set.closing["b"].decision
    assert (left.destination, left.prepared) == (DESTINATION, None)


def test_publishing_keeps_the_header_and_deletes_what_only_it_needed(owner: Owner) -> None:
    owner.feed_each(open_("AB"), arrived("A"), expire(105), arrived("B"))
    late = b"b#3.0-0.0+"
    assert keys(owner) == [b"b#0.0-0.0", b"b#1.0-0.0", b"b", late]
    owner.publish()
    assert keys(owner) == [b"b", late]


def test_forgetting_leaves_nothing_behind(owner: Owner) -> None:
    close(owner, "b")
    owner.feed(open_("BC", message=1), arrived("BC", message=1))
    forget(owner)
    fresh = WorkingSet(MemoryRecords(), Rules())
    assert not len(owner.records)
    for name in vars(fresh):
        if name not in ("_records", "_rules", "_deadlines", "_closed"):
            assert getattr(owner.set, name) == getattr(fresh, name), name
    assert vars(owner.set._closed) == vars(fresh._closed)
    owner.set.due(1e9)
    assert not owner.set._deadlines


def test_a_closed_batch_with_nothing_but_its_header_is_a_line_only(owner: Owner) -> None:
    close(owner, "b")
    owner.feed(open_("A", batch="b"), arrived("A", batch="b"))  # a repeat
    assert not owner.set._tracked
    assert not owner.restarted().set._tracked


def test_changes_of_an_open_batch_wait_to_be_stored_until_their_offset_is_due(owner: Owner) -> None:
    batches = owner.set
    batches.apply(open_("A", batch="b1"), Position(7, 0))
    batches.apply(open_("A", batch="b2"), Position(8, 0))
    assert (batches.take_writes({}, upto=6), batches.unstored_from) == ([], 7)
    batches.apply(arrived("A", batch="b1"), Position(9, 0))
    assert [write.key for write in batches.take_writes({"b1": DESTINATION}, upto=6)] == [b"b1"]
    assert batches.unstored_from == 8
    assert [write.key for write in batches.take_writes({}, upto=8)] == [b"b2#8.0-0.0"]
    assert batches.unstored_from == math.inf


def test_the_header_is_the_last_that_is_deleted(owner: Owner) -> None:
    close(owner, "b")
    owner.feed(open_("BC", message=1), arrived("BC", message=1))
    owner.set.apply(Forget("b", 101.0, 200.0), Position(owner.next_offset, 0))
    writes = owner.set.take_writes({})
    assert [write.key for write in writes][-1] == b"b"
    for count in range(len(writes)):
        left = Owner(MemoryRecords(owner.records.tables))
        left.store(writes[:count])
        assert not left.restarted().set.open


def test_a_batch_id_that_has_been_forgotten_may_be_used_again(owner: Owner) -> None:
    close(owner, "b")
    (event,) = owner.set.forgettable(1e9, ttl=0.0)
    (decision,) = decisions(owner.feed(event, open_("XY", message=5, at=900), expire(905), arrived("Y", message=5)))
    assert (decision.missing, decision.opened_at) == (("X", "Y"), 900)
    assert owner.restarted().left[0].decision == decision
    assert late_stations(owner.feed(arrived("A"))) == ["A"]  # of a message that this batch does not know


# -- what is remembered ----------------------------------------------------------------------------------------------


def test_closed_batches_are_forgettable_after_their_time_the_oldest_first(owner: Owner) -> None:
    close(owner, "b1", at=101)
    close(owner, "b2", at=103)
    assert owner.set.forgettable(110.9, ttl=10.0) == []
    assert owner.set.forgettable(112.0, ttl=10.0) == [Forget("b1", 101, 112.0)]
    assert owner.set.forgettable(113.0, ttl=10.0) == [Forget("b2", 103, 113.0)]
    assert owner.set.forgettable(999.0, ttl=10.0) == []


def test_the_oldest_beyond_the_bound_are_forgettable_whatever_their_age(owner: Owner) -> None:
    close(owner, "b1", "b2", "b3")
    assert [event.batch_id for event in owner.set.forgettable(101.0, ttl=3600.0, beyond=2)] == ["b1", "b2"]
    assert owner.set.forgettable(101.0, ttl=3600.0, beyond=2) == []  # they are on their way


def test_a_forget_for_another_closing_or_for_a_batch_that_is_not_out_is_void(owner: Owner) -> None:
    close(owner, "b")
    owner.feed(open_("A", batch="c"), arrived("A", batch="c"))
    owner.feed(Forget("b", 77.0, 200.0), Forget("c", 101.0, 200.0), Forget("d", 1.0, 200.0))
    assert list(owner.set.closed) == ["b"]
    assert list(owner.set.closing) == ["c"]


def test_a_recovered_set_remembers_the_same_in_the_order_of_closing(owner: Owner) -> None:
    close(owner, "b2", at=103)
    close(owner, "b1", at=101)
    assert list(owner.restarted().set.closed) == ["b1", "b2"]
    assert owner.restarted().set.closed == dict(owner.set.closed)
    assert owner.set.closed["b1"].status is Status.COMPLETE


@pytest.fixture
def few_live(monkeypatch: pytest.MonkeyPatch) -> int:
    """Keep the objects of 32 stations only."""
    monkeypatch.setattr(closed, "LIVE_STATIONS", 32)
    return 32


def test_memory_for_closed_batches_is_bounded_by_their_stations(owner: Owner, few_live: int) -> None:
    close(owner, *(f"b{n}" for n in range(few_live + 20)))
    assert sum(len(batch.expected) for batch in owner.set._closed.live.values()) <= few_live
    batch = owner.batch("b50")
    assert batch.decision is not None
    assert batch.decision.results == ()
    assert [outcome for source in batch.sources.values() for outcome in source.outcomes.values()] == [("r", None)]


def test_late_outcomes_of_many_closed_batches_in_one_chunk_are_each_told_once(owner: Owner, few_live: int) -> None:
    batches = [f"b{n}" for n in range(few_live + 20)]
    for batch in batches:
        owner.feed(open_("A", batch=batch), expire(105, batch=batch))
        owner.publish(batch)
    late = [arrived("A", batch=batch) for batch in batches]
    assert len(of_type(Late, owner.feed(*late, *late))) == len(batches)
    assert owner.feed(*late) == []
    assert owner.restarted().feed(*late) == []


def test_a_batch_that_aged_out_while_nobody_ran_is_not_forgotten_before_the_grace_is_over(owner: Owner) -> None:
    close(owner, "b1", at=101)
    after = owner.restarted().set
    assert after.forgettable(9999, ttl=60, held=500) == []
    assert [event.batch_id for event in after.forgettable(9999, ttl=60)] == ["b1"]


def test_what_closes_in_the_moment_of_a_recovery_is_forgotten_in_its_time(owner: Owner) -> None:
    close(owner, "b1", at=101)
    assert owner.set.forgettable(9999, ttl=60, held=101.001) == []
    assert [event.batch_id for event in owner.set.forgettable(9999, ttl=60, held=101)] == ["b1"]


# -- recovery --------------------------------------------------------------------------------------------------------


def test_an_open_batch_is_recovered_with_all_that_has_come(owner: Owner) -> None:
    owner.feed_each(open_("ABC"), arrived("AB", "rs"), open_("CD", message=1, at=102), arrived("C"))
    before, after = owner.batch(), owner.restarted().batch()
    assert (after.deadline, after.pending) == (before.deadline, before.pending)
    assert list(after.waiting_for()) == list(before.waiting_for()) == ["C", "D"]
    assert {s: state.outcomes for s, state in after.sources.items()} == {
        s: state.outcomes for s, state in before.sources.items()
    }


def test_an_unpublished_decision_is_found_with_the_same_bytes(owner: Owner) -> None:
    owner.feed(open_("ABCDE"), open_("AB", message=1))
    owner.feed(arrived("ABC", "rfe"))
    owner.feed(arrived("A", message=1))
    (decision,) = decisions(owner.feed(arrived("D", "f"), expire(105), arrived("E")))
    other = owner.restarted()
    (left,) = other.left
    assert output_bytes(left.decision) == output_bytes(decision)
    assert other.feed(arrived("E")) == []


@pytest.mark.parametrize(
    "prepared", [Prepared('{"a":"\u00e9"}'), Prepared(None), Prepared(None, "Traceback\nError: x")]
)
def test_a_handlers_answer_survives(owner: Owner, prepared: Prepared) -> None:
    owner.feed(open_("A"))
    (decision,) = decisions(owner.feed(arrived("A")))
    owner.store(owner.set.prepared("b", 1, prepared))
    other = owner.restarted()
    (left,) = other.left
    assert (left.prepared, left.decision) == (prepared, decision)
    assert late_stations(other.feed(open_("B", message=1), arrived("B", message=1))) == ["B"]
    other.publish()
    assert other.restarted().left == []
    assert list(other.restarted().set.closed) == ["b"]


@pytest.mark.parametrize("prepared", [None, Prepared('{"a":1}')])
def test_another_destination_survives_and_changes_nothing_else(owner: Owner, prepared: Prepared | None) -> None:
    owner.feed(open_("A"))
    (decision,) = decisions(owner.feed(arrived("A")))
    if prepared is not None:
        owner.store(owner.set.prepared("b", 1, prepared))
    (before,) = owner.restarted().left
    assert before.destination == DESTINATION
    owner.store(owner.set.moved("b", 1, Destination("OTHER", 0)))
    other = owner.restarted()
    (left,) = other.left
    assert (left.destination, left.prepared, left.decision) == (Destination("OTHER", 0), prepared, decision)
    other.publish()
    assert other.restarted().left == []


def test_a_decision_whose_results_have_been_deleted_is_out_already(owner: Owner) -> None:
    owner.feed_each(open_("AB"), arrived("A"), arrived("B"))
    header = owner.records.get(Table.BATCHES, b"b")
    owner.publish()
    owner.records.write([Write(Table.BATCHES, b"b", header)])  # by a zombie
    other = owner.restarted()
    assert other.left == []
    assert list(other.set.closed) == ["b"]
    other.feed(expire(105))
    assert other.restarted().set._owed == []


def test_what_is_left_over_is_swept(owner: Owner) -> None:
    owner.feed(open_("AB"))
    owner.feed(arrived("A"))
    early = [Write(Table.BATCHES, key, owner.records.get(Table.BATCHES, key)) for key in keys(owner)]
    owner.feed(expire(105))
    owner.publish()
    owner.feed(arrived("B"))
    late = [Write(Table.BATCHES, key, owner.records.get(Table.BATCHES, key)) for key in keys(owner)[1:]]
    assert len(late) == 1
    owner.records.write(early)
    other = owner.restarted()
    other.feed(expire(1))
    assert keys(other) == [b"b", late[0].key]
    forget(other)
    other.records.write([early[1], *late])  # outcomes of a batch that has been forgotten
    again = other.restarted()
    assert not again.set.open
    assert not again.set._tracked
    again.feed(expire(1))
    assert not len(again.records)


def test_a_record_that_is_not_ours_stops_the_recovery(owner: Owner) -> None:
    for key in (b"b", b"b#1.0-0.0", b"b#r2"):
        with pytest.raises(UnreadableRecordError, match="is not one of ours"):
            Owner(MemoryRecords({Table.BATCHES: {key: b"{}"}}))


def test_looking_up_changes_nothing(owner: Owner) -> None:
    close(owner, "b")
    assert owner.batch().sources
    assert owner.set.look_up("c") is None
    assert owner.set.take_writes({}) == []
    assert owner.set.forgettable(1e9, ttl=0.0) == [Forget("b", 101.0, 1e9)]


def test_a_late_outcome_of_a_recovered_batch_knows_its_codes(owner: Owner) -> None:
    owner.feed(open_("ABC"), arrived("AB", "fs"), expire(105))
    owner.publish()
    batch = owner.restarted().batch()
    assert batch.decision == owner.batch().decision
    (source,) = batch.sources.values()
    assert source.outcomes == {"A": (Code.FAILED, "ValueError: A of 0"), "B": (Code.SKIPPED, None)}
    assert late_stations(owner.restarted().feed(arrived("ABC"))) == ["C"]
