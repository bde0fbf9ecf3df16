"""What the plants send, and models for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from app.messages.frames import encode_events
from app.testing import Message, TopologyTestDriver
from tables.model.enums import Action
from tables.model.events import Command

__all__ = [
    "BATCH",
    "DIRECT",
    "START",
    "TIME",
    "TOPIC",
    "ModuleInput",
    "Record",
    "answering",
    "command",
    "direct",
    "message",
    "record",
    "slow",
    "steps",
    "unacknowledged",
]

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
DIRECT = "DIRECT"  # a pass-through topic
TIME = "2025-11-14 10:00:00"
START = 1763085600.0  # that time, and the clock's at the start of every driver
BATCH = f"{TOPIC}_1763085600"

Record = dict[str, Any]
ModuleInput = dict[str, Any]
Model = Callable[[str, ModuleInput], Awaitable[Any]]


def record(station_id: str, time: object = TIME, **fields: Any) -> Record:
    """One record of a station."""
    return {"stationId": station_id, "sendTime": time, **fields}


def message(*stations: str, time: object = TIME) -> dict[str, list[Record]]:
    """A source message with one record of each station."""
    return {TOPIC: [record(station, time) for station in stations]}


def answering(results: Mapping[str, Any]) -> Model:
    """A model that returns at once what stands here for the station; an exception is raised."""

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        result = results[station_id]
        if isinstance(result, Exception):
            raise result
        return result

    return model


def command(driver: TopologyTestDriver, action: Action, *, seconds: float = 0.0, at: float | None = None) -> None:
    """Send what the web or the shell would send."""
    event = Command(BATCH, action, driver.now if at is None else at, "ops@10.0.0.7", seconds)
    driver.send(encode_events([event]), driver.settings.batch_events_topic, BATCH)


def slow(seconds: Mapping[str, float]) -> Model:
    """A model that takes its time with some stations, and returns `{"of": station_id}`."""

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        if station_id in seconds:
            await asyncio.sleep(seconds[station_id])
        return {"of": station_id}

    return model


def until_arrived(driver: TopologyTestDriver) -> None:
    """Wait until a station has arrived whose callback runs in a thread; the clock stands still for as long."""
    while not any(b'"arr' in (message.raw or b"") for message in driver.messages(driver.settings.batch_events_topic)):
        driver.advance(0.0)


def steps(messages: list[Message]) -> list[tuple[str | None, str | None]]:
    """What tells dead letters and late records from one another: reason and station."""
    return [(message.headers.get("reason"), message.headers.get("station-id")) for message in messages]


def direct(callback: Callable[..., Any], handler: Callable[..., Any] | None = None, **settings: Any) -> Any:
    """A driver that passes the topic DIRECT through."""
    return TopologyTestDriver(callback, station_result_handler=handler, passthrough_topics=(DIRECT,), **settings)


def unacknowledged(driver: TopologyTestDriver) -> dict[str, int]:
    """Messages that came to the worker and are not acknowledged, by topic; empty when everything is done."""
    broker = driver._broker
    left: dict[str, int] = {}
    for topic in (*driver.settings.foreign_topics, driver.settings.station_events_topic):
        for partition in range(broker.partitions(topic)):
            ends = [m.offset + 1 for m in driver.messages(topic) if m.partition == partition]
            missing = max(ends, default=0) - broker.committed.get((topic, partition), 0)
            if missing:
                left[topic] = left.get(topic, 0) + missing
    return left
