"""The rules of a batch, CONTRACT 7, one by one."""

from __future__ import annotations

import pytest

from tables.model.enums import Code, CompletedBy, Status
from tables.model.events import Decision, FailedStation, Late, Opened, Released, SkippedFailed
from tests.builders import (
    Owner,
    arrived,
    command,
    decisions,
    expire,
    late_stations,
    letter_of,
    of_type,
    open_,
    source,
    value_of,
)


@pytest.fixture
def owner() -> Owner:
    return Owner()


def results(*named: tuple[str, int]) -> tuple[str, ...]:
    """Texts of results, by station and message."""
    return tuple(value_of(station, "r", message) or "" for station, message in named)


# -- opening and completing ------------------------------------------------------------------------------------------


def test_the_first_message_opens_the_batch(owner: Owner) -> None:
    assert owner.feed(open_("ABC")) == [Opened("b", ("A", "B", "C"))]
    batch = owner.set.open["b"]
    assert (batch.opened_at, batch.deadline, batch.pending, list(batch.waiting_for())) == (100, 105, 3, ["A", "B", "C"])


def test_a_batch_is_complete_when_every_expected_station_has_arrived(owner: Owner) -> None:
    owner.feed(open_("ABCD"), arrived("CA", "rr", at=101), arrived("D", "f", at=102))
    assert owner.feed(arrived("B", "e", at=103.25)) == [
        Released(
            Decision(
                batch_id="b",
                revision=1,
                completed_by=CompletedBy.ALL,
                status=Status.COMPLETE,
                opened_at=100,
                deadline=105,
                closed_at=103.25,
                expected=("A", "B", "C", "D"),
                results=results(("A", 0), ("C", 0)),
                missing=(),
                failed=(("D", "ValueError: D of 0"),),
                empty=("B",),
            )
        )
    ]


def test_the_deadline_closes_a_batch_with_what_has_arrived(owner: Owner) -> None:
    owner.feed(open_("ABCD"), arrived("CB", "re"))
    (decision,) = decisions(owner.feed(expire(105, at=105.5)))
    assert (decision.completed_by, decision.status) == (CompletedBy.TIMEOUT, Status.PARTIAL)
    assert (decision.results, decision.missing, decision.empty) == (results(("C", 0)), ("A", "D"), ("B",))
    assert (decision.closed_at, decision.arrived_count) == (105.5, 2)


def test_what_stands_before_the_expiry_in_the_log_counts_however_late_it_is(owner: Owner) -> None:
    (decision,) = decisions(owner.feed(open_("A"), arrived("A", at=500.0), expire(105)))
    assert (decision.completed_by, decision.closed_at) == (CompletedBy.ALL, 500.0)


def test_a_batch_of_which_all_are_empty_or_failed_is_complete_with_an_empty_list(owner: Owner) -> None:
    (decision,) = decisions(owner.feed(open_("AB"), arrived("AB", "ef")))
    assert (decision.status, decision.results, decision.arrived_count) == (Status.COMPLETE, (), 2)


def test_the_order_of_the_output_is_that_in_which_messages_named_the_stations(owner: Owner) -> None:
    owner.feed(open_("CA"), open_("BAD", message=1), arrived("D", message=1), arrived("C"))
    (decision,) = decisions(owner.feed(arrived("AB", message=1)))
    assert decision.expected == ("C", "A", "B", "D")
    assert decision.results == results(("C", 0), ("A", 1), ("B", 1), ("D", 1))


def test_an_expiry_that_is_not_for_the_latest_deadline_is_void(owner: Owner) -> None:
    owner.feed(open_("AB"), open_("C", message=1, at=102))
    assert owner.feed(expire(105)) == []
    (decision,) = decisions(owner.feed(expire(107)))
    assert decision.deadline == 107


def test_an_expiry_of_a_batch_that_is_not_open_changes_nothing(owner: Owner) -> None:
    assert owner.feed(expire(105)) == []
    owner.feed(open_("A"), arrived("A"))
    assert owner.feed(expire(105)) == []


# -- repeats ---------------------------------------------------------------------------------------------------------


