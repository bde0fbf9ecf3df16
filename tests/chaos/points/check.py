"""What stands in the topics after the last kill, revisions, parts and the handler's own messages too. Pure.

The killer's checker knows outputs of one revision and one part. So parts are put together, of each batch the last
revision is checked as an output of its own, and of those before it that what they have is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tests.chaos.killer.check import Seen, Sent, Verdict, check
from tests.chaos.killer.expected import Kind, batch_id_of, outcome_of, stations_of
from tests.chaos.points.model import side_message
from tests.integration.support.reading import Received

__all__ = ["Found", "judge", "shared"]

Found = Mapping[str, Verdict]
"""What was found of the batches of each share; of all others, and of what belongs to none, under ""."""

ONE: dict[str, Any] = {"part": 1, "parts": 1, "revision": 1}


@dataclass(slots=True)
class _Output:
    """An output of a batch: its parts by number, and how many they have to be."""

    parts: dict[int, Received]
    count: int

    @property
    def missing(self) -> list[int]:
        return [number for number in range(1, self.count + 1) if number not in self.parts]


def shared(sent: Sent, seen: Seen, side: Sequence[Received] | None, shares: Mapping[str, AbstractSet[int]]) -> Found:
    """Judge the batches of each share apart; `shares` have no batch in common. For `side` see `judge`."""
    owner = {batch_id_of(sent.topic, number): name for name, numbers in shares.items() for number in numbers}

    def of(name: str, records: Sequence[Received]) -> list[Received]:
        return [one for one in records if owner.get(one.header("batch-id") or one.name, "") == name]

    rest = sent.sent - frozenset().union(*shares.values())
    return {
        name: judge(
            replace(sent, acknowledged=sent.acknowledged & numbers, sent=numbers),
            Seen(of(name, seen.outputs), of(name, seen.late), of(name, seen.letters), seen.skipped),
            None if side is None else of(name, side),
        )
        for name, numbers in {**shares, "": rest}.items()
    }


def judge(sent: Sent, seen: Seen, side: Sequence[Received] | None) -> Verdict:
    """Compare what was sent with what is there; `side` is what result handlers have sent, None where there are none."""
    found = Verdict() if side is None else _judge_side(sent, side)
    by_batch: defaultdict[str, dict[int, _Output]] = defaultdict(dict)
    for message in seen.outputs:
        revision, part, count = (int(message.header(name) or 0) for name in ("revision", "part", "parts"))
        output = by_batch[message.name].setdefault(revision, _Output({}, count))
        first = output.parts.setdefault(part, message)
        if first is message:
            continue
        if first.content == message.content:
            found.copies += 1
        else:
            found.different.append(
                f"{message.name}, revision {revision}, part {part}: another copy at {message.offset}"
            )
    lasts, earlier = [], []
    for batch_id, revisions in by_batch.items():
        found.wrong += _holes(batch_id, revisions)
        whole = [_merged(output) for _, output in sorted(revisions.items()) if not output.missing]
        earlier += whole[:-1]
        lasts += whole[-1:]
    found.add(check(sent, replace(seen, outputs=lasts)))
    found.different += _unlike(seen.late) + _unlike(seen.letters)
    for one in earlier:  # what it lacks is in the one after it
        lacking = {(one.name, station) for station in one.json["meta"]["missing"]}
        found.wrong += check(replace(sent, acknowledged=frozenset()), Seen([one], [], seen.letters, lacking)).wrong
    return found


def _unlike(records: Sequence[Received]) -> list[str]:
    """Return a line for each late record or dead letter that is a repeat, as is lawful, and another than the first."""
    firsts: dict[tuple[str, ...], Received] = {}
    lines = []
    for one in records:
        about = tuple(one.header(name) for name in ("batch-id", "station-id", "reason"))
        if firsts.setdefault(about, one).content != one.content:
            lines.append(f"{one.topic}[{one.partition}]@{one.offset}: another copy, of {', '.join(about)}")
    return lines


def _judge_side(sent: Sent, messages: Sequence[Received]) -> Verdict:
    """Check what a handler has sent by itself: of each batch at least once what it has to send, and nothing else."""
    found = Verdict()
    due = {batch_id_of(sent.topic, number): number for number in sent.sent}
    seen: set[int] = set()
    for message in messages:
        number = due.get(message.name)
        if number is None or message.json != side_message(message.name, _results(number)):
            found.wrong.append(f"a message of the handler's: {message.name} {message.value!r}")
        else:
            seen.add(number)
    found.lost += [f"batch {number}: no message of its handler's" for number in sorted(sent.acknowledged - seen)]
    return found


def _results(number: int) -> int:
    return sum(outcome_of(number, station).kind is Kind.RESULT for station in stations_of(number))


def _holes(batch_id: str, revisions: Mapping[int, _Output]) -> list[str]:
    lines = [
        f"{batch_id}, revision {revision}: parts {output.missing} of {output.count} are not there"
        for revision, output in revisions.items()
        if output.missing
    ]
    if sorted(revisions) != list(range(1, len(revisions) + 1)):
        lines.append(f"{batch_id} has revisions {sorted(revisions)}")
    return lines


def _merged(output: _Output) -> Received:
    """Put parts together, as the first revision in one part."""
    parts = [output.parts[number] for number in sorted(output.parts)]
    payloads = [part.json for part in parts]
    meta = payloads[0]["meta"]
    right = all(
        payload["station_count"] == len(payload["stations"])
        and payload["meta"] | ONE == meta | ONE
        and payload["meta"]["revision"] == int(part.header("revision"))
        for part, payload in zip(parts, payloads, strict=True)
    )
    if meta["completed_by"] == "revision" and meta["revision"] > 1:
        meta = meta | {"completed_by": "timeout" if meta["missing"] else "all"}
    stations = [station for payload in payloads for station in payload["stations"]]
    count = len(stations) if right else None
    whole = payloads[0] | {"stations": stations, "station_count": count, "meta": meta | ONE}
    return replace(parts[0], value=orjson.dumps(whole))
