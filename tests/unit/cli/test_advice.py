"""What other timeouts would have made of past batches: held against the state machine, and told in tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.advice import Advice, Prospect, Rules, advise, closing, quantile
from app.cli.advise import lines
from app.cli.past_batches import History, PastBatch
from app.settings import Settings
from app.settings.enums import TimeoutMode
from tables.model.enums import Status
from tables.model.events import BatchEvent, Forget, Position
from tables.model.policies import PartialPolicy, ReleasePolicy
from tables.model.policies import Rules as BatchRules
from tests.builders import Owner, arrived, command, decisions, expire, open_

ALL = ReleasePolicy()
RULES = Rules(ALL, PartialPolicy())
NOW = 1e6
seeds = st.integers(0, 2**32 - 1).map(Random)


def history_of(events: Iterable[BatchEvent], release: ReleasePolicy = ALL, kept: int = 10_000) -> History:
    history = History(release, kept)
    for event in events:
        history.take(event)
    return history


def past(events: Iterable[BatchEvent]) -> PastBatch:
    (batch,) = history_of(events).batches()
    return batch


def advice_of(events: Iterable[BatchEvent], *timeouts: float, now: float = NOW, rules: Rules = RULES) -> Advice:
    advice = advise(history_of(events, rules.release).batches(), rules, timeouts, now)
    assert advice is not None
    return advice


def prospect(advice: Advice, timeout: float | None) -> Prospect:
    (found,) = [one for one in advice.prospects if one.timeout == timeout]
    return found


# -- the log -----------------------------------------------------------------------------------------------------------


def test_a_batch_has_the_time_of_each_outcome_in_time_or_late() -> None:
    batch = past([open_("ABC"), arrived("B", at=101.5), expire(), arrived("A", "f", at=107.0)])
    assert list(batch.came) == [7.0, 1.5, inf]
    assert (batch.given, batch.stations.names) == (5.0, ("A", "B", "C"))


def test_the_first_outcome_counts_and_a_log_that_is_read_twice_changes_nothing() -> None:
    log: list[BatchEvent] = [
        open_("AB"),
        arrived("A", at=101.0),
        arrived("A", at=103.0),
        arrived("B", "s", at=106.0),
        arrived("B", at=107.0),
    ]
    batch = past([*log, *log])
    assert (list(batch.came), batch.skipped) == ([1.0, inf], {1})


def test_an_outcome_of_another_message_or_of_a_stranger_is_none_of_the_batch() -> None:
    batch = past([open_("A"), arrived("A", message=1, at=101.0), arrived("Z", at=102.0)])
    assert list(batch.came) == [inf]


def test_a_clock_that_is_behind_makes_no_time_before_the_opening() -> None:
    assert list(past([open_("A"), arrived("A", at=99.0)]).came) == [0.0]


@pytest.mark.parametrize(
    ("end", "has_more"),
    [
        ([], True),
        ([expire()], False),
        ([expire(104.0)], True),
        ([arrived("AB")], False),
        ([command("complete")], False),
        ([command("extend", seconds=2.0), expire()], True),
        ([command("extend", seconds=2.0), expire(107.0)], False),
    ],
)
def test_another_message_supplements_a_batch_that_is_open(end: list[BatchEvent], has_more: bool) -> None:
    assert past([open_("AB"), *end, open_("B", message=1, at=103.0)]).has_more is has_more


def test_a_replayed_letter_opens_no_batch_and_a_forgotten_id_may_be_opened_again() -> None:
    again = open_("B", message=7, at=9000.0)
    history = history_of([open_("Z", replayed=True), open_("A"), expire(), Forget("b", 105.0, 8000.0), again])
    assert [batch.stations.names for batch in history.batches()] == [("A",), ("B",)]
    assert not any(batch.has_more for batch in history.batches())


@given(seeds)
def test_the_newest_batches_are_kept_and_memory_is_bounded(random: Random) -> None:
    log = [open_("ABC", batch=f"b{number}", at=float(number)) for number in range(50)]
    random.shuffle(log)
    history = history_of(log, kept=10 * 23)
    assert [batch.batch_id for batch in history.batches()] == [f"b{number}" for number in range(40, 50)]
    assert history.dropped == 40
    history.take(arrived("A", batch="b3"))  # of one that is not kept


# -- against the state machine -----------------------------------------------------------------------------------------


def machine(batch_log: Sequence[BatchEvent], rules: BatchRules) -> tuple[float, tuple[str, ...], Status]:
    """How the batch of a log closes: its end in seconds after the opening, the missing stations and its status."""
    owner = Owner(rules=rules)
    effects, _ = owner.apply([(Position(number, 0), event) for number, event in enumerate(batch_log)])
    decision = decisions(effects)[0]
    return decision.closed_at - decision.opened_at, decision.missing, decision.status


@settings(max_examples=400)
@given(seeds)
def test_a_batch_closes_as_the_state_machine_closes_it_with_that_timeout(random: Random) -> None:
    stations = "ABCDEFGH"[: random.randint(1, 8)]
    times = random.sample(range(1, 40), len(stations))  # quarters of a second, no two the same
    coming = sorted((time / 4, station) for station, time in zip(stations, times, strict=True) if random.random() < 0.9)
    timeout = random.randint(1, 40) / 4 + 0.125  # of no outcome's time
    ratio = random.choice([None, None, 0.25, 0.5, 0.8, 1.0])
    required = frozenset(random.sample("ABCDEFGHI", random.choice([0, 0, 1, 2])))
    least = random.choice([0.0, 0.5, ratio or 0.9])
    release, partial = ReleasePolicy(ratio, required), PartialPolicy(least, required)

    def log(given: float) -> list[BatchEvent]:
        before = [arrived(station, random.choice("ref"), at=100.0 + at) for at, station in coming if at < given]
        after = [arrived(station, at=100.0 + at) for at, station in coming if at > given]
        return [open_(stations, timeout=given), *before, expire(100.0 + given, at=100.0 + given), *after]

    batch = history_of(log(random.randint(1, 40) / 4 + 0.125), release).batches()[0]
    found = closing(batch, sorted(batch.came), timeout, Rules(release, partial))
    at, missing, status = machine(log(timeout), BatchRules(partial=partial, release=release))
    assert (found.at, found.missing) == (at, len(missing))
    assert found.is_published == (status is not Status.DISCARDED)
    assert found.unsure == 0


@given(seeds)
def test_a_longer_timeout_never_completes_fewer_batches_nor_is_sooner(random: Random) -> None:
    events: list[BatchEvent] = []
    for number in range(random.randint(1, 20)):
        name = f"b{number}"
        events.append(open_("ABC", batch=name))
        events += [
            arrived(station, random.choice("refs"), batch=name, at=100 + random.random() * 10)
            for station in "ABC"
            if random.random() < 0.8
        ]
    advice = advice_of(events, 1.0, 2.5, 5.0, 7.0, 20.0)
    rows = advice.prospects[1:]
    for shorter, longer in pairwise(rows):
        assert shorter.complete <= longer.complete
        assert shorter.missing - shorter.unsure_missing >= longer.missing - longer.unsure_missing
        assert shorter.median <= longer.median
    for row in advice.prospects:
        assert row.complete + row.partial + row.discarded + row.unsure == advice.batches
    for station in advice.stations:
        assert station.last <= station.batches
        assert station.skipped + station.never <= station.batches


# -- what is told ------------------------------------------------------------------------------------------------------


def five_batches() -> list[BatchEvent]:
    """Three are complete after 1 s; of one S comes after 6.5 s, of one it never does."""
    events: list[BatchEvent] = []
    for number in range(5):
        name = f"b{number}"
        events += [open_("ABS", batch=name), arrived("AB", batch=name, at=100.5)]
        if number < 3:
            events.append(arrived("S", batch=name, at=101.0))
        else:
            events.append(expire(batch=name))
    return [*events, arrived("S", batch="b3", at=106.5)]


def test_each_timeout_is_counted() -> None:
    advice = advice_of(five_batches(), 0.75, 5.0, 8.0)
    assert [(row.timeout, row.complete, row.partial, row.missing, row.median) for row in advice.prospects] == [
        (None, 3, 2, 2, 1.0),
        (0.75, 0, 5, 5, 0.75),
        (5.0, 3, 2, 2, 1.0),
        (8.0, 4, 1, 1, 1.0),
    ]
    assert dict(advice.needed) == {0.5: 1.0, 0.9: None, 0.95: None, 0.99: None, 1.0: None}
    assert advice.incomplete == 1


def test_stations_for_which_batches_wait_come_first() -> None:
    advice = advice_of(five_batches(), 5.0)
    first = advice.stations[0]
    assert (first.station_id, first.batches, first.last, first.sooner) == ("S", 5, 5, 0.5)
    assert (first.missed, first.skipped, first.never, first.median, first.p95) == (2, 0, 1, 1.0, 6.5)
    assert [(station.station_id, station.last, station.missed) for station in advice.stations[1:]] == [
        ("A", 0, 0),
        ("B", 0, 0),
    ]


def test_what_a_skipped_station_would_have_done_is_not_guessed() -> None:
    advice = advice_of([open_("AB"), arrived("A"), expire(), arrived("B", "s", at=105.5)], 3.0, 8.0)
    assert (prospect(advice, 3.0).partial, prospect(advice, 3.0).unsure, prospect(advice, 3.0).missing) == (1, 0, 1)
    assert (prospect(advice, 8.0).partial, prospect(advice, 8.0).unsure) == (0, 1)
    assert (prospect(advice, 8.0).missing, prospect(advice, 8.0).unsure_missing) == (1, 1)
    assert advice.stations[0].skipped == 1


def test_a_batch_is_looked_at_when_every_timeout_has_passed() -> None:
    events = [open_("A"), open_("A", batch="c", at=103.0)]
    assert (advice_of(events, 6.0, now=107.0).batches, advice_of(events, 6.0, now=107.0).under_way) == (1, 1)
    assert advise(history_of(events).batches(), RULES, [8.0], 107.0) is None


def test_a_batch_of_several_messages_is_left_out_and_counted() -> None:
    events = [open_("A"), open_("B", message=1, at=101.0), open_("A", batch="c")]
    assert (advice_of(events, 5.0).batches, advice_of(events, 5.0).supplemented) == (1, 1)


def test_batches_that_the_rules_discard_are_told_apart() -> None:
    rules = Rules(ALL, PartialPolicy(0.75))
    advice = advice_of([open_("AB"), arrived("A"), expire()], 5.0, rules=rules)
    assert (prospect(advice, 5.0).partial, prospect(advice, 5.0).discarded) == (0, 1)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_quantile_is_not_exceeded_by_so_many(numbers: list[float], share: float) -> None:
    ordered = sorted(numbers)
    found = quantile(ordered, share)
    assert sum(number <= found for number in ordered) >= share * len(ordered)
    assert sum(number < found for number in ordered) <= share * len(ordered)


def test_it_is_told_in_two_tables() -> None:
    told = list(lines(advice_of(five_batches(), 2.0, 5.0, 8.0), Settings(), stations=1))
    assert told == [
        "5 batches, opened from 1970-01-01 08:01:40 to 1970-01-01 08:01:40",
        "",
        "TIMEOUT                  COMPLETE   PARTIAL  MISSING  MEDIAN  P95",
        "2 s                      3 (60.0%)  2        2        1.00 s  2.00 s",
        "5 s (AGG_BATCH_TIMEOUT)  3 (60.0%)  2        2        1.00 s  5.00 s",
        "8 s                      4 (80.0%)  1        1        1.00 s  8.00 s",
        "",
        "All stations of the batches had come: 50% within 1.00 s, of 1 not until now",
        "",
        "STATION  BATCHES  LAST  SOONER  MISSED  NEVER  MEDIAN  P95",
        "S        5        5     0.50 s  2       1      1.00 s  6.50 s",
        "and 2 more stations: --stations 3 tells of all",
        "LAST: the others had come, and it was waited for; SOONER: the batch would have been complete without it",
    ]


@pytest.mark.parametrize(
    ("events", "note"),
    [
        ([open_("AB"), arrived("AB")], []),  # neither was waited for
        ([open_("AB"), arrived("A"), expire()], ["LAST: the others had come, and it was waited for"]),
    ],
)
def test_only_columns_that_are_there_are_explained(events: list[BatchEvent], note: list[str]) -> None:
    told = list(lines(advice_of(events, 5.0), Settings(), stations=2))
    heading = next(number for number, line in enumerate(told) if line.startswith("STATION"))
    assert [told[heading].count(name) for name in ("LAST", "SOONER")] == [len(note), 0]
    assert told[heading + 3 :] == note


def test_a_timeout_that_no_batch_may_have_and_an_adaptive_one_are_marked() -> None:
    advice = advice_of(five_batches(), 5.0, 90.0)
    told = list(lines(advice, Settings(timeout_mode=TimeoutMode.ADAPTIVE), stations=0))
    assert [line.split("  ")[0] for line in told[2:6]] == [
        "TIMEOUT",
        "as it was",
        "5 s",
        "90 s (over AGG_MAX_BATCH_AGE)",
    ]


def test_what_batches_had_is_told_where_it_is_not_what_is_set() -> None:
    told = list(lines(advice_of(five_batches(), 2.0, 8.0), Settings(batch_timeout=8.0), stations=0))
    assert [line.split("  ")[0] for line in told[2:6]] == ["TIMEOUT", "as it was", "2 s", "8 s (AGG_BATCH_TIMEOUT)"]