def test_the_same_message_again_changes_nothing_even_with_other_times(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("A"))
    records = owner.records.copy()
    assert owner.feed(open_("AB", at=103.0), arrived("A", at=104)) == []
    assert owner.batch().deadline == 105
    assert owner.records.tables == records.tables


def test_the_first_outcome_in_the_log_wins_for_a_message_and_station(owner: Owner) -> None:
    effects = owner.feed(open_("AB"), arrived("A", "f"), arrived("A", "r"), arrived("A", "e"), arrived("BB", "er"))
    (decision,) = decisions(effects)
    assert (decision.results, decision.failed, decision.empty) == ((), (("A", "ValueError: A of 0"),), ("B",))


def test_a_repeat_of_the_event_that_closed_the_batch_is_not_late(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("AB", "rf"))
    assert owner.feed(arrived("AB", "rf"), open_("AB")) == []
    owner.publish()
    assert owner.feed(arrived("AB", "rf"), open_("AB")) == []


# -- supplements -----------------------------------------------------------------------------------------------------


def test_a_supplement_unites_the_expected_stations(owner: Owner) -> None:
    assert owner.feed(open_("AB"), open_("BC", message=1)) == [Opened("b", ("A", "B"))]
    assert decisions(owner.feed(arrived("AB"), arrived("C", message=1))) == []  # B is awaited for message 1
    (decision,) = decisions(owner.feed(arrived("B", message=1)))
    assert (decision.expected, decision.results) == (("A", "B", "C"), results(("A", 0), ("B", 1), ("C", 1)))


@pytest.mark.parametrize(
    ("at", "timeout", "deadline"),
    [(102.0, 5.0, 107.0), (101.0, 1.0, 105.0), (104.0, 59.0, 160.0), (103.0, 57.0, 160.0)],
)
def test_a_supplement_moves_the_deadline_to_the_later_one_within_the_batchs_age(
    owner: Owner, at: float, timeout: float, deadline: float
) -> None:
    owner.feed(open_("A"), open_("B", message=1, at=at, timeout=timeout))
    assert owner.batch().deadline == deadline


def test_a_station_that_had_arrived_is_awaited_again_for_the_newer_message(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("A"), open_("A", message=1))
    assert list(owner.batch().waiting_for()) == ["A", "B"]
    assert decisions(owner.feed(arrived("B"))) == []
    (decision,) = decisions(owner.feed(arrived("A", message=1)))
    assert decision.results == results(("A", 1), ("B", 0))


def test_an_older_result_is_used_when_the_batch_closes_without_the_newer_one(owner: Owner) -> None:
    owner.feed(open_("ABC"), arrived("AB"), open_("AB", message=1), arrived("B", message=1))
    (decision,) = decisions(owner.feed(expire(105)))
    assert (decision.results, decision.missing) == (results(("A", 0), ("B", 1)), ("C",))


@pytest.mark.parametrize("older_first", [True, False])
@pytest.mark.parametrize("code", ["e", "f", "r"])
def test_an_older_result_never_replaces_what_the_newer_message_brought(
    owner: Owner, code: str, older_first: bool
) -> None:
    pair = [arrived("A"), arrived("A", code, message=1)]
    effects = owner.feed(open_("AB"), open_("A", message=1), *(pair if older_first else pair[::-1]), arrived("B"))
    (decision,) = decisions(effects)
    assert ("A" in decision.empty, "A" in dict(decision.failed)) == (code == "e", code == "f")
    assert decision.results == results(("A", 1), ("B", 0))[code != "r" :]
    assert late_stations(effects) == []


@pytest.mark.parametrize("code", ["e", "f"])
def test_a_result_is_not_used_over_a_newer_empty_or_failed_when_the_newest_is_missing(owner: Owner, code: str) -> None:
    owner.feed(*(open_("A", message=n) for n in range(3)), arrived("A"), arrived("A", code, message=1))
    (decision,) = decisions(owner.feed(expire(105)))
    assert (decision.results, decision.missing) == ((), ("A",))


