"""A check of the whole pipeline: each station that a message names comes out, with its result or by name."""

from __future__ import annotations

from typing import Any

from app.inputs.grouping import BadMessage
from app.inputs.source_message import parse_message
from app.testing import TopologyTestDriver
from tests.fuzz.inputs import TIMEZONE, TOPIC, headers_of

__all__ = ["check_pipeline"]

LONGEST_WAIT = 70.0  # seconds: past AGG_MAX_BATCH_AGE


def is_empty(station_id: str) -> bool:
    """Say whether the model has no result for a station."""
    return len(station_id) % 3 == 1


async def model(station_id: str, module_input: dict[str, Any]) -> Any:
    """Answer some stations, and fail for others."""
    if is_empty(station_id):
        return None
    return {"columns": len(module_input[TOPIC])} if len(station_id) % 3 else module_input[station_id]


def check_pipeline(data: bytes) -> None:
    """Send a source message, headers and an empty line before the value, and wait until its batch is due."""
    head, _, value = data.partition(b"\n\n")
    with TopologyTestDriver(model) as driver:
        driver.send(value, headers=headers_of(head))
        driver.advance(LONGEST_WAIT)
        letters = [(one.headers["reason"], one.headers.get("station-id"), one.raw) for one in driver.dead_letters]
        assert not driver.open_batches
        try:
            batch = parse_message(value, topic=TOPIC, envelope_keys=(), timezone=TIMEZONE)
        except BadMessage:
            assert letters == [("bad-message", None, value)]
            assert not driver.outputs
            return
        assert sum(reason == "bad-record" for reason, *_ in letters) == len(batch.rejects)
        named = {station_id for _, station_id, _ in letters if station_id is not None}
        named |= {late.headers["station-id"] for late in driver.late}
        batches = [output.value for output in driver.outputs if "meta" in output.value]
        for output in batches:
            meta, stations = output["meta"], [result["station_id"] for result in output["stations"]]
            accounted = {*stations, *meta["missing"], *meta["empty"], *(one["station_id"] for one in meta["failed"])}
            assert len(accounted) == meta["expected_count"]
            assert meta["status"] == ("partial" if meta["missing"] else "complete")
            named |= accounted
        if not batches:
            named |= {output.value["station_id"] for output in driver.outputs}
            # What passes through without a result is not published.
            named |= {station_id for station_id in batch.stations if is_empty(station_id)}
        assert named == batch.stations.keys()
