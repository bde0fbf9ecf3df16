"""The yardstick: the same work by hand, in one process with nothing durable.

Reads the source topic, parses and aligns as the application does (with its own functions), runs the callback for each
station, sends one merged message a batch. No tables, no acknowledgements, no deadline, no time limits, no second
worker: what is left when every promise is taken away.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from zoneinfo import ZoneInfo

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.callbacks.outcome import encode_result
from app.inputs.alignment import Alignment, align
from app.inputs.source_message import batch_id, parse_message
from tests.bench.model import callback

ALIGNMENT = Alignment(ZoneInfo("Asia/Shanghai"))
MAX_BYTES = 16 * 1024 * 1024


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
                    key, value = await _merged(source, record.value)
                    pending.append(await producer.send(output, value, key=key))
                    done += 1
        await asyncio.gather(*pending)
    finally:
        await consumer.stop()
        await producer.stop()


async def _partitions(producer: AIOKafkaProducer, topic: str) -> set[int]:
    found: set[int] = await producer.partitions_for(topic)
    return found


async def _merged(topic: str, value: bytes) -> tuple[bytes, bytes]:
    opened_at = time.time()
    batch = parse_message(value, topic=topic, envelope_keys=(), timezone=ALIGNMENT.timezone)
    name = batch_id(topic, batch.timestamp or 0)
    results: list[str] = []
    for station_id, records in batch.stations.items():
        result = await callback(station_id, {topic: align(records, ALIGNMENT)})
        results.append(encode_result(station_id, result, max_bytes=MAX_BYTES).value or "null")
    head = orjson.dumps({"batch_id": name, "timestamp": time.time(), "station_count": len(results)})
    meta = orjson.dumps({"opened_at": opened_at, "expected_count": len(batch.stations)})
    return name.encode(), b'%b,"stations":[%b],"meta":%b}' % (head[:-1], ",".join(results).encode(), meta)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("servers", "source", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batches", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(merge(options.servers, options.source, options.output, options.batches))
