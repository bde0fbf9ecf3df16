"""The cost of a station does not grow with the size of its batch, CONTRACT 12.4."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from tables.model.enums import LatePolicy
from tables.model.events import Arrived, BatchEvent, Revise
from tables.model.policies import Rules
from tables.storage.records import Table
from tests.builders import Owner, arrived, decisions, expire, open_, source

CHUNK = 200
RESULT = '{"station_id":"1881540927845654529","result":"' + "x" * 72 + '"}'  # 120 bytes


def station_ids(count: int) -> list[str]:
    return [str(1881540927845654529 + number) for number in range(count)]


def results_of(stations: list[str], message: int = 0, at: float = 101.0) -> Arrived:
    return Arrived("b", source(message), at, stations, "r" * len(stations), [RESULT] * len(stations), {})


def live_through(count: int) -> Owner:
    """Open, results in chunks, close, publish: a batch's life before it is forgotten."""
    owner = Owner()
    stations = station_ids(count)
    owner.feed(open_(stations))
    for start in range(0, count, CHUNK):
        owner.feed(results_of(stations[start : start + CHUNK]))
    owner.publish()
    return owner


def test_what_a_station_costs_in_the_changelog_does_not_grow() -> None:
    sizes = {}
    for count in (100, 1000, 5000):
        owner = live_through(count)
        owner.feed(*owner.set.forgettable(1e9, ttl=0.0))
        assert not len(owner.records)
        sizes[count] = owner.written / count
    assert sizes[5000] <= sizes[1000] <= sizes[100] < 260


def test_a_closed_batch_keeps_ids_and_codes_and_no_results() -> None:
    owner = live_through(100)
    (value,) = owner.records.tables[Table.BATCHES].values()
    assert b"xxx" not in value
    assert len(value) < 100 * 24 + 400


def one_message_a_station(count: int) -> list[BatchEvent]:
    """Every station is named by a message of its own, each of which moves the deadline."""
    stations = station_ids(count)
    return [open_([station], message=n, at=100 + n / 1e4) for n, station in enumerate(stations)]


def in_time(count: int) -> list[BatchEvent]:
    return [*one_message_a_station(count), *(results_of([s], n) for n, s in enumerate(station_ids(count)))]


def all_late(count: int) -> list[BatchEvent]:
    late = (results_of([s], n, at=200.0) for n, s in enumerate(station_ids(count)))
    return [*one_message_a_station(count), expire(150.0), *late]


def one_station_late_for_every_message(count: int) -> list[BatchEvent]:
    opens = [open_("A", message=n, at=100 + n / 1e4) for n in range(count)]
    return [*opens, expire(150.0), *(arrived("A", message=n, at=200.0) for n in range(count))]


def late_one_by_one(count: int) -> list[BatchEvent]:
    stations = station_ids(count)
    return [open_(stations), expire(105), *(results_of([station], at=200.0) for station in stations)]


def revised_one_by_one(count: int) -> list[BatchEvent]:
    """Late outcomes one by one, over four seconds with a revision each."""
    stations = station_ids(count)
    events: list[BatchEvent] = [open_(stations), expire(105)]
    for second in range(4):
        late = stations[second * count // 4 : (second + 1) * count // 4]
        events += [results_of([station], at=200.0 + second) for station in late]
        events.append(Revise("b", second + 2, 201.0 + second))
    return events


REVISING = Rules(late=LatePolicy.REVISE)


def test_what_a_late_station_costs_in_the_changelog_of_a_revised_batch_does_not_grow() -> None:
    stations, sizes = station_ids(5000), {}
    for count in (500, 1000, 2000):
        owner = Owner(rules=REVISING)
        owner.feed(open_(stations))
        for start in range(count, 5000, CHUNK):
            owner.feed(results_of(stations[start : start + CHUNK]))
        owner.feed(expire(105))
        owner.publish()
        before = owner.written
        for second in range(4):
            for station in stations[second * count // 4 : (second + 1) * count // 4]:
                owner.feed(results_of([station], at=200.0 + second))
            (due,) = owner.set.due(201.0 + second)
            (decision,) = decisions(owner.feed(due))
            owner.publish("b", decision.revision)
        assert len(decision.results) == 5000
        sizes[count] = (owner.written - before) / count
    assert max(sizes.values()) < min(1.01 * min(sizes.values()), 300)


@pytest.mark.parametrize(
    "log", [in_time, all_late, one_station_late_for_every_message, late_one_by_one, revised_one_by_one]
)
def test_the_time_that_a_station_takes_does_not_grow(log: Callable[[int], list[BatchEvent]]) -> None:
    def seconds_each(count: int) -> float:
        best = 1e9
        for _ in range(3):
            owner, events = Owner(rules=REVISING if log is revised_one_by_one else None), log(count)
            start = process_time()
            for event in events:
                for decision in decisions(owner.feed(event)):
                    owner.publish(decision.batch_id, decision.revision)
            best = min(best, process_time() - start)
        return best / count

    assert seconds_each(3200) < 3 * seconds_each(400)