def test_an_older_outcome_is_not_late_when_it_comes_second(owner: Owner) -> None:
    owner.feed(open_("AB"), open_("AB", message=1), arrived("AB", message=1))
    assert owner.feed(arrived("AB", "rf")) == [FailedStation("b", source(0), "B", 101.0, letter_of("B"))]
    owner.publish()
    assert owner.restarted().feed(arrived("AB", "rf")) == []


def test_an_older_outcome_is_late_when_the_newer_message_has_brought_none(owner: Owner) -> None:
    owner.feed(open_("AB"), open_("AB", message=1), arrived("AB", "sr", message=1), expire(105))
    assert late_stations(owner.feed(arrived("AB"))) == ["A"]
    assert late_stations(owner.feed(arrived("A", message=1))) == []  # it was skipped: first in the log


def test_the_newer_outcome_is_late_when_the_batch_closed_with_the_older_one(owner: Owner) -> None:
    owner.feed(open_("A"), open_("A", message=1), arrived("A"), expire(105))
    (late,) = of_type(Late, owner.feed(arrived("A", message=1)))
    assert late.value == value_of("A", "r", 1)


# -- skipped ---------------------------------------------------------------------------------------------------------


def test_a_skipped_station_of_a_batch_that_is_due_stays_missing(owner: Owner) -> None:
    effects = owner.feed(open_("AB"), arrived("AB", "sr", at=105.01))
    assert decisions(effects) == []
    (decision,) = decisions(owner.feed(expire(105)))
    assert (decision.missing, decision.failed, decision.arrived_count) == (("A",), (), 1)


def test_a_skipped_station_of_a_batch_that_has_been_extended_is_failed(owner: Owner) -> None:
    owner.feed(open_("A"), open_("B", message=1, at=103))
    owner.feed(arrived("A", "s", at=105.1))
    (decision,) = decisions(owner.feed(arrived("B", message=1)))
    assert (decision.status, decision.failed) == (Status.COMPLETE, (("A", "skipped: A of 0"),))


def test_a_station_skipped_before_the_batch_is_extended_is_failed_then(owner: Owner) -> None:
    owner.feed(open_("AC"), arrived("AC", "sr", at=105.1), open_("BC", message=1, at=104.99))
    assert list(owner.restarted().batch().waiting_for()) == list(owner.batch().waiting_for()) == ["C", "B"]
    (decision,) = decisions(owner.feed(arrived("BC", message=1)))
    assert (decision.completed_by, decision.failed) == (CompletedBy.ALL, (("A", "skipped: A of 0"),))


def test_a_skipped_station_that_fails_is_told_once_with_its_message_however_it_comes_to_fail(owner: Owner) -> None:
    error = "skipped: A of 0"
    skipped, extended = arrived("A", "s", at=105.1), open_("B", message=1, at=104.99)
    assert of_type(SkippedFailed, owner.feed(open_("AC"), skipped)) == []
    (told,) = of_type(SkippedFailed, owner.feed(extended))
    assert told == SkippedFailed("b", source(0), "A", 104.99, error, None)
    assert of_type(SkippedFailed, owner.restarted().feed(skipped, extended, open_("D", message=2, at=105))) == []

    other = Owner()
    (told,) = of_type(SkippedFailed, other.feed(open_("AC"), extended, skipped))
    assert told == SkippedFailed("b", source(0), "A", 105.1, error, None)

    third = Owner()
    (told,) = of_type(SkippedFailed, third.feed(open_("AC"), skipped, command("extend", seconds=3.0, at=105.2)))
    assert told == SkippedFailed("b", source(0), "A", 105.2, error, None)


def test_a_station_skipped_for_an_older_message_is_still_awaited_for_the_newer(owner: Owner) -> None:
    owner.feed(open_("A"), arrived("A", "s", at=105.1), open_("A", message=1, at=104.99))
    assert list(owner.batch().waiting_for()) == ["A"]
    (decision,) = decisions(owner.feed(arrived("A", message=1)))
    assert decision.results == results(("A", 1))


def test_a_supplement_that_moves_no_deadline_fails_no_skipped_station(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("A", "s", at=105.1), open_("C", message=1, at=104.99, timeout=0.0))
    (decision,) = decisions(owner.feed(expire(105)))
    assert (decision.missing, decision.failed) == (("A", "B", "C"), ())


