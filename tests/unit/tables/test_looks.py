"""Looks into a partition's batches from outside agree with the state machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tables.looks import course_of, late_kept, names, outcome_of
from tables.model.enums import Code, LatePolicy
from tables.model.events import ABSENT
from tables.model.policies import Rules
from tables.storage.one_station import StationOutcome
from tests.builders import Owner, arrived, expire, open_

STATIONS = "ABCDE"
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(STATIONS), st.sampled_from("refs-"), min_size=1), min_size=1, max_size=3
)


def closed(messages: list[dict[str, str]], rules: Rules | None = None) -> Owner:
    """A batch of these messages, each of which names stations whose outcomes come, in order, or do not ('-')."""
    owner = Owner(rules=rules)
    for number, outcomes in enumerate(messages):
        owner.feed(open_(outcomes, message=number, at=100.0, timeout=5.0))
    for number, outcomes in enumerate(messages):
        came = {station: code for station, code in outcomes.items() if code != "-"}
        if came and "b" in owner.set.open:
            owner.feed(arrived(came, "".join(came.values()), message=number))
    if "b" in owner.set.open:
        owner.feed(expire())
    return owner


def expected(owner: Owner) -> dict[str, StationOutcome | None]:
    """What the decision says of each station."""
    batch = owner.batch()
    decision = batch.decision
    assert decision is not None
    found: dict[str, StationOutcome | None] = dict.fromkeys(STATIONS)
    found |= dict.fromkeys(decision.expected, StationOutcome(Code.RESULT))
    found |= dict.fromkeys(decision.empty, StationOutcome(Code.EMPTY))
    found |= {station: StationOutcome(Code.FAILED, error) for station, error in decision.failed}
    for station in decision.missing:
        latest = batch.expected[station].outcomes.get(station)
        found[station] = StationOutcome(ABSENT if latest is None or latest[0] != Code.SKIPPED else Code.SKIPPED)
    return found


@given(MESSAGES)
def test_an_outcome_is_found_in_the_header_as_it_was_decided(messages: list[dict[str, str]]) -> None:
    owner = closed(messages)
    due = expected(owner)
    for state in ("closing", "closed", "restarted"):
        if state == "closed":
            owner.publish()
        if state == "restarted":
            owner = owner.restarted()
        for station in [*STATIONS, "Z", "timeout", '"', ""]:
            assert outcome_of(owner.set, "b", station) == due.get(station), (state, station)
            assert names(owner.set, "b", station) == (due.get(station) is not None)


@given(MESSAGES)
def test_a_course_has_what_arrived_in_time(messages: list[dict[str, str]]) -> None:
    owner = closed(messages)
    closing = course_of(owner.set, "b")
    owner.publish()
    stored = course_of(owner.restarted().set, "b")
    assert closing is not None
    assert stored is not None
    assert set(closing.arrivals) == set(stored.arrivals)
    for station, arrival in closing.arrivals.items():
        assert arrival.at == 101.0
        assert stored.arrivals[station] == (arrival.code, None)
    assert [step[:4] for step in closing.steps] == [step[:4] for step in stored.steps]
    assert [step.is_out for step in (*closing.steps, *stored.steps)] == [False, True]
    assert [source.source for source in closing.sources] == [source.source for source in stored.sources]


def test_an_open_batch_has_a_course_but_no_outcomes() -> None:
    owner = Owner()
    owner.feed(open_("AB"), arrived("A"))
    course = course_of(owner.set, "b")
    assert course is not None
    assert (course.steps, {station: arrival.at for station, arrival in course.arrivals.items()}) == ([], {"A": 101.0})
    assert outcome_of(owner.set, "b", "A") is None
    assert (names(owner.set, "b", "B"), names(owner.set, "b", "C")) == (True, False)
    assert course_of(owner.set, "unknown") is None


def test_late_outcomes_that_no_topic_has_are_found() -> None:
    for policy, found in ((LatePolicy.REVISE, [(107.0, 1)]), (LatePolicy.DROP, [(107.0, 1)]), (LatePolicy.TOPIC, [])):
        owner = closed([{"A": "r", "B": "-"}], Rules(late=policy))
        owner.publish()
        assert owner.set.with_late() == []
        owner.feed(arrived("B", at=107.0))
        assert owner.set.with_late() == ["b"]
        assert late_kept(owner.set, "b") == found


def test_what_a_revision_changes_is_found() -> None:
    owner = closed([{"A": "r", "B": "-"}], Rules(late=LatePolicy.REVISE))
    owner.publish()
    assert outcome_of(owner.set, "b", "B") == StationOutcome(ABSENT)
    owner.feed(arrived("B", "f", at=107.0))
    owner.feed(*owner.set.due(200.0))
    owner.publish(revision=2)
    for one in (owner, owner.restarted()):
        outcome = outcome_of(one.set, "b", "B")
        assert outcome is not None
        assert outcome.code == Code.FAILED
        line = one.set.closed["b"]
        assert (line.completed_by, line.first_completed_by, line.first_closed_at) == ("revision", "timeout", 105.05)
