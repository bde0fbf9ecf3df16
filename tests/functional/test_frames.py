"""Frames of station events whose stations can't be read at their turn, and those of older workers."""

from __future__ import annotations

import pytest

from app.messages.frames import StationGroup, encode_body, encode_group, encode_stations
from tables.model.events import Source
from tests.functional.plant import DIRECT, START, direct, record, slow, steps, unacknowledged


def group(station_id: str, *, batch_id: str | None = None) -> tuple[bytes, bytes, int]:
    """A group of one station, of a message that passes through unless there is a batch."""
    deadline = None if batch_id is None else START + 5.0
    head = encode_group(StationGroup(batch_id, Source(DIRECT, 0, 0), START, deadline, None, ()))
    return head, encode_body([(station_id, [record(station_id)])]), 1


def spoilt(group: tuple[bytes, bytes, int]) -> tuple[bytes, bytes, int]:
    head, body, _ = group
    return head, body.replace(b'"sendTime"', b'"sendTime!'), 3


@pytest.mark.parametrize("crash", [False, True])
def test_groups_that_cannot_be_read_are_one_dead_letter_of_their_frame_and_the_others_go_on(crash: bool) -> None:
    frame = encode_stations(
        [group("A"), spoilt(group("B")), group("C"), spoilt(group("D")), spoilt(group("E", batch_id="b")), group("A")]
    )
    with direct(slow({"A": 1.0}), partitions=1) as driver:
        names = driver.settings
        if crash:
            driver.crash_before(lambda sent: sent.topic == names.dead_letter_topic)
        driver.send(frame, names.station_events_topic)
        if crash:
            assert driver.crashed
            driver.restart()
        assert unacknowledged(driver) == {names.station_events_topic: 1}
        driver.advance(2.5)
        assert {output.key for output in driver.outputs} == {"A", "C"}
        assert [letter.raw for letter in driver.dead_letters] == [frame]
        assert steps(driver.dead_letters) == [("bad-message", None)]
        assert "not a frame of this application" in driver.dead_letters[0].headers["error"]
        assert unacknowledged(driver) == {}
        assert driver._worker.pipeline.stations.unsettled == 0


def test_a_frame_of_which_nothing_can_be_read_holds_nothing_up() -> None:
    with direct(slow({}), partitions=1) as driver:
        frame = encode_stations([spoilt(group("A"))])
        driver.send(frame, driver.settings.station_events_topic)
        driver.send([record("B")], DIRECT)
        assert [output.key for output in driver.outputs] == ["B"]
        assert [letter.raw for letter in driver.dead_letters] == [frame]
        assert unacknowledged(driver) == {}


def test_a_frame_of_a_worker_that_knew_no_layout_is_taken_as_ever() -> None:
    frame = (
        b'{"v":1,"groups":[[null,["DIRECT",0,7],1763085600.0,null,null,[["A",[{"stationId":"A"}]],["B",[{"x":1}]]]],'
        b'[null,["DIRECT",0,8],1763085600.0,null,"aw==",[["A",[{"stationId":"A"}]]]]]}'
    )
    with direct(slow({}), partitions=1) as driver:
        driver.send(frame, driver.settings.station_events_topic)
        assert [output.key for output in driver.outputs] == ["A", "B", "A"]
        assert driver.dead_letters == []
        assert unacknowledged(driver) == {}
