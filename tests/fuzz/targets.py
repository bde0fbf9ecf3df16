"""The targets: what is given hostile bytes, and what a harmless input of it looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.messages.frames import encode_events
from app.web.paging import encode_place
from tables.model.enums import CompletedBy, LatePolicy, State, Status
from tables.model.events import BatchEvent, Forget, Group, Position, Revise, Segment, Source, SourceState
from tables.storage.records import Counts, Destination, Header, Revision, encode_segment
from tests.builders import arrived, command, expire, open_, record_bytes
from tests.fuzz.codecs import (
    check_batch_events,
    check_comparison,
    check_letter,
    check_records,
    check_replay,
    check_station_frame,
    check_stored,
)
from tests.fuzz.inputs import TOPIC, check_context, check_overrides, check_source, check_time
from tests.fuzz.pipeline import check_pipeline
from tests.fuzz.traces import check_trace
from tests.fuzz.web import check_cursor, check_web

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that reads bytes from outside.

    `check` reads them and raises for what must not happen. `weight` is its share of the inputs of a long run: what
    takes milliseconds has a small one.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    weight: float = 1.0


def _record(station: object, time: object = "2025-11-14 10:00:00", **fields: Any) -> dict[str, Any]:
    return {"stationId": station, "sendTime": time, **fields}


_GUNS = {"gunNo": ["05", "01"], "outputPowerPerGunAvg": [34.29, 2.73], "outputPowerPerGunMax": [100.8, None]}
_WINDOW = [
    _record("A", f"2025-11-14 0{hour}:00:00", hostCode="52", gunPower=_GUNS, outputPowerPerStationAvg=37.02 + hour)
    for hour in (6, 7, 9)
]
_HUGE = b"52000000000088123456789"

_MESSAGES: Sequence[bytes] = (
    orjson.dumps({TOPIC: [_record("A"), _record(17, soc=None), _record("C", "2025-11-14T02:00:00Z")]}),
    orjson.dumps({"realTimeData": _WINDOW}),
    orjson.dumps({"data": [_record("A", None), _record("A"), {"soc": 1}, 5, "x"]}),
    orjson.dumps([_record("A", 1763085600), _record("A", 1763085600000), _record("B", "1763085600.5")]),
    orjson.dumps(_record("A", gunPower={"gunNo": [], "state": []}, name="站")),
    orjson.dumps({"station_id": "A", "send_time": "2025-11-14T24:00:00+08:00", "deep": [[[{"a": [1]}]]]}),
    b'[{"stationId":%b,"sendTime":1},{"stationId":-0}]' % _HUGE,
    b'{"realTimeData" : [ {"stationId":"A","x":[{"stationId":"B"},{"stationId":"C"}]} , {"stationId":"D"} ,{"a":1}]}',
    b'{"code":200,"realTimeData":[{"stationId":"A"},{"stationId":"B","sendTime":1763085600}],"page":{"of":[1,[]]}}',
    orjson.dumps(
        {"list": [1], "data": [_record("A"), _record("A", None), {"x": 1, "stationId": "A"}, _record("B", 4e9)]}
    ),
    b"[]",
)
_CONTEXT: Sequence[bytes] = (
    *_MESSAGES,
    orjson.dumps({"batch_id": "X_1", "timestamp": 1763085600.75, "stations": [{"station_id": "A", "temp": 1}, {}]}),
    orjson.dumps({"hostCode": "52", "meterId": 3, "temp": 21.5}),
    orjson.dumps([{"temp": 21.5, "timestamp": 1763085600}, {"meter_id": "M", "host_id": "H"}]),
    b'{"hostCode":%b,"stations":[{"hostCode":%b},{"stationId":%b}]}' % (_HUGE, _HUGE, _HUGE),
)
_TIMES: Sequence[bytes] = (
    *(b"2025-11-14 10:00:00", b"2025-11-14T10:00:00.123456+08:00", b"20251114", b"2025-W46-5T10:00Z", b"1763085600"),
    *(b"1763085600123.5", b"2025-11-14T24:00", b"0001-01-02 00:00:00", b"9999-12-30 23:59:59", b'" 1763085600 "'),
    b"2025-11-14 10:00:60",
)
_HEADERS: Sequence[bytes] = (
    b"batch-timeout=2.5\nbatch-id=A_1.2:3-x",
    b"batch-timeout= +1e1 \nbatch-id=\nreplayed=true",
    b"replayed=0\nbatch-timeout=.5",
    b"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate=a=1,b=2",
)
_PARENT = b"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_TRACES: Sequence[bytes] = (
    *_HEADERS,
    _PARENT,
    _PARENT + b"\ntracestate=plant=7,other@vendor=x:y;z",
    _PARENT.replace(b"=00-", b"=cc-") + b"-more",
    _PARENT + b"\ntracestate=" + b",".join(b"k%d=%d" % (number, number) for number in range(40)),
)
_STATIONS: Sequence[bytes] = (
    b'{"v":1,"groups":[["b",["T",0,7],1.5,6.5,"/w==",[["A",[{"stationId":"A"}]],["B",[]]]]]}',
    b'{"v":1,"groups":[[null,["T",0,7],1.5,null,null,"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",[]]]}',
    b'{"v":1,"layout":[[32,2,26],[30,1,10]],"groups":[\n["T_1",["T",0,7],1.5,6.5,"/w==",[["A",[{"x":1}]],["B",[]]]],'
    b'["T_2",["T",0,8],1.5,6.5,null,[["A",[]]]]]}',
    b' {"v":1,"layout":[[28,1,18]],"groups":[\n["b",["T",0,7],1.5,6.5,null, [["A",[{"x":1}]]]]]}',
    b'{"v":1,"groups":[],"context":[["T",[0,7,1.5],"aw==",[["A",1,[{"x":1}]],["",null,[{}]],["A"],[null]]]]}',
)
_LOGS: Sequence[Sequence[BatchEvent]] = (
    [open_("ABC"), arrived("AB", "rf"), arrived("C", "e")],
    [open_("AB"), arrived("A"), expire(), arrived("B"), Revise("b", 2, 107.0), Forget("b", 105.05, 4000.0)],
    [open_("AB"), open_("BC", message=1), command("extend", seconds=10.0), command("complete")],
    [open_("A", replayed=True, trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), expire()],
)
_EVENTS: Sequence[bytes] = [encode_events(events) for events in _LOGS]
_GROUP = Group(Position(2, 0), Source("T", 0, 7), ["A"], "r", ['{"station_id":"A"}'], 101.0)
_SOURCE = SourceState(Source("T", 0, 7), 100.0, 105.0, ("A", "B"), Position(1, 0), "r-", 5.0)
_COUNTS = Counts(2, 1, 0, 0)
_STORED: Sequence[bytes] = (
    encode_segment(Segment(late=False, sources=[_SOURCE], groups=[_GROUP], extensions=[])),
    record_bytes(
        Header(
            *("b", State.CLOSING, Status.PARTIAL, CompletedBy.TIMEOUT, LatePolicy.REVISE, 100.0, 105.0, 105.1, _COUNTS),
            *((_SOURCE,), {"B": "ValueError: x"}, Destination("OUT", 3), (_GROUP,)),
        )
    ),
    record_bytes(Revision("b", 2, State.CLOSED, Status.COMPLETE, 106.0, _COUNTS, Position(3, 0), Destination("O", 0))),
    b'{"v":1,"time":1763085600,"key":"aw==","parts":[[[0,7,1.5],[{"temp":1}]]]}',
    b'{"v":1,"written_at":1.5,"replayed_at":2.5}',
)
_SEGMENT, _HEADER, _REVISION = (orjson.loads(stored) for stored in _STORED[:3])
_PARTITIONS: Sequence[bytes] = (
    orjson.dumps([["b#1.0-1.0", _SEGMENT], ["b", _HEADER], ["b#5.0-0.0+", _SEGMENT], ["b#r2", _REVISION]]),
    orjson.dumps([["b#1.0-1.0", _SEGMENT]]),
    orjson.dumps([["b", {**_HEADER, "state": "closed", "late_policy": "topic"}], ["c#1.0-1.0", _SEGMENT]]),
)
_LETTERS: Sequence[bytes] = (
    b"reason=bad-record\nerror=ValueError: x\nfailed-at=1763085600.5\nsource-topic=T\nsource-partition=0\n"
    b'source-offset=7\nbatch-id=T_1\nstation-id=A\n\n{"T":[{"stationId":"A"}]}',
    b"reason=\xff\nsource-topic=T\nsource-partition=\xd9\xa3\nsource-offset=9223372036854775807\n\n\x1b[31m",
)
_REPLAYED: Sequence[bytes] = (
    *_LETTERS,
    b'batch-id=T_1\n\n{"batch_id":"T_1","module":"m","timestamp":1.5,"stations":[{"station_id":"A","result":1}],'
    b'"station_count":1,"meta":{"status":"discarded","completed_by":"timeout","revision":1,"missing":["B"],"part":1,'
    b'"parts":1}}',
    orjson.dumps({"stations": [{"station_id": str(number), "x": "y" * 300} for number in range(9)]}).join(
        (b"a=b\n\n", b"")
    ),
)
_RESULTS: Sequence[bytes] = (
    b'revision=2\npart=1\n\n{"batch_id":"T_1763085600","meta":{"opened_at":1.5},"stations":[{"station_id":"A","x":1}]}',
    b'a=b\n\n{"stationId":"A","result":{"sendTime":"2025-11-14 10:00:00","x":[1]}}',
    b'{"station_id":5,"sendTime":1763085600,"result":null}',
)
_REQUESTS: Sequence[bytes] = (
    b"GET /batches?status=open&limit=5&cursor=" + encode_place((100.0, "T_1")).encode() + b"&local=true",
    b"GET /batches/T%5F1",
    b'POST /batches/T_1/extend\nx-operator: %E7%AB%99\ncontent-type: text/plain\n\n{"seconds":5}',
    b"POST /batches/T_1/complete\n\n",
    b"GET /stations?order=slowness&limit=3&cursor=" + encode_place(("slowness", 0.0, 0.0, 0.0, "A")).encode(),
    b"GET /heatmap?batches=5&stations=5",
    b"GET /dead-letters?reason=bad-record&station=A&batch=T_1&since=1763085600.5&until=1d2h&limit=2&cursor="
    + encode_place(((0, 1), (1, 0))).encode(),
    b"GET /dead-letters/0@0",
    b'POST /dead-letters/replay\nx-operator: a\n\n{"ids":["0@0","1@7"],"dry_run":false,"again":true}',
    b"GET /late?station=A&reason=batch-closed&batch=T_1&since=15m&limit=1",
    b"GET /settings",
    b"GET /partitions?local=true",
    b"GET /internal/settings",
    b"GET /stats?since=15m&until=1763085600.5",
    b"GET /batches?q=10:00&station=A&completed_by=all&since=1h30m&until=1763085600&status=closed",
    b"GET /batches?q=2025-11-04T10:00%2B08:00&since=0",
    b"GET /batches/T_0/output",
    b"GET /batches/T_0/timeline?local=true",
    b"GET /stations/A?batches=5",
    b"GET /stations/%E5%9C%BA%2F%00",
    b"GET /internal/search?q=t&since=1.5&until=",
    b"GET /internal/station?station=A&batches=3",
    b"GET /internal/courses/T_1",
    b"GET /internal/times/T_1",
    b"GET /internal/figures?since=0&until=9.5&asked=",
    b"HEAD /static/js/main.js\nif-none-match: W/x",
    b"GET /internal/rows/T_1",
    b"GET /metrics\naccept: application/openmetrics-text",
    b"GET /healthz",
)
_CURSORS: Sequence[bytes] = (encode_place((100.0, "T_1")).encode(), encode_place((1e300, "")).encode(), b"x", b"W10")

TARGETS: Sequence[Target] = (
    Target("source", check_source, _MESSAGES, 4),
    Target("context", check_context, _CONTEXT, 2),
    Target("time", check_time, _TIMES, 4),
    Target("overrides", check_overrides, _HEADERS, 4),
    Target("trace", check_trace, _TRACES, 0.3),
    Target("station-frame", check_station_frame, _STATIONS, 3),
    Target("batch-events", check_batch_events, _EVENTS, 2),
    Target("records", check_records, _STORED, 2),
    Target("stored", check_stored, _PARTITIONS, 1),
    Target("letter", check_letter, _LETTERS, 2),
    Target("replay", check_replay, _REPLAYED, 1),
    Target("comparison", check_comparison, _RESULTS, 1),
    Target("cursor", check_cursor, _CURSORS, 3),
    Target(
        "pipeline", check_pipeline, [headers + b"\n\n" + value for headers in _HEADERS for value in _MESSAGES], 0.02
    ),
    Target("web", check_web, _REQUESTS, 0.2),
)
