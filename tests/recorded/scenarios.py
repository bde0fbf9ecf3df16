"""What is recorded: workers that are killed at points where each kind of event and of record stands in the topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from app.messages.frames import encode_events
from app.messages.message import OutMessage
from app.testing import TopologyTestDriver
from tables.model.enums import Action, LatePolicy
from tables.model.events import Command

PLANT: Final = "PLANT"
DIRECT: Final = "DIRECT"
WEATHER: Final = "WEATHER"
METER: Final = "METER"
OUTPUT: Final = "OUTPUT"
SECONDS: Final = 40.0  # after which all that was left is out

COMMON: Final[dict[str, Any]] = {
    "source_topics": (PLANT,),
    "passthrough_topics": (DIRECT,),
    "context_topics": (WEATHER,),
    "output_topic": OUTPUT,
    "app_id": "recorded",
    "partitions": 2,
}

Handler = Callable[..., Any]


async def model(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """E has no result, F fails, S comes seven seconds late; the others know the weather, and their meter."""
    if station_id.startswith("S"):
        await asyncio.sleep(7.0)
    if station_id.startswith("F"):
        text = "no model"
        raise ValueError(text)
    if station_id.startswith("E"):
        return None
    meter = {"meter": module_input[METER].get("kwh")} if METER in module_input else {}
    known = {"weather": module_input.get(WEATHER, {}).get("temp"), "power": power_in(module_input)}
    return {"of": station_id, **known, **meter}


def power_in(module_input: dict[str, Any]) -> Any:
    """The newest power of a station."""
    context = (WEATHER, METER)
    columns: dict[str, Any] = next((columns for topic, columns in module_input.items() if topic not in context), {})
    return columns.get("outputPowerPerStationAvg", [None])[-1]


async def payload_of(batch_id: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """A result handler."""
    return {"id": batch_id, "got": results}


@dataclass(frozen=True)
class Scenario:
    """What is played; `settings` and `handler` are also those with which it is read."""

    name: str
    play: Callable[[TopologyTestDriver], None]
    settings: dict[str, Any] = field(default_factory=dict)
    handler: Handler | None = None

    def driver(self) -> TopologyTestDriver:
        """A worker for it, with empty topics."""
        return TopologyTestDriver(model, self.handler, **(COMMON | self.settings))


def batch(driver: TopologyTestDriver, second: int, *stations: str, **headers: str) -> str:
    """Send a source message; return its batch id."""
    time = f"2025-11-14 10:00:{second:02}"
    records = [{"stationId": one, "sendTime": time, "outputPowerPerStationAvg": 1.5} for one in stations]
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    driver.send({PLANT: records}, PLANT, f"key-{second}", own)
    return own.get("batch-id", f"{PLANT}_{1_763_085_600 + second}")


def command(driver: TopologyTestDriver, batch_id: str, action: Action, seconds: float = 0.0) -> None:
    """Send what an operator would."""
    event = Command(batch_id, action, driver.now, "ops@10.0.0.7", seconds)
    driver.send(encode_events([event]), driver.settings.batch_events_topic, batch_id)


def goes_to(topic: str, holding: bytes = b"") -> Callable[[OutMessage], bool]:
    """A crash before the first message for a topic that holds this."""
    return lambda message: message.topic == topic and holding in (message.value or b"")


def play_topic(driver: TopologyTestDriver) -> None:
    """The default payload and the late topic: closed, late, extended, supplemented, forgotten, and left undone."""
    events = driver.settings.batch_events_topic
    driver.send({"stationId": "A", "sendTime": "2025-11-14 09:00:00", "temp": 12345678901234567890123}, WEATHER)
    driver.send({"temp": 3.5, "sendTime": "2025-11-14 09:00:00"}, WEATHER, "everyone")
    driver.send({"stationId": "GONE", "sendTime": "2025-11-14 09:00:00", "temp": 1}, WEATHER, "GONE")
    driver.send(None, WEATHER, "GONE")
    driver.send({"stationId": "D1", "sendTime": "2025-11-14 10:00:00", "outputPowerPerStationAvg": 2.5}, DIRECT, "D1")
    batch(driver, 0, "A", "E1", "F1")
    driver.advance(30.0)  # it is forgotten on the way
    batch(driver, 31, "A", "S1", batch_timeout="3")
    driver.advance(1.0)
    extended = batch(driver, 32, "B", "S2")
    command(driver, extended, Action.EXTEND, 2.0)
    batch(driver, 33, "C", "S3", batch_id=extended)  # a supplement
    driver.advance(8.0)
    completed = batch(driver, 41, "A", "S4")
    command(driver, completed, Action.COMPLETE)
    discarded = batch(driver, 42, "A", "S5")
    command(driver, discarded, Action.DISCARD)
    batch(driver, 43, "A", "B", "S6", batch_timeout="20")
    driver.advance(2.0)  # what has come of it is stored
    driver.crash_before(goes_to(OUTPUT))
    batch(driver, 45, "A", "F2")  # decided, and not out
    driver.crash_before(goes_to(events, f'"arrived","{PLANT}_1763085646"'.encode()))
    driver.restart()
    batch(driver, 46, "B", "E2")  # split, and no outcome stored
    batch(driver, 47, "C", "D")  # not split


def play_revise(driver: TopologyTestDriver) -> None:
    """A result handler and revisions."""
    first = batch(driver, 0, "A", "S1")
    driver.advance(10.0)
    command(driver, first, Action.EXTEND, 5.0)  # it is closed: nothing comes of it
    batch(driver, 11, "B", "E1", "F1")
    batch(driver, 12, "C", "S2")
    driver.advance(6.0)  # it is out without S2
    driver.crash_before(goes_to(OUTPUT, f'"{PLANT}_1763085612"'.encode()))
    driver.advance(3.0)  # its revision is prepared, and not out
    batch(driver, 21, "D", "F3")


def play_windows(driver: TopologyTestDriver) -> None:
    """Windows of context: segments small and packed, of several stations, a deletion, what is everyone's."""
    for point in range(70):
        time = f"2025-11-14 {point // 60:02}:{point % 60:02}:00"
        driver.send(
            [{"stationId": one, "sendTime": time, "kwh": point + 0.5, "id": 2**70} for one in "ABC"], METER, f"{point}"
        )
    driver.send({"sendTime": "2025-11-14 09:00:00", "kwh": 7}, METER, "everyone")
    driver.send(None, METER, "B")
    driver.send({"stationId": "C", "sendTime": "2025-11-14 00:30:00", "kwh": [1], "hostCode": "h"}, METER, "C")
    driver.send({"stationId": "C", "sendTime": "2025-11-14 01:30:00", "kwh": 3}, METER, "C")
    batch(driver, 0, "A", "B", "C", "D")
    driver.crash_before(goes_to(OUTPUT))
    batch(driver, 1, "A", "B", "C", "D")
    driver.restart()
    driver.crash_before(goes_to(f"{driver.settings.app_id}-context-changelog"))
    driver.send({"stationId": "A", "sendTime": "2025-11-14 02:00:00", "kwh": 100}, METER, "A")  # split, not stored


SCENARIOS: Final = (
    Scenario("windows", play_windows, {"context_topics": (WEATHER, f"{METER}:50")}),
    Scenario("topic", play_topic, {"closed_ttl": 20.0}),
    Scenario("revise", play_revise, {"late_policy": LatePolicy.REVISE}, payload_of),
)
