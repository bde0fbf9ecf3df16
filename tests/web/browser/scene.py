"""A fake worker with everything that the dashboard can show."""

from __future__ import annotations

import time

import orjson

from app.messages.dead_letters import read_letter
from app.messages.replays import ReplayLog
from app.web.state import Standing
from app.web.topics import Arrivals
from tables.model.enums import Action
from tables.model.events import Command
from tests.web.fake_worker import FakeWorker

__all__ = ["ERROR", "LETTER", "LONG", "MANY", "MARKUP", "OPEN", "PAGES", "TOPIC", "busy_worker"]

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
MARKUP = "<img src=x onerror=alert(1)>"
LONG = "场站-" + "1881540927845654529-" * 12
ERROR = f"ValueError: {MARKUP} reports 6553.5 kW: its meter must be broken"
OPEN = f"{TOPIC}_1763085600"
LETTER = "0@0"
MANY = f"{TOPIC}_1763089200"  # of 1,000 stations
PAGES = {  # and what comes last on each
    "/": ".heatmap .grid",
    "/#/batches": ".found tbody tr",
    f"/#/batches/{OPEN}": ".bars li",
    "/#/stations/DUN00": ".strip a",
    "/#/dead-letters": ".letters tbody tr",
    "/#/late": ".lates tbody tr",
    "/#/workers": ".settings tbody tr",
    "/#/partitions": ".partitions tbody tr",
}

Outcome = tuple[str, str | None]  # code and value
_FINE: Outcome = ("r", '{"station_id":"A"}')
_EMPTY: Outcome = ("e", None)
_CLOSED = 24


def busy_worker() -> FakeWorker:
    """Batches of all kinds, open and closed; stations of all kinds; letters; a topic that is overdue."""
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
    _fail(worker, now)
    worker.topics.coming = {TOPIC: Arrivals(now - 400, 60.0)}
    return worker


def _fail(worker: FakeWorker, now: float) -> None:
    """Dead letters of all kinds, one of them sent again before, late results, and partitions that are behind."""
    topics = worker.settings
    for number, (reason, station) in enumerate([("station-failed", MARKUP), ("bad-record", LONG), ("discarded", "")]):
        headers = {
            "reason": reason,
            "error": f"Traceback (most recent call last):\n  File x\n{ERROR}",
            "failed-at": repr(now - 60 * (3 - number)),
            "batch-id": f"{TOPIC}_1763000000",
            "source-topic": TOPIC,
            "source-partition": "0",
            "source-offset": str(number),
        } | ({"station-id": station} if station else {})
        value = f'{{"{TOPIC}": ["{MARKUP}"]}}'.encode()
        worker.append(topics.dead_letter_topic, value, headers, at=now - 60 * (3 - number))
    worker.append(topics.dead_letter_topic, b"\xff\x00", {"reason": "bad-message", "error": "no JSON"}, at=now - 30)
    replayed = ReplayLog(topics.replayed_topic).record(
        read_letter(worker.logs[topics.dead_letter_topic][0][1]), now - 10
    )
    worker.append(topics.replayed_topic, replayed.value, key=replayed.key)
    for number, station in enumerate(["DUN03", MARKUP, LONG]):
        late = {
            "batch_id": f"{TOPIC}_1763000000",
            "station_id": station,
            "status": ["result", "failed", "skipped"][number],
            "reason": "batch-closed",
            "revision": 1,
            "closed_at": now - 100,
            "timestamp": now - 90 + number,
        }
        worker.append(topics.late_topic, orjson.dumps(late), key=f"{TOPIC}_1763000000".encode(), at=now - 90 + number)
    worker.owned = [
        Standing(TOPIC, 0, 1_000, 1_250, 250, now - 12),
        Standing(TOPIC, 1, 900, 900, 0, None),
        Standing(topics.batch_events_topic, 0, None, None, None, None),
    ]


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
