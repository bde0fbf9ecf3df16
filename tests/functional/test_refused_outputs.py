"""What the output topic would refuse becomes a dead letter: it must not stop the worker again and again."""

from __future__ import annotations

from typing import Any

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
