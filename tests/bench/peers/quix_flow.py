"""The job in Quix Streams: three dataframes of one application with topics between them, states in RocksDB.

Stations travel under their id, so that all workers share a batch's callbacks; results meet under the batch's key. At
least once: positions and states are committed together each five seconds, what came out since comes out again. Quix has
no timer: a batch that misses a station waits for it for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from quixstreams import Application
from quixstreams.models import TopicConfig

from tests.bench.peers.job import PARTITIONS, encode_output, options, parse, result_of

OPENING = ":opening"
LEFT = ":left"  # stations that are expected, less those that have arrived


def main() -> None:
    """Run it."""
    chosen = options()
    source_name: str = chosen.source
    app = Application(
        chosen.servers, consumer_group=source_name, auto_offset_reset="earliest", state_dir=chosen.folder / "state"
    )
    internal = TopicConfig(num_partitions=PARTITIONS, replication_factor=1)
    source = app.topic(source_name, value_deserializer="bytes", key_deserializer="bytes")
    stations = app.topic(f"{source_name}-stations", key_serializer="str", key_deserializer="str", config=internal)
    results = app.topic(f"{source_name}-results", key_serializer="str", key_deserializer="str", config=internal)
    output = app.topic(chosen.output, value_serializer="bytes", key_serializer="str")

    def split(value: bytes) -> Iterator[dict[str, Any]]:
        batch = parse(source_name, value)
        yield {"batch": batch.batch_id, "opened_at": time.time(), "expected": list(batch.stations)}
        for station, records in batch.stations.items():
            yield {"batch": batch.batch_id, "station": station, "records": records}

    def call(event: dict[str, Any]) -> dict[str, Any]:
        station = event["station"]
        result = result_of(source_name, station, event["records"])
        return {"batch": event["batch"], "station": station, "result": result}

    app.dataframe(source).apply(split, expand=True).to_topic(
        lambda event, _key, _timestamp, _headers: stations if "station" in event else results,
        key=lambda event: event.get("station") or event["batch"],
    )
    app.dataframe(stations).apply(call).to_topic(results, key=lambda event: event["batch"])
    merged = app.dataframe(results).apply(merge, stateful=True)
    merged.filter(lambda value: value is not None).to_topic(output)
    app.run()


def merge(event: dict[str, Any], state: Any) -> bytes | None:
    """Take an opening or a result into its batch's state; return the output when the batch is complete."""
    station = event.get("station")
    if station is None:
        state.set(OPENING, (event["opened_at"], event["expected"]))
        left = state.get(LEFT, 0) + len(event["expected"])
    elif state.exists(station):
        return None
    else:
        state.set(station, event["result"])
        left = state.get(LEFT, 0) - 1
    if left:
        state.set(LEFT, left)
        return None
    opened_at, expected = state.get(OPENING)
    output = encode_output(event["batch"], opened_at, expected, {one: state.get(one) for one in expected})
    for name in (OPENING, LEFT, *expected):
        state.delete(name)
    return output


if __name__ == "__main__":
    main()
