"""The yardstick: the same work by hand, in one process with nothing durable.

Reads the source topic, parses and aligns as the application did at commit cfbf23b (tests/bench/pinned.py: a yardstick
must not become shorter with what it measures), runs the callback for each station, sends one merged message a batch.
No tables, no acknowledgements, no deadline, no time limits, no second worker: what is left when every promise is taken
away. It imports nothing of the application.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.bench.model import callback
from tests.bench.pinned import align, encode_result, parse


async def merge(servers: str, source: str, output: str) -> None:
    """Merge batches until the process is ended."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1024 * 1024, max_request_size=64 * 1024 * 1024
    )
    await consumer.start()
    await producer.start()
    try:
        partitions = await producer.partitions_for(source)
        consumer.assign([TopicPartition(source, number) for number in partitions])
        await consumer.seek_to_beginning()
        while True:
            for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                for record in records:
                    key, value = await merged(source, record.value)
                    await producer.send(output, value, key=key)
    finally:
        await consumer.stop()
        await producer.stop()


async def merged(topic: str, value: bytes) -> tuple[bytes, bytes]:
    """Return key and value of the output of one source message."""
    opened_at = time.time()
    batch = parse(topic, value)
    results: list[str] = []
    for station_id, records in batch.stations.items():
        result = await callback(station_id, {topic: align(records)})
        results.append(encode_result(station_id, result).value or "null")
    head = orjson.dumps({"batch_id": batch.batch_id, "timestamp": time.time(), "station_count": len(results)})
    meta = orjson.dumps({"opened_at": opened_at, "expected_count": len(batch.stations)})
    return batch.batch_id.encode(), b'%b,"stations":[%b],"meta":%b}' % (head[:-1], ",".join(results).encode(), meta)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("servers", "source", "output", "folder"):
        parser.add_argument(f"--{name}", required=name != "folder")
    options = parser.parse_args()
    asyncio.run(merge(options.servers, options.source, options.output))
