"""An event that is taken whole leads to what it leads to outcome by outcome: the same effects, and the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.model.batch import Batch
from tables.model.events import Arrived, BatchEvent, Effect, Open, Position, SourceState
from tables.model.policies import ReleasePolicy, Rules
from tables.storage.records import Write
from tests.batch_model import draw_log, draw_rules, frames_of
from tests.builders import Entry, Owner, arrived, expire, open_
from tests.examples import examples

seeds = st.integers(0, 2**32 - 1).map(Random)


@contextmanager
def one_by_one() -> Iterator[None]:
    """Have no event taken whole."""
    with patch.object(Batch, "_take_whole", lambda *_: False):
        yield


@contextmanager
def counted(taken: list[int]) -> Iterator[None]:
    """Note how many stations each event had that was taken whole."""
    take_whole = Batch._take_whole

    def note(batch: Batch, source: SourceState, event: Arrived) -> bool:
        whole = take_whole(batch, source, event)
        if whole:
            taken.append(len(event.stations))
        return whole

    with patch.object(Batch, "_take_whole", note):
        yield


def run(log: Sequence[Entry], rules: Rules) -> tuple[list[Effect], list[Write]]:
    """Apply a log, each frame a chunk that is stored; what it leads to, and what is stored of it."""
    owner = Owner(rules=rules)
    effects: list[Effect] = []
    writes: list[Write] = []
    for frame in frames_of(log):
        made, stored = owner.apply(frame)
        owner.store(stored)
        effects += made
        writes += stored
    return effects, writes


def draw_events(random: Random) -> list[Entry]:
    """Draw the log of a batch whose events mostly are as a plant's: new, expected, with a result each."""
    stations = [f"S{number}" for number in range(random.randint(1, 12))]
    named = [*stations, *random.choice([[], [], ["other"]])]
    open_events = [open_(stations), *([open_(random.sample(stations, 1), message=1)] if random.random() < 0.1 else [])]
    events: list[Arrived] = []
    while named:
        count = random.randint(1, len(named))
        ids, named = named[:count], named[count:]
        ids += random.choices(ids, k=1) if random.random() < 0.1 else []
        codes = "".join(random.choices("refs", [20, 1, 1, 0.3], k=len(ids)))
        events.append(arrived(ids, codes, at=101.0 + len(events)))
        if random.random() < 0.1:
            events.append(random.choice(events))
    log: list[BatchEvent] = [*open_events, *events, expire(105, at=200.0)]
    return [(Position(offset, 0), event) for offset, event in enumerate(log)]


@examples(600)
@given(seeds)
def test_an_event_taken_whole_leads_to_the_same_as_outcome_by_outcome(random: Random) -> None:
    log = random.choice([draw_log, draw_events])(random)
    rules = draw_rules(random)
    whole = run(log, rules)
    with one_by_one():
        assert repr(run(log, rules)) == repr(whole)  # observations are not compared otherwise


def whole_events(log: Sequence[Open | Arrived], rules: Rules | None = None) -> list[int]:
    """Apply a log; how many stations each event had that was taken whole."""
    taken: list[int] = []
    with counted(taken):
        run([(Position(offset, 0), event) for offset, event in enumerate(log)], rules or Rules())
    return taken


def test_new_outcomes_of_the_only_message_are_taken_whole() -> None:
    assert whole_events([open_("ABCDE"), arrived("AB"), arrived("CDE", "ref")]) == [2, 3]


@pytest.mark.parametrize(
    ("log", "rules"),
    [
        ([open_("ABC"), arrived("AZ")], Rules()),
        ([open_("ABC"), arrived("AA")], Rules()),
        ([open_("ABC"), arrived("AB", "rs")], Rules()),
        ([open_("ABC"), open_("A", message=1), arrived("AB")], Rules()),
        ([open_("ABCDE"), arrived("ABCDE")], Rules(release=ReleasePolicy(0.6))),
        ([open_("ABC"), arrived("AB")], Rules(release=ReleasePolicy(0.6, frozenset("C")))),
    ],
    ids=["not expected", "twice", "skipped", "two messages", "released within it", "a required station"],
)
def test_what_the_rules_may_tell_from_a_whole_is_taken_one_by_one(log: Sequence[Open | Arrived], rules: Rules) -> None:
    assert whole_events(log, rules) == []


def test_a_repeat_is_taken_one_by_one() -> None:
    assert whole_events([open_("ABC"), arrived("A"), arrived("AB")]) == [1]
