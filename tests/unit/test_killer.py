"""The checker of `make chaos MINUTES=10`: it sees what is lost, doubled, altered and missing; the table on a page."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import MagicMock, call

import orjson
import pytest

from tests.chaos.killer.arena import schedule
from tests.chaos.killer.brokers import broker_of
from tests.chaos.killer.check import ENDED_TWICE, OVERDUE, Seen, Sent, Verdict, check
from tests.chaos.killer.expected import (
    FEWEST,
    MOST,
    Kind,
    batch_id_of,
    message_of,
    number_of,
    outcome_of,
    stations_of,
)
from tests.chaos.killer.faults import FAULTS, faults_of
from tests.chaos.killer.flow import first_out
from tests.chaos.killer.journal import Journal, Writer
from tests.chaos.killer.model import callback
from tests.chaos.killer.proxy import Gate
from tests.chaos.killer.report import Measured, rows_of, summary_of, with_table
from tests.chaos.killer.world import World
from tests.integration.support.background import Background
from tests.integration.support.reading import Received
from tests.ports import own_port

SOURCE = "in"
BEGIN, END = "<!-- killer:begin -->", "<!-- killer:end -->"
BATCHES = range(20)
SENT = Sent(SOURCE, set(BATCHES), set(BATCHES))


def of(number: int, kind: Kind, missing: Sequence[str] = ()) -> list[str]:
    """Stations of a batch that end in this way, but for the missing ones."""
    return [one for one in stations_of(number) if outcome_of(number, one).kind is kind and one not in missing]


def output(number: int, missing: Sequence[str] = (), **changes: Any) -> Received:
    """An output as it has to be; `changes` replace keys of its payload, or of its meta."""
    arrived = len(stations_of(number)) - len(missing)
    meta = {
        "status": "partial" if missing else "complete",
        "completed_by": "timeout" if missing else "all",
        "revision": 1,
        "expected_count": len(stations_of(number)),
        "arrived_count": arrived,
        "missing": [one for one in stations_of(number) if one in missing],
        "failed": [{"station_id": one, "error": "ValueError"} for one in of(number, Kind.FAILED, missing)],
        "empty": of(number, Kind.EMPTY, missing),
        "closed_at": 1.5,
        "part": 1,
        "parts": 1,
    }
    results = [{"station_id": one} | (outcome_of(number, one).result or {}) for one in of(number, Kind.RESULT, missing)]
    payload = {"batch_id": batch_id_of(SOURCE, number), "stations": results, "station_count": len(results)}
    for key, value in changes.items():
        (meta if key in meta else payload)[key] = value
    value = orjson.dumps(payload | {"meta": meta})
    return Received("out", 0, number, 0, batch_id_of(SOURCE, number).encode(), value, ())


def record(number: int, station: str, topic: str, value: object, **headers: str) -> Received:
    """A late record, or a dead letter."""
    named = {"batch-id": batch_id_of(SOURCE, number), "station-id": station} | headers
    pairs = tuple((name, text.encode()) for name, text in named.items())
    return Received(topic, 0, number, 0, None, orjson.dumps(value), pairs)


def letter(number: int, station: str, reason: str = "station-failed") -> Received:
    """A dead letter."""
    return record(number, station, "dead-letter", {}, reason=reason)


def late(number: int, station: str, **changes: Any) -> Received:
    """A late record as it has to be."""
    outcome = outcome_of(number, station)
    known = {} if outcome.result is None else {"result": {"station_id": station} | outcome.result}
    value = {"status": outcome.kind, "reason": "late"} | known | changes
    return record(number, station, "late", value, reason="late")


LETTERS = [letter(number, station) for number in BATCHES for station in of(number, Kind.FAILED)]
OUTPUTS = [output(number) for number in BATCHES]


def judge(
    outputs: Sequence[Received] = OUTPUTS,
    late: Sequence[Received] = (),
    letters: Sequence[Received] = LETTERS,
    skipped: set[tuple[str, str]] | None = None,
    sent: Sent = SENT,
) -> Verdict:
    return check(sent, Seen(outputs, late, letters, skipped or set()))


# -- what a batch has to give ------------------------------------------------------------------------------------------


def test_batches_have_stations_of_all_kinds_and_an_id_that_tells_their_number() -> None:
    kinds = {outcome_of(number, station).kind for number in BATCHES for station in stations_of(number)}
    assert kinds == set(Kind)
    for number in BATCHES:
        assert FEWEST <= len(set(stations_of(number))) == len(stations_of(number)) <= MOST
        assert number_of(SOURCE, batch_id_of(SOURCE, number)) == number
    assert [number_of(SOURCE, name) for name in ("in_1762218000", "in_5", "other_1762218001", "in_x")] == [None] * 4


def test_no_two_stations_of_no_two_batches_give_the_same() -> None:
    powers = [
        orjson.dumps((outcome_of(number, station).result or {"powers": [number, station]})["powers"])
        for number in BATCHES
        for station in stations_of(number)
    ]
    assert len(set(powers)) == len(powers)


def test_the_callback_gives_what_the_checker_computes_from_number_and_station() -> None:
    async def answer(station: str, records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        columns = {
            "sendTime": [one["sendTime"] for one in records],
            "outputPowerPerStationAvg": [float(one["outputPowerPerStationAvg"]) for one in records],
        }
        return await callback(station, {SOURCE: columns})

    (records,) = orjson.loads(message_of(SOURCE, 3)).values()
    for station in stations_of(3):
        outcome = outcome_of(3, station)
        given = answer(station, [one for one in records if one["stationId"] == station])
        if outcome.kind is Kind.FAILED:
            with pytest.raises(ValueError, match=f"{station} fails"):
                asyncio.run(given)
        else:
            assert asyncio.run(given) == outcome.result


# -- the checker -------------------------------------------------------------------------------------------------------


def test_all_is_well_when_each_batch_is_out_once_with_what_it_has_to_give() -> None:
    verdict = judge()
    assert (verdict.good, verdict.sent, verdict.out, verdict.copies, verdict.partial) == (True, 20, 20, 0, 0)


def test_a_batch_that_is_not_out_is_lost_if_the_broker_had_it() -> None:
    verdict = judge([one for one in OUTPUTS if one.offset != 7])
    assert (verdict.lost, verdict.out) == (["batch 7 was acknowledged and is not out"], 19)
    assert judge([one for one in OUTPUTS if one.offset != 7], sent=replace(SENT, acknowledged={*BATCHES} - {7})).good


def test_a_second_output_is_a_copy_or_different() -> None:
    verdict = judge([*OUTPUTS, output(4)])
    assert (verdict.good, verdict.copies) == (True, 1)
    verdict = judge([*OUTPUTS, output(4, closed_at=2.5)])
    assert (verdict.good, verdict.copies, len(verdict.different)) == (False, 0, 1)
    assert "closed_at 1.5 and 2.5" in verdict.different[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"stations": []},
        {"stations": [{"station_id": "S99"}]},
        {"station_count": 0},
        {"empty": ["S00"]},
        {"failed": []},
        {"status": "partial"},
        {"completed_by": "timeout"},
        {"revision": 2},
        {"arrived_count": 3},
        {"batch_id": "in_1762218001"},
        {"empty": 5},
    ],
)
def test_an_output_that_is_not_what_its_batch_has_to_give_is_wrong(changes: dict[str, Any]) -> None:
    verdict = judge([*OUTPUTS[:5], output(5, **changes), *OUTPUTS[6:]])
    assert verdict.wrong
    assert all("batch 5" in line for line in verdict.wrong)


def test_a_result_of_another_batch_or_station_and_another_order_are_wrong() -> None:
    results = output(5).json["stations"]
    for others in (
        [output(6).json["stations"][0] | {"station_id": results[0]["station_id"]}, *results[1:]],
        [results[1] | {"station_id": results[0]["station_id"]}, *results[1:]],
        [results[1], results[0], *results[2:]],
        [results[0], *results],
        results[1:],
    ):
        changed = output(5, stations=others, station_count=len(others))
        assert judge([*OUTPUTS[:5], changed, *OUTPUTS[6:]]).wrong


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"null", b'{"meta": 1}', b"\xff"])
def test_an_output_of_another_form_is_wrong(value: bytes) -> None:
    assert judge([replace(OUTPUTS[0], value=value), *OUTPUTS[1:]]).wrong


def test_outputs_and_letters_and_late_records_of_what_was_never_sent_are_wrong() -> None:
    assert judge([*OUTPUTS, output(99)]).wrong
    assert judge([*OUTPUTS, replace(OUTPUTS[0], key=b"other")]).wrong
    assert judge(letters=[*LETTERS, letter(99, "S00")]).wrong
    assert judge(letters=[*LETTERS, letter(1, "S99")]).wrong
    assert judge(late=[late(99, stations_of(99)[0])]).wrong


def test_a_missing_station_has_to_be_late_or_skipped() -> None:
    gone = stations_of(9)[2]
    outputs = [*OUTPUTS[:9], output(9, [gone]), *OUTPUTS[10:]]
    verdict = judge(outputs)
    assert verdict.wrong == [f"batch 9: {gone} is missing, neither late nor skipped"]
    assert (verdict.partial, verdict.missing) == (1, 1)
    assert judge(outputs, late=[late(9, gone), late(9, gone)]).good
    assert judge(outputs, late=[late(9, gone, status="skipped")]).good
    assert judge(outputs, late=[late(9, gone, reason="unknown-batch")]).good
    assert judge(outputs, skipped={(batch_id_of(SOURCE, 9), gone)}).good
    assert judge(outputs, skipped={(batch_id_of(SOURCE, 8), gone)}).wrong
    assert judge(outputs, late=[late(9, gone, result={"station_id": gone})]).wrong
    assert judge(outputs, late=[late(9, stations_of(9)[3])]).wrong


def test_a_station_is_not_late_and_in_the_output_but_where_its_batch_was_sent_twice() -> None:
    twice = [late(2, station) for station in stations_of(2)]
    assert len(judge(late=twice).wrong) == len(stations_of(2))
    assert judge(late=twice, sent=replace(SENT, repeated={2})).good
    assert judge(late=[late(2, station, reason="unknown-batch") for station in stations_of(2)]).good


def test_a_failed_station_has_a_letter_and_nothing_else_has_one() -> None:
    assert judge(letters=LETTERS[1:]).wrong
    assert judge(letters=[*LETTERS, LETTERS[0]]).good
    assert judge(letters=[*LETTERS, letter(1, of(1, Kind.RESULT)[0])]).wrong
    assert judge(letters=[*LETTERS, letter(1, stations_of(1)[0], "too-large")]).wrong


def test_a_station_that_is_failed_by_rule_is_counted_and_needs_its_letter() -> None:
    station = of(1, Kind.RESULT)[0]
    payload = output(1).json
    failed = [one for one in stations_of(1) if one in of(1, Kind.FAILED) or one == station]

    def found(error: str, *, sent: Sent = SENT, told: bool = True) -> Verdict:
        results = [one for one in payload["stations"] if one["station_id"] != station]
        letters = [record(1, station, "dead-letter", {}, reason="station-failed", error=error)] if told else []
        named = [{"station_id": one, "error": error if one == station else "ValueError"} for one in failed]
        changed = output(1, stations=results, station_count=len(results), failed=named)
        return judge([OUTPUTS[0], changed, *OUTPUTS[2:]], letters=[*LETTERS, *letters], sent=sent)

    verdict = found(f"{ENDED_TWICE} (os._exit)")
    assert (verdict.good, verdict.by_rule) == (True, 1)
    assert found(ENDED_TWICE, told=False).wrong
    assert found(OVERDUE).wrong
    assert found(OVERDUE, sent=replace(SENT, repeated={1})).good
    assert found("ValueError").wrong


def test_late_records_of_a_batch_that_is_not_out_are_wrong_also_when_nobody_knows_that_it_was_sent() -> None:
    sent = replace(SENT, acknowledged={*BATCHES} - {7})
    assert judge([one for one in OUTPUTS if one.offset != 7], late=[late(7, stations_of(7)[0])], sent=sent).wrong


# -- the journal, the schedule, the flow, the proxy --------------------------------------------------------------------


def test_the_journal_tells_what_the_broker_has_and_what_it_may_have_twice(tmp_path: Path) -> None:
    writer, journal = Writer(tmp_path / "journal"), Journal(tmp_path / "journal")
    writer.sent(0)
    writer.sent(1)
    writer.acknowledged(1)
    assert journal.follow().unacknowledged() == [0]
    with (tmp_path / "journal").open("ab") as file:
        file.write(b"sent 2")  # killed in the middle of a line
    assert journal.follow().sent.keys() == {0, 1}
    with (tmp_path / "journal").open("ab") as file:
        file.write(b" 3.5\n")
    writer.sent(0)
    writer.close()
    assert journal.follow().sent.keys() == {0, 1, 2}
    assert journal.repeated == {0}
    assert Journal(tmp_path / "journal").follow() == journal


def test_a_schedule_has_each_kind_once_a_round_and_follows_from_its_seed() -> None:
    faults = list(FAULTS.values())

    def draws(seed: int) -> list[tuple[str, float]]:
        drawn = islice(schedule(seed, 1, faults), 2 * len(faults))
        return [(fault.name, random.random()) for fault, random in drawn]

    assert draws(7) == draws(7) != draws(8)
    names = [name for name, _ in draws(7)]
    assert sorted(names[: len(faults)]) == sorted(names[len(faults) :]) == sorted(FAULTS)
    assert names[: len(faults)] != names[len(faults) :]
    assert len({figure for _, figure in draws(7)}) == len(names)


def test_outputs_flow_again_with_the_first_complete_batch_that_was_sent_after_the_fault() -> None:
    acknowledged = {0: 1.0, 1: 2.0, 2: 5.0, 3: 6.0}
    assert first_out(acknowledged, {0: 1.5, 1: 7.0}, since=4.0) is None
    assert first_out(acknowledged, {0: 1.5, 1: 7.0, 3: 8.0, 2: 9.0}, since=4.0) == 8.0
    assert first_out({}, {}, since=4.0) is None


@pytest.mark.parametrize(
    ("client", "number"), [("raft-client-2", 2), ("broker-3-fetcher-0", 3), ("1", 1), ("worker", 0), ("", 0)]
)
def test_a_brokers_connection_is_told_by_its_first_request(client: str, number: int) -> None:
    body = struct.pack(">hhih", 18, 4, 0, len(client)) + client.encode() + b"\x00 7"
    assert broker_of(struct.pack(">i", len(body)) + body) == number


def test_a_gate_holds_back_what_comes_in_the_direction_that_is_cut_and_lets_it_go_on_when_healed() -> None:
    loop, port, target = Background(), own_port(), own_port()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    async def talk(gate: Gate) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", target)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for way in (gate.links[0].there, gate.links[0].back):
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            way.cut()
            writer.write(b"b")
            answer = asyncio.create_task(reader.readexactly(1))
            assert not (await asyncio.wait([answer], timeout=0.1))[0]
            gate.links[0].heal()
            assert await answer == b"b"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    gate = Gate(loop, port, target, lambda _first: 0)
    try:
        loop.run(talk(gate), timeout=60)
    finally:
        gate.close()
        loop.close()


def harmless_world(brokers: int, said: list[str]) -> World:
    """A world in which nothing is hurt."""
    stub = MagicMock()
    stub.count, stub.running.return_value = brokers, False
    return World(stub, stub, stub, said.append, clock=stub, disk=stub)


def stub_of(world: World) -> Any:
    return world.brokers


@pytest.mark.parametrize("brokers", [1, 3])
def test_a_fault_is_told_with_its_figures_and_leaves_the_ways_whole(
    brokers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    known = set()
    for fault in faults_of(harmless_world(brokers, []), list(FAULTS)):
        told: list[list[str]] = [[], []]
        for said in told:
            world = harmless_world(brokers, said)
            fault.act(world, Random("7/1/0"))  # noqa: S311
            if fault.name in ("cut-worker", "slow-worker", "cut-broker"):
                assert stub_of(world).mock_calls[-1] == call.heal()
        assert told[0] == told[1]
        assert len(told[0]) == 1
        assert fault.english and fault.chinese  # noqa: PT018
        known.add(fault.name)
    one, three = {"kill-broker", "disk-full"}, {"kill-leader", "kill-brokers", "cut-broker"}
    assert known == set(FAULTS) - (three if brokers == 1 else one)


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_stands_between_the_markers_of_a_page() -> None:
    measured = Measured(seconds=600.0)
    measured.faults["kill-one"] += 3
    measured.back["kill-one"] += [2.0, 1.0, 2.4]
    measured.faults["kill-all"] += 1
    measured.verdict = Verdict(sent=100, out=99, lost=["batch 3"], copies=2, partial=4, missing=9)
    measured.ended[70] += 2
    assert rows_of(measured)[1:] == [
        ("one worker is killed (`kill -9`), started again at once", "3", "2.0", "2.4"),
        ("all workers are killed at once", "1", "–", "–"),
        ("all", "4", "2.0", "2.4"),
    ]
    assert not measured.good
    assert "100 batches acknowledged to the producer, 99 out, **1 lost**" in summary_of(measured)[0]
    assert summary_of(measured)[1] == "Workers that ended by themselves and were started again: 2 × 70."
    for chinese in (False, True):
        page = with_table(f"before\n{BEGIN}\nold\n{END}\nafter", measured, chinese=chinese)
        assert page.startswith(f"before\n{BEGIN}\n| ")
        assert page.endswith(f"\n{END}\nafter")
        assert "old" not in page


def test_runs_are_added_up() -> None:
    one, other = Measured(seconds=5.0), Measured(seconds=6.0, faulty=["x"])
    one.back["kill-one"] += [1.0]
    other.back["kill-one"] += [2.0]
    one.verdict, other.verdict = (
        Verdict(sent=2, out=2),
        Verdict(sent=3, out=2, lost=["a"], wrong=["b"], different=["c"]),
    )
    one.add(other)
    assert (one.seconds, one.back["kill-one"], one.faulty) == (11.0, [1.0, 2.0], ["x"])
    assert one.verdict == Verdict(sent=5, out=4, lost=["a"], wrong=["b"], different=["c"])
