"""The job in plain Faust: three agents, topics between them, a table for the batches, a timer for their deadlines.

Stations travel under their id, so that all workers share a batch's callbacks; results meet under the batch's key. The
table's rows are a batch's head and each of its results: one row for a whole batch would be written anew with every
station. A timer can't change a table, so it sends an event. What Faust's own consumer and tables lose: docs/faust.md.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import faust
import orjson

from tests.bench.model import callback
from tests.bench.peers.job import PARTITIONS, TIMEOUT, encode_output, options, parse
from tests.bench.pinned import align, encode_result


def make_app(servers: str, source_name: str, output_name: str, folder: str) -> faust.App:  # noqa: C901 - of one piece, as Faust is written
    """Return the application."""
    app = faust.App(
        source_name, broker=f"kafka://{servers}", datadir=folder, topic_partitions=PARTITIONS, web_enabled=False
    )
    raw: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw"}
    source = app.topic(source_name, **raw)
    stations = app.topic(f"{source_name}-stations", partitions=PARTITIONS, internal=True, **raw)
    results = app.topic(f"{source_name}-results", partitions=PARTITIONS, internal=True, **raw)
    output = app.topic(output_name, **raw)
    opened = app.Table("opened", partitions=PARTITIONS)
    arrived = app.Table("arrived", partitions=PARTITIONS)
    counts = app.Table("counts", partitions=PARTITIONS, default=int)

    @app.agent(source)
    async def split(messages: Any) -> None:
        async for value in messages:
            batch = parse(source_name, value)
            key = batch.batch_id.encode()
            opening = {"opened_at": time.time(), "expected": list(batch.stations)}
            await results.send(key=key, value=orjson.dumps(opening))
            for station, records in batch.stations.items():
                event = {"batch": batch.batch_id, "records": records}
                await stations.send(key=station.encode(), value=orjson.dumps(event))

    @app.agent(stations)
    async def call(events: Any) -> None:
        async for key, value in events.items():
            station, event = key.decode(), orjson.loads(value)
            result = await callback(station, {source_name: align(event["records"])})
            arrival = {"station": station, "result": encode_result(station, result).value}
            await results.send(key=event["batch"].encode(), value=orjson.dumps(arrival))

    @app.agent(results)
    async def merge(events: Any) -> None:
        async for key, value in events.items():
            batch_id, event = key.decode(), orjson.loads(value)
            if "expected" in event:
                opened[batch_id] = event
            elif "station" in event and (row := f"{batch_id}/{event['station']}") not in arrived:
                arrived[row] = event["result"]
                counts[batch_id] += 1
            opening = opened.get(batch_id)
            if opening is not None and (event.get("overdue") or counts[batch_id] >= len(opening["expected"])):
                await close(batch_id, opening)

    async def close(batch_id: str, opening: dict[str, Any]) -> None:
        rows = {station: f"{batch_id}/{station}" for station in opening["expected"]}
        found = {station: arrived[row] for station, row in rows.items() if row in arrived}
        merged = encode_output(batch_id, opening["opened_at"], opening["expected"], found)
        await output.send(key=batch_id.encode(), value=merged)
        for station in found:
            arrived.pop(rows[station])
        counts.pop(batch_id, None)
        opened.pop(batch_id)

    @app.timer(1.0)  # type: ignore[untyped-decorator]
    async def expire() -> None:
        now = time.time()
        for batch_id, opening in list(opened.items()):
            if opening["opened_at"] + TIMEOUT <= now:
                await results.send(key=batch_id.encode(), value=b'{"overdue":true}')

    return app


def main() -> None:
    """Run it as `faust worker` does, with the log level of its documentation."""
    chosen = options()
    app = make_app(chosen.servers, chosen.source, chosen.output, str(chosen.folder))
    sys.argv[1:] = ["worker", "-l", "info", "--without-web"]
    app.main()


if __name__ == "__main__":
    main()