def test_a_skipped_station_of_a_closed_batch_is_late(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("B"), expire(105))
    (late,) = of_type(Late, owner.feed(arrived("A", "s", at=106)))
    assert (late.code, late.value) == (Code.SKIPPED, "skipped: A of 0")


# -- late ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_late_outcome_is_told_once(owner: Owner, published: bool, restarted: bool) -> None:
    owner.feed(open_("ABC"), arrived("A"), expire(105, at=105.5))
    if published:
        owner.publish()
    if restarted:
        owner = owner.restarted()
    assert owner.feed(arrived("ABC", "rrf", at=107)) == [
        Late("b", "B", Code.RESULT, value_of("B", "r"), "batch-closed", 1, 105.5, 107),
        FailedStation("b", source(0), "C", 107, letter_of("C")),
        Late("b", "C", Code.FAILED, value_of("C", "f"), "batch-closed", 1, 105.5, 107),
    ]
    assert owner.feed(arrived("ABC", "rrf", at=108)) == []
    assert owner.restarted().feed(arrived("ABC", "rrf", at=109)) == []


def test_outcomes_behind_the_one_that_closes_the_batch_in_the_same_event_are_late(owner: Owner) -> None:
    owner.feed(open_("AB"), open_("A", message=1), arrived("A", message=1))
    effects = owner.feed(arrived(["B", "A"], "rr"))
    assert [type(effect) for effect in effects] == [Released]  # A is superseded
    assert owner.set.closing["b"].sources[source(0)].outcomes.keys() == {"A", "B"}


def test_a_message_after_the_closing_is_late_and_opens_nothing(owner: Owner) -> None:
    owner.feed(open_("AB"), arrived("AB"))
    assert owner.feed(open_("BC", message=1, at=110)) == []
    assert not owner.set.open
    first = owner.feed(arrived("B", message=1, at=111))
    assert first == [Late("b", "B", Code.RESULT, value_of("B", "r", 1), "late-message", 1, 101.0, 111)]
    owner.publish()
    other = owner.restarted()
    assert other.feed(open_("BC", message=1, at=112), arrived("B", message=1)) == []
    assert [late.reason for late in of_type(Late, other.feed(arrived("C", message=1)))] == ["late-message"]
    assert other.set.closed == owner.set.closed


def test_outcomes_of_a_batch_that_is_not_known_are_late_and_open_nothing(owner: Owner) -> None:
    effects = owner.feed(arrived("AB", "rf", at=101))
    assert effects == [
        Late("b", "A", Code.RESULT, value_of("A", "r"), "unknown-batch", None, None, 101),
        FailedStation("b", source(0), "B", 101, letter_of("B")),
        Late("b", "B", Code.FAILED, value_of("B", "f"), "unknown-batch", None, None, 101),
    ]
    assert not len(owner.records)
    assert owner.set.look_up("b") is None


def test_outcomes_of_a_message_that_the_batch_does_not_know_are_late(owner: Owner) -> None:
    owner.feed(open_("A"))
    (late,) = of_type(Late, owner.feed(arrived("A", message=7)))
    assert (late.reason, late.revision, owner.batch().pending) == ("unknown-message", None, 1)


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_failed_stations_letter_goes_out_once(owner: Owner) -> None:
    owner.feed(open_("ABC"))
    assert owner.feed(arrived("AB", "fe")) == [FailedStation("b", source(0), "A", 101.0, letter_of("A"))]
    effects = owner.feed(arrived("AC", "ff"))
    assert of_type(FailedStation, effects) == [FailedStation("b", source(0), "C", 101.0, letter_of("C"))]
    assert owner.feed(arrived("ABC", "fff")) == []


def test_each_messages_failure_of_a_station_has_its_own_letter(owner: Owner) -> None:
    effects = owner.feed(open_("AB"), open_("A", message=1), arrived("A", "f"), arrived("A", "f", message=1))
    assert [failed.source for failed in of_type(FailedStation, effects)] == [source(0), source(1)]
