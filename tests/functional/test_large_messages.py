"""Large source messages: they are read in pieces, to the same effect, and the event loop has its turn in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from app.inputs.pieces import PIECE_BYTES
from app.messages.message import Delivery, InMessage, OutMessage
from app.pipeline.splitting import splitter
from app.testing import TopologyTestDriver
from tests.functional.plant import START, TOPIC, ModuleInput, Record, record, unacknowledged
from tests.further import further

STATIONS, HOURS = 80, 10


async def model(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
    columns = module_input[TOPIC]
    return {"times": columns["sendTime"], "loads": columns["load"], "codes": [str(code) for code in columns["code"]]}


def window() -> list[Record]:
    """Records of some hours of each station, hour by hour; each is of 3 KB."""
    return [
        record(f"S{station}", f"2025-11-14 0{hour}:00:00", load=station + hour, code=2**70, text='}, {"' * 600)
        for hour in range(HOURS)
        for station in range(STATIONS)
    ]


def come_to(message: bytes) -> tuple[list[Any], list[Any]]:
    """What comes out of a message, and its dead letters."""
    with TopologyTestDriver(model) as driver:
        driver.send(message)
        assert unacknowledged(driver) == {}
        letters = [(letter.headers["reason"], letter.headers["error"], letter.raw) for letter in driver.dead_letters]
        return [output.value["stations"] for output in driver.outputs], letters


@pytest.mark.parametrize(
    "odd",
    [
        [],
        [{"no": "id"}, 5],
        [record("S1", None), record("A", None)],
        [record("S1", "never", load=1, code=1)],
        [record("A", load=1, code=1, deep=json.loads("[" * 300 + "]" * 300))],
    ],
)
@pytest.mark.parametrize(("before", "behind"), [*further(({}, {})), ({"code": 200}, {"data": [1], "errors": [[], {}]})])
def test_a_large_message_comes_to_the_same_in_pieces(
    odd: list[Any], before: Record, behind: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = json.dumps({**before, "realTimeData": window() + odd, **behind}).encode()
    assert len(message) > splitter.LARGE_BYTES
    in_pieces = come_to(message)
    monkeypatch.setattr(splitter, "LARGE_BYTES", sys.maxsize)
    assert come_to(message) == in_pieces
    outputs, letters = in_pieces
    assert (len(outputs), len(letters)) in {(1, 0), (1, 2), (1, 1), (0, 1)}
    if outputs:
        assert [station["station_id"] for station in outputs[0]][:STATIONS] == [f"S{one}" for one in range(STATIONS)]
        assert all(len(station["times"]) == HOURS for station in outputs[0][:STATIONS])


class _Store:
    """Takes what is sent."""

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        return [*range(len(messages))]


@pytest.mark.parametrize(
    "message",
    [
        {"realTimeData": window()},
        {"code": 200, "realTimeData": window(), "errors": []},
        {"realTimeData": [*window(), record("S1", None), record("A", None)]},
        {"realTimeData": [{"first": 1}, *window()]},
        {"realTimeData": [dict(reversed(one.items())) if index % 3 else one for index, one in enumerate(window())]},
    ],
)
def test_the_event_loop_has_its_turn_after_each_piece(message: Record) -> None:
    data = json.dumps(message).encode()
    with TopologyTestDriver(model) as driver:
        assert driver._worker is not None
        split = driver._worker.pipeline.splitter
        split._sender = _Store()
        done: list[bool] = []
        delivery = Delivery(InMessage(TOPIC, 0, 0, START, None, data), lambda: done.append(True))
        work = split.handle([delivery])
        turns = 0
        with suppress(StopIteration):
            while True:
                work.send(None)
                turns += 1
        assert done == [True]
        assert turns > 2 * (len(data) // PIECE_BYTES)  # for reading them, and for writing bodies of about that size
