"""Where reading starts, and what lies between messages."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from app.kafka import client, consumer_thread
from app.kafka.client import reading
from app.kafka.consumer_thread import ConsumerThread
from app.kafka.reading import find_sources
from app.kafka.topics import TopicSpec, create_and_wait
from app.messages.message import InMessage
from app.settings import Settings
from tables.model.events import Source
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.reading import admin_client
from tests.shared_brokers import SharedBroker

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(5))


def test_reading_from_the_latest_skips_what_is_old_but_nothing_that_comes_while_the_worker_is_down(
    cluster: Cluster,
) -> None:
    old = [cluster.batch(number, STATIONS) for number in range(8)]
    cluster.send_raw(cluster.source, *(batch.value for batch in old))
    cluster.start({"start": "latest"}).wait_ready().kill()  # before it has acknowledged any message
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(10, 18)))
    cluster.start({"start": "latest"}).wait_ready()
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(20, 28)))
    # That nothing else comes out, `finish` sees: none of `old`.
    assert str(cluster.finish()) == "16 complete, 0 partial, 0 copies, 0 late"


def test_messages_are_read_whatever_they_are_compressed_with(cluster: Cluster) -> None:
    cluster.start().wait_ready()
    for number, codec in enumerate(("gzip", "snappy", "lz4", "zstd")):
        cluster.send_compressed(codec, *(cluster.batch(10 * number + place, STATIONS) for place in range(3)))
    assert str(cluster.finish()) == "12 complete, 0 partial, 0 copies, 0 late"


def test_transactions_leave_gaps_that_neither_lose_a_batch_nor_hold_a_partition_up(
    kafka_broker: SharedBroker, tmp_path: Path
) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:
        batches = [cluster.batch(number, STATIONS) for number in range(40)]
        for start in range(0, 15, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=True)
        worker = cluster.start().wait_ready()
        for start in range(15, 30, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=True)
        cluster.wait_out()
        worker.terminate()
        for start in range(30, 35, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=True)
        cluster.start().wait_ready()
        cluster.wait_out()
        cluster.send(*batches[35:])
        assert str(cluster.finish()) == "40 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_aborted_transactions_are_read_as_kafka_reads_by_default_and_hold_no_partition_up(
    kafka_broker: SharedBroker, tmp_path: Path
) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:
        batches = [cluster.batch(number, STATIONS) for number in range(40)]
        cluster.start().wait_ready()
        for start in range(0, 40, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=start % 10 == 0)
        cluster.wait_out()
        cluster.send(cluster.batch(50, STATIONS))
        assert str(cluster.finish()) == "41 complete, 0 partial, 0 copies, 0 late"


def test_source_messages_are_found_again_as_far_as_they_are_there(kafka_broker: SharedBroker, tmp_path: Path) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:
        large = b"x" * 5_000_000
        cluster.send_raw(cluster.source, b"0", b"1", large, b"3", key=b"key")
        settings = Settings(broker=kafka_broker.url, source_topics=(cluster.source,))

        async def find() -> dict[int, InMessage]:
            async with admin_client(kafka_broker.bootstrap) as admin:
                await admin.delete_records({TopicPartition(cluster.source, 0): RecordsToDelete(1)})
            sources = [Source(cluster.source, 0, offset) for offset in (3, 0, 2, 4)]
            return {source.offset: message for source, message in (await find_sources(settings, sources)).items()}

        found = asyncio.run(find())
        assert {offset: (message.key, message.value) for offset, message in found.items()} == {
            2: (b"key", large),
            3: (b"key", b"3"),
        }


def test_while_a_fetch_waits_at_the_broker_what_is_asked_and_what_comes_is_answered_at_once(
    kafka_broker: SharedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_thread, "FETCH_WAIT_MS", 60_000)  # longer than this test may take
    places = [TopicPartition("awaited", 0), TopicPartition("awaited", 1)]
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread.app = SimpleNamespace(conf=SimpleNamespace(consumer_group_instance_id=None), settings=Settings())
    thread.log_starts, thread.ends = {}, {}
    settings = Settings(broker=kafka_broker.url)

    async def ask_and_read() -> None:
        async with admin_client(kafka_broker.bootstrap) as admin, reading(settings) as consumer:
            await create_and_wait(admin, [TopicSpec("awaited", 2, 1, {}, exact=True)], patience=60.0)
            thread._consumer = consumer
            consumer._client.send = thread._noting(consumer._client.send)
            consumer.assign(places)
            while not consumer._fetcher._in_flight:
                await consumer.getmany(timeout_ms=20)
            async with asyncio.timeout(30), AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap) as producer:
                assert await consumer.end_offsets(places) == dict.fromkeys(places, 0)
                await producer.send_and_wait("awaited", b"here", partition=1)
                assert (await consumer.getone()).value == b"here"

    asyncio.run(ask_and_read())


def test_who_is_cancelled_while_it_connects_leaves_no_connection_open(
    kafka_broker: SharedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_GRACE", 240.0)  # a busy broker takes its time
    settings = Settings(broker=kafka_broker.url)

    async def look() -> None:
        async with reading(settings) as consumer:
            await consumer.topics()

    async def cancel_at_each_moment() -> None:
        for moment in range(100):
            task = asyncio.get_running_loop().create_task(look())
            await asyncio.sleep(moment * 0.001)
            task.cancel()
            await asyncio.wait([task])

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(cancel_at_each_moment())
        gc.collect()
    assert [str(warning.message) for warning in told if warning.category is ResourceWarning] == []
