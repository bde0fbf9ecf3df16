"""The yardstick: the same work by hand, in one process with nothing durable.

Reads the source topic, runs the callback for each station, sends one merged message a batch. No tables, no
acknowledgements, no deadline, no second worker: what is left when every promise is taken away.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.bench.model import callback


async def merge(servers: str, source: str, output: str, batches: int) -> None:
    """Merge so many batches, then stop."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1024 * 1024, max_request_size=64 * 1024 * 1024
    )
    await consumer.start()
    await producer.start()
    try:
        await consumer._client.force_metadata_update()
        partitions = consumer.partitions_for_topic(source) or await _partitions(producer, source)
        consumer.assign([TopicPartition(source, number) for number in partitions])
        await consumer.seek_to_beginning()
        done = 0
        pending = []
        while done < batches:
            for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                for record in records:
                    key, value = await _merged(record.value)
                    pending.append(await producer.send(output, value, key=key))
                    done += 1
        await asyncio.gather(*pending)
    finally:
        await consumer.stop()
        await producer.stop()


async def _partitions(producer: AIOKafkaProducer, topic: str) -> set[int]:
    found: set[int] = await producer.partitions_for(topic)
    return found


async def _merged(value: bytes) -> tuple[bytes, bytes]:
    opened_at = time.time()
    stations: dict[str, list[dict[str, object]]] = {}
    for record in orjson.loads(value):
        stations.setdefault(record["stationId"], []).append(record)
    batch_id = f"batch_{records_time(stations)}"
    results = []
    for station_id, records in stations.items():
        columns = {name: [record[name] for record in records] for name in records[0] if name != "stationId"}
        result = await callback(station_id, {"source": columns})
        results.append({"station_id": station_id, **result})
    payload = {"batch_id": batch_id, "timestamp": time.time(), "stations": results, "station_count": len(results)}
    payload["meta"] = {"opened_at": opened_at, "expected_count": len(stations)}
    return batch_id.encode(), orjson.dumps(payload)


def records_time(stations: dict[str, list[dict[str, object]]]) -> str:
    """The latest sendTime, as text."""
    return max(str(record["sendTime"]) for records in stations.values() for record in records)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("servers", "source", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batches", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(merge(options.servers, options.source, options.output, options.batches))
