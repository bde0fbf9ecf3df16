"""What an operator's commands do to a batch, and that they do it once."""

from __future__ import annotations

import pytest

from tables.model.enums import Action, CompletedBy, Status
from tables.model.events import Command, Commanded, Expire, Operator, Released
from tests.builders import Owner, arrived, command, decisions, expire, late_stations, open_, value_of


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_complete_publishes_what_there_is(owner: Owner) -> None:
    owner.feed(open_("ABC"), arrived("AC"))
    commanded, released = owner.feed(command("complete", at=102.5, by="ops@10.0.0.7"))
    assert commanded == Commanded(Command("b", Action.COMPLETE, 102.5, "ops@10.0.0.7"), 105.0)
    assert isinstance(released, Released)
    decision = released.decision
    assert (decision.completed_by, decision.status) == (CompletedBy.OPERATOR, Status.PARTIAL)
    assert (decision.missing, decision.closed_at) == (("B",), 102.5)
    assert decision.results == (value_of("A", "r"), value_of("C", "r"))
    assert decision.operator == Operator(Action.COMPLETE, "ops@10.0.0.7", 102.5)


def test_complete_gives_a_complete_batch_where_an_older_result_stands_in(owner: Owner) -> None:
    owner.feed(open_("A"), open_("A", message=1), arrived("A"))
    (decision,) = decisions(owner.feed(command("complete")))
    assert (decision.completed_by, decision.status) == (CompletedBy.OPERATOR, Status.COMPLETE)


def test_discard_closes_without_publishing_and_what_comes_then_is_late(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("A"))
    (decision,) = decisions(owner.feed(command("discard")))
    assert (decision.completed_by, decision.status) == (CompletedBy.OPERATOR, Status.DISCARDED)
    assert (decision.results, decision.missing) == ((value_of("A", "r"),), ("B",))
    (left,) = owner.restarted().left
    assert left.decision == decision
    owner.publish()
    assert owner.restarted().set.closed["b"].status is Status.DISCARDED
    assert late_stations(owner.feed(arrived("B"))) == ["B"]


def test_extend_moves_the_deadline_from_where_it_is(owner: Owner) -> None:
    owner.feed(open_("A"))
    extend = command("extend", seconds=3.0)
    assert owner.feed(extend) == [Commanded(extend, 108.0)]
    assert owner.set.due(107.9) == []
    assert owner.set.due(108.0) == [Expire("b", 108.0, 108.0)]
    assert owner.feed(expire(105.0)) == []
    (decision,) = decisions(owner.feed(expire(108.0)))
    assert decision.operator == Operator(Action.EXTEND, "ops", 102.0)


def test_an_extension_that_is_repeated_is_no_news_of_a_batch_that_is_read_from_its_record(owner: Owner) -> None:
    first, second = command("extend", seconds=1.0), command("extend", seconds=3.0, by="other", at=101.5)
    owner.feed(open_("A"), first, second, arrived("A"))
    owner.publish()
    for owner_of_it in (owner, owner.restarted()):
        assert owner_of_it.feed(first, second) == []


def test_extend_goes_no_further_than_the_batchs_age(owner: Owner) -> None:
    owner.feed(open_("A"))
    assert owner.feed(command("extend", seconds=500.0))[-1:] == [Commanded(command("extend", seconds=500.0), 160.0)]
    more = command("extend", seconds=1.0, at=103.0)
    assert owner.feed(more) == [Commanded(more, None)]
    assert owner.batch().deadline == 160.0


@pytest.mark.parametrize("seconds", [0.0, -3.0])
def test_extend_never_moves_the_deadline_back(owner: Owner, seconds: float) -> None:
    owner.feed(open_("A"))
    assert owner.feed(command("extend", seconds=seconds)) == [Commanded(command("extend", seconds=seconds), None)]
    assert owner.batch().deadline == 105.0


def test_an_extension_survives_and_moves_the_deadline_once_when_it_comes_again(owner: Owner) -> None:
    owner.feed(open_("A"))
    owner.feed(command("extend", seconds=3.0))
    assert owner.feed(command("extend", seconds=3.0)) == []
    after = owner.restarted()
    assert after.batch().deadline == 108.0
    assert after.feed(command("extend", seconds=3.0)) == []
    assert after.feed(command("extend", seconds=3.0, at=102.125))
    assert after.batch().deadline == owner.restarted().batch().deadline == 111.0
    assert owner.restarted().set.due(111.0) == [Expire("b", 111.0, 111.0)]


def test_the_operator_is_named_however_the_batch_closes_after_a_restart(owner: Owner) -> None:
    owner.feed(open_("A"))
    owner.feed(command("extend", seconds=3.0))
    (decision,) = decisions(owner.restarted().feed(arrived("A")))
    assert decision.operator == Operator(Action.EXTEND, "ops", 102.0)
    assert (decision.completed_by, decision.deadline) == (CompletedBy.ALL, 108.0)


def test_a_skipped_station_has_failed_once_its_batch_is_extended(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("AB", "rs"))
    (decision,) = decisions(owner.feed(command("extend", seconds=1.0, at=104.5)))
    assert (decision.completed_by, decision.closed_at) == (CompletedBy.ALL, 104.5)
    assert decision.failed == (("B", value_of("B", "s")),)


def test_a_command_for_a_batch_that_is_not_open_changes_nothing(owner: Owner) -> None:
    for action in Action:
        wish = command(action, seconds=5.0)
        assert owner.feed(wish) == [Commanded(wish, None)]
    assert not len(owner.records)
    owner.feed(open_("A"), arrived("A"))
    owner.publish()
    before = owner.records.copy()
    for action in Action:
        wish = command(action, seconds=5.0)
        assert owner.feed(wish) == [Commanded(wish, None)]
    assert owner.records.tables == before.tables
    assert owner.set.closed["b"].status is Status.COMPLETE


def test_the_command_that_closed_a_batch_is_told_once(owner: Owner) -> None:
    owner.feed(open_("A"), command("complete"))
    assert owner.feed(command("complete")) == []
    owner.publish()
    assert owner.restarted().feed(command("complete")) == []


def test_a_command_that_stood_before_the_opening_has_no_effect_when_it_is_read_again(owner: Owner) -> None:
    owner.feed(command("discard"), open_("A"))
    again = owner.restarted()
    again.next_offset = 0
    assert decisions(again.feed(command("discard"))) == []
    assert list(again.set.open) == ["b"]
