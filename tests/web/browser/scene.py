"""A fake worker with everything that the dashboard can show."""

from __future__ import annotations

import time

from tables.model.enums import Action
from tables.model.events import Command
from tests.web.fake_worker import FakeWorker

__all__ = ["ERROR", "LONG", "MANY", "MARKUP", "OPEN", "TOPIC", "busy_worker"]

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
MARKUP = "<img src=x onerror=alert(1)>"
LONG = "场站-" + "1881540927845654529-" * 12
ERROR = f"ValueError: {MARKUP} reports 6553.5 kW: its meter must be broken"
OPEN = f"{TOPIC}_1763085600"
MANY = f"{TOPIC}_1763089200"  # of 1,000 stations

Outcome = tuple[str, str | None]  # code and value
_FINE: Outcome = ("r", '{"station_id":"A"}')
_EMPTY: Outcome = ("e", None)
_CLOSED = 24


def busy_worker() -> FakeWorker:
    """Batches open, complete, timed out, discarded and completed by an operator; stations of all kinds; a last hour."""
    worker = FakeWorker()
    now = time.time()
    stations = [f"DUN{number:02}" for number in range(30)] + [MARKUP, LONG]
    for number in range(_CLOSED):
        _close(worker, f"{TOPIC}_{1763000000 + number * 3600}", number, stations, now - 600 + 20 * number)
    worker.open(OPEN, stations, at=now + 30)  # the deadline must not come while somebody looks
    arrived: dict[str, Outcome] = dict.fromkeys(stations[:20], _FINE)
    worker.arrive(OPEN, arrived | {MARKUP: ("f", ERROR), LONG: _EMPTY}, at=now)
    many = [str(1881540927845650000 + number) for number in range(1000)]
    worker.open(MANY, many, at=now + 30)
    worker.arrive(MANY, dict.fromkeys(many[:600], _FINE), at=now)
    for seconds in range(3600, 0, -10):
        worker.history.take(now - seconds, open_batches=seconds // 10 % 7, lag=seconds % 90)
    return worker


def _close(worker: FakeWorker, batch_id: str, number: int, stations: list[str], at: float) -> None:
    worker.open(batch_id, stations, at=at)
    missing = stations[:2] if number % 3 == 0 else []
    outcomes: dict[str, Outcome] = {station: _FINE for station in stations if station not in missing}
    outcomes |= {MARKUP: ("f", ERROR), LONG: _EMPTY}
    worker.arrive(batch_id, outcomes, at=at + 0.8)
    if missing and number % 2:
        action = Action.DISCARD if number % 4 == 1 else Action.COMPLETE
        worker.apply(Command(batch_id, action, at + 2.0, "zhang"))
    elif missing:
        worker.expire(batch_id, at=at + 5.0)
    for place, station in enumerate(stations[:8]):
        worker.statistics.callback(station, 0.03 * (number + 8 * place))
