"""Whether everything that was sent came out, once, with the right values, and nothing else did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.support.data import EMPTY, FAILS, GATED, HANGS, SentBatch, result_of
from tests.integration.support.reading import Received

__all__ = ["Report", "distinct", "reconcile"]


@dataclass(frozen=True)
class Report:
    """What was found; everything else has been asserted."""

    complete: int  # batches
    partial: int
    copies: int  # byte-identical second outputs
    late: int  # stations

    def __str__(self) -> str:
        return f"{self.complete} complete, {self.partial} partial, {self.copies} copies, {self.late} late"


def reconcile(
    sent: Iterable[SentBatch],
    *,
    outputs: Sequence[Received],
    late: Sequence[Received],
    dead_letters: Sequence[Received],
    copies_allowed: bool = False,
) -> Report:
    """Compare what came out with what was sent. Late records and dead letters are at least once, a repeat identical.

    Args:
        sent: every batch, once.
        outputs: all of the output topic.
        late: all of the late topic.
        dead_letters: those of the dead-letter topic that are to be explained by failed stations.
        copies_allowed: whether a crash makes second, identical outputs unavoidable.
    """
    batches = {batch.batch_id: batch for batch in sent}
    parts = distinct(outputs, ("revision", "part"))
    copies = len(outputs) - len(parts)
    assert copies_allowed or copies == 0, f"{copies} second outputs, {_repeated(outputs)[:5]}"
    by_batch: defaultdict[str, list[Received]] = defaultdict(list)
    for message in parts:
        by_batch[message.name].append(message)
    assert_same(by_batch.keys(), batches.keys(), "batches")
    late_stations = _stations_of(late)
    failed_stations = _stations_of(dead_letters)
    partial = 0
    for batch_id, batch in batches.items():
        missing, failed = _check_batch(batch, by_batch[batch_id])
        partial += bool(missing)
        # One that hangs never comes. One that is skipped after a restart stays missing without a word if that stands in
        # the log before the batch's expiry.
        quiet = {station for station in missing if station.startswith((HANGS, GATED))}
        assert_same(late_stations.pop(batch_id, set()) | quiet, missing, f"late stations of {batch_id}")
        assert_same(failed_stations.pop(batch_id, set()), failed, f"dead letters of {batch_id}")
    assert not late_stations, f"late without a batch: {sorted(late_stations)[:5]}"
    assert not failed_stations, f"dead letters without a batch: {sorted(failed_stations)[:5]}"
    late_count = len(distinct(late, ("station-id",)))
    return Report(len(batches) - partial, partial, copies, late_count)


def distinct(messages: Sequence[Received], headers: Sequence[str]) -> list[Received]:
    """Messages without their repeats, told apart by key and these headers; a repeat has to be identical."""
    first: dict[tuple[str, ...], Received] = {}
    for message in messages:
        identity = (message.name, message.header("batch-id"), *(message.header(name) for name in headers))
        known = first.setdefault(identity, message)
        assert message.content == known.content, f"{identity} came out twice, and differently:\n{known}\n{message}"
    return list(first.values())


def assert_same(found: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Compare sets of many names, and show the difference only."""
    lost, strange = set(expected) - set(found), set(found) - set(expected)
    assert not lost, f"{what}: {len(lost)} are not there, such as {sorted(lost)[:5]}"
    assert not strange, f"{what}: {len(strange)} should not be there, such as {sorted(strange)[:5]}"


def _check_batch(batch: SentBatch, parts: Sequence[Received]) -> tuple[set[str], set[str]]:
    """Check one output, which may be in parts; returns its missing and its failed stations."""
    parts = sorted(parts, key=lambda part: int(part.header("part")))
    payloads = [part.json for part in parts]
    numbers = list(range(1, len(parts) + 1))
    assert [int(part.header("part")) for part in parts] == numbers, f"{batch.batch_id}: parts are missing"
    assert {part.header("parts") for part in parts} == {str(len(parts))}
    assert [payload["meta"]["part"] for payload in payloads] == numbers
    for payload in payloads:
        assert payload["batch_id"] == batch.batch_id
        assert payload["station_count"] == len(payload["stations"])
    meta: dict[str, Any] = payloads[0]["meta"]
    results = {result["station_id"]: result for payload in payloads for result in payload["stations"]}
    order = [result["station_id"] for payload in payloads for result in payload["stations"]]
    assert order == [station for station in batch.stations if station in results], f"{batch.batch_id}: order"
    missing, empty = set(meta["missing"]), set(meta["empty"])
    failed = {one["station_id"] for one in meta["failed"]}
    named = [*order, *meta["missing"], *meta["empty"], *(one["station_id"] for one in meta["failed"])]
    assert_same(named, batch.stations, f"stations of {batch.batch_id}")
    assert len(named) == len(batch.stations), f"{batch.batch_id}: stations twice"
    for station, result in results.items():
        assert result == result_of(batch, station), f"{batch.batch_id}: {result}"
    assert empty == {one for one in batch.stations if one.startswith(EMPTY)} - missing
    assert failed == {one for one in batch.stations if one.startswith(FAILS)} - missing
    assert meta["status"] == ("partial" if missing else "complete")
    assert meta["completed_by"] == ("timeout" if missing else "all") == parts[0].header("completed-by")
    assert meta["expected_count"] == len(batch.stations) == meta["arrived_count"] + len(missing)
    return missing, failed


def _stations_of(messages: Sequence[Received]) -> dict[str, set[str]]:
    stations: defaultdict[str, set[str]] = defaultdict(set)
    for message in distinct(messages, ("station-id",)):
        stations[message.header("batch-id")].add(message.header("station-id"))
    return stations


def _repeated(messages: Sequence[Received]) -> list[str]:
    seen: set[tuple[object, ...]] = set()
    repeated = []
    for message in messages:
        if message.content in seen:
            repeated.append(f"{message.name}@{message.partition}:{message.offset}")
        seen.add(message.content)
    return repeated
