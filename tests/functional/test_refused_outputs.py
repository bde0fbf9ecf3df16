"""What the output topic would refuse becomes a dead letter: it must not stop the worker again and again."""

from __future__ import annotations

from typing import Any

import pytest

from app.pipeline.splitting import station_writer
from app.testing import TopologyTestDriver

AT = "2025-11-14 09:00:00"


async def fails(station_id: str, module_input: dict[str, Any]) -> None:
    raise ValueError


def test_a_batch_whose_meta_alone_is_over_the_topics_limit_is_a_too_large_letter() -> None:
    stations = [f"{number:0100d}" for number in range(9_000)]
    with TopologyTestDriver(fails, max_message_bytes=1024, batch_timeout=60) as driver:
        driver.send([{"stationId": station, "sendTime": AT} for station in stations])
        driver.advance(1)
        (batch_id,) = driver.closed_batches
        assert driver.outputs == []
        (letter,) = [one for one in driver.dead_letters if one.headers["reason"] == "too-large"]
        assert (letter.key, letter.headers["batch-id"], len(letter.raw or b"")) == (batch_id, batch_id, 64 * 1024)


async def counts(station_id: str, module_input: dict[str, Any]) -> int:
    return len(next(iter(module_input.values()))["sendTime"])


def test_a_station_whose_records_no_message_can_carry_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_writer, "STATION_BYTES", 500)
    with TopologyTestDriver(counts) as driver:
        driver.send(
            [{"stationId": "A", "sendTime": AT}, {"stationId": "B", "sendTime": AT, "note": "x" * 500}], key="k"
        )
        (output,) = driver.outputs
        assert output.value["stations"] == [{"station_id": "A", "result": 1}]
        assert [one["station_id"] for one in output.value["meta"]["failed"]] == ["B"]
        (letter,) = driver.dead_letters
        assert (letter.key, letter.headers["reason"], letter.headers["station-id"]) == ("k", "too-large", "B")
