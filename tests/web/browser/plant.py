"""Two workers on a real Kafka, and the stations of the sample data, whose batches go as a test wants them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from app.demo.sample import load_stations
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import SentBatch
from tests.integration.support.reading import Received
from tests.integration.support.waiting import wait_for
from tests.integration.support.web import TOKEN, ask, two_workers
from tests.integration.support.worker import WorkerProcess
from tests.web.browser.plant_model import GATES, Mood

__all__ = ["STATIONS", "TOPIC", "Plant"]

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"  # as batch ids name it; the topic itself is the test's own
STATIONS = tuple(station.station_id for station in load_stations())
FIRST = 1763085600  # 2025-11-14 10:00 in Shanghai
HOUR = 3600


class Plant:
    """Sends batches and sees what comes out.

    Its workers have longer to answer each other, and to read Kafka, than the application's 1.4 s, but not as long as
    the page waits. With `own_session` the group waits for one that has died no longer than the application's.
    """

    def __init__(self, cluster: Cluster, *, own_session: bool = False, **settings: str) -> None:
        self._cluster = cluster
        self._gates = cluster.folder / "gates"
        self._gates.mkdir()
        self._pushes = 0
        self._waiting: set[str] = set()
        self._environment = {GATES: str(self._gates), "PATIENT_SHARES": "8"}
        if own_session:
            self._environment["OWN_SESSION"] = "1"
        self._settings = {"callback": "tests.web.browser.plant_model:callback"} | settings
        self.first, self.second = two_workers(cluster, self._environment, **self._settings)

    def another(self, **settings: str) -> WorkerProcess:
        """Start one more worker, with settings of its own."""
        return self._cluster.start({"web_token": TOKEN} | self._settings | settings, self._environment).wait_ready()

    def push(
        self,
        moods: Mapping[str, str] | None = None,
        *,
        timeout: float = 1000.0,
        stations: tuple[str, ...] = STATIONS,
        delay: Callable[[str], float] = lambda _: 0.0,
    ) -> str:
        """Send one batch; its id. Stations are fine unless their mood is another; `delay` is in seconds."""
        moment = FIRST + self._pushes * HOUR
        self._pushes += 1
        batch_id = f"{TOPIC}_{moment}"
        records = [
            {
                "stationId": station,
                "sendTime": moment,
                "outputPowerPerStationAvg": 37.02,
                "mood": (moods or {}).get(station, Mood.FINE),
                "delay": delay(station),
            }
            for station in stations
        ]
        headers = (("batch-id", batch_id.encode()), ("batch-timeout", str(timeout).encode()))
        batch = SentBatch(batch_id, str(moment), stations, orjson.dumps({"realTimeData": records}), headers)
        self._waiting |= {station for station, mood in (moods or {}).items() if mood == Mood.WAITS}
        self._cluster.send(batch)
        return batch_id

    def let(self, station: str) -> None:
        """Let a station that waits go on, now and later."""
        Path(self._gates, station).touch()

    def clear(self) -> None:
        """Let all go on, and wait until nothing is in flight: what a test has left behind, though it has failed."""
        for station in self._waiting:
            self.let(station)
        listed: dict[str, Any] = {}

        def cleared() -> bool:
            listed.update(ask(self.first, "/batches?status=open").json())
            return not (listed.get("batches", True) or listed["incomplete"])

        wait_for(cleared, lambda: f"all batches close: {listed}\n{self._cluster.logs()}")

    def batch(self, batch_id: str) -> Any:
        """A batch as the API has it."""
        return ask(self.first, f"/batches/{batch_id}").json()

    def open_batch(self, batch_id: str) -> Any:
        """A batch as the API has it, once it is open."""
        found: dict[str, Any] = {}

        def opened() -> bool:
            found.update(self.batch(batch_id))
            return "status" in found

        wait_for(opened, lambda: f"{batch_id} opens: {found}\n{self._cluster.logs()}")
        return found

    def wait_arrived(self, batch_id: str, count: int) -> None:
        """Wait until so many of its stations have arrived."""
        wait_for(lambda: self.batch(batch_id).get("arrived_count") == count, lambda: f"arrived\n{self._cluster.logs()}")

    def output(self, batch_id: str) -> Any:
        """Its message in the output topic, once it is there."""
        return self._come(batch_id, self._cluster.outputs).json

    def dead_letter(self, batch_id: str) -> Received:
        """Its message in the dead-letter topic, once it is there."""
        return self._come(batch_id, self._cluster.letters)

    def has_output(self, batch_id: str) -> bool:
        """Whether it has come out, by now."""
        return batch_id in self._cluster.out()

    def _come(self, batch_id: str, received: Callable[[], list[Received]]) -> Received:
        def found() -> list[Received]:
            return [message for message in received() if message.name == batch_id]

        wait_for(found, lambda: f"{batch_id} comes out\n{self._cluster.logs()}")
        return found()[0]
