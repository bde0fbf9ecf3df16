"""One test's share of the session's Kafka: topics and app id of its own, workers, what is sent and what comes out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete

from app.devbroker.config import STORAGE
from app.kafka.topics import TopicSpec, create_and_wait, partition_counts
from tests.integration.support.background import Background
from tests.integration.support.data import SentBatch, batch_of
from tests.integration.support.reading import Collector, Received, admin_client, committed_offsets, end_offsets
from tests.integration.support.reconcile import Report, reconcile
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import WARM_APP, Program, WorkerProcess
from tests.ports import own_port
from tests.record_batches import Builder, Name
from tests.shared_brokers import Broker

__all__ = ["Cluster"]

LARGEST = 64 * 1024 * 1024
BAD_SIGNS = ("Traceback (most", "never retrieved", "were not delivered", "nclosed", "this is a bug")


_MADE: Counter[str] = Counter()  # by test


def _own_name() -> str:
    """A name that no other test's share has, and this one has in each run: so do the partitions of its batch ids."""
    test = os.environ["PYTEST_CURRENT_TEST"]
    _MADE[test] += 1
    return hashlib.sha256(f"{test} {_MADE[test]}".encode()).hexdigest()[:10]


class Cluster:
    """Settings are given without their prefix: `batch_timeout="2"`."""

    def __init__(self, broker: Broker, folder: Path, *, partitions: int = 4, source_partitions: int = 4) -> None:
        name = _own_name()
        self.broker = broker
        self.folder = folder
        self.app_id = f"app-{name}"
        self.source = f"source-{name}"
        self.output = f"out-{name}"
        self.late = f"{self.app_id}-late"
        self.dead_letters = f"{self.app_id}-dead-letter"
        self.settings = {
            "broker": broker.url,
            "app_id": self.app_id,
            "source_topics": self.source,
            "output_topic": self.output,
            "partitions": str(partitions),
            "callback": "tests.integration.support.model:callback",
            # All that is not to run out of time has what a busy machine needs, and more than a test waits for anything.
            "batch_timeout": "1000",
            "station_timeout": "1200",
            "max_batch_age": "1200",
        }
        self.sent: dict[str, SentBatch] = {}
        self._turns: Counter[str] = Counter()
        self.workers: list[WorkerProcess] = []
        self._loop = Background()
        self._producer: AIOKafkaProducer | None = None
        self._collector = Collector(broker.bootstrap, [self.output, self.late, self.dead_letters])
        self.create_topic(self.source, source_partitions, max_message_bytes=str(LARGEST))
        self._collecting = self._loop.start(self._collector.run())

    # -- topics and messages -----------------------------------------------------------------------------------------

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> None:
        """Create a topic; configuration keys with `_` for their dots."""
        own = {key.replace("_", "."): value for key, value in config.items()}

        async def create() -> None:
            async with admin_client(self.broker.bootstrap) as admin:
                await create_and_wait(admin, [TopicSpec(name, partitions, 1, own, exact=True)], patience=PATIENCE)

        self._loop.run(create())

    def delete_topic(self, name: str) -> None:
        """Delete a topic, wait until it is gone, and forget the producer that knows it.

        A broker takes messages for it for a moment after it has said that it is gone, until its folders are renamed.
        """

        async def delete() -> None:
            await self._forget_producer()
            async with admin_client(self.broker.bootstrap) as admin:
                await admin.delete_topics([name])
                while name in await admin.list_topics():  # noqa: ASYNC110 - the broker's answers lag behind
                    await asyncio.sleep(0.02)

        self._loop.run(delete())
        folders = self.broker.data / STORAGE
        own = re.compile(rf"{re.escape(name)}-\d+")
        wait_for(
            lambda: not any(own.fullmatch(folder.name) for folder in folders.iterdir()),
            lambda: f"{name} is gone from {folders}",
        )

    def delete_records(self, before: int, topic: str | None = None, partition: int = 0) -> None:
        """Have a partition, the source's first one unless told otherwise, begin at an offset, as retention does."""

        async def delete() -> None:
            async with admin_client(self.broker.bootstrap) as admin:
                await admin.delete_records({TopicPartition(topic or self.source, partition): RecordsToDelete(before)})

        self._loop.run(delete())

    def add_partitions(self, total: int) -> None:
        """Give the source more partitions, and forget the producer that knows how many it had."""

        async def add() -> None:
            await self._forget_producer()
            async with admin_client(self.broker.bootstrap) as admin:
                await admin.create_partitions({self.source: NewPartitions(total)})
                while (await partition_counts(admin)).get(self.source) != total:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)

        self._loop.run(add())

    def commit(self, topic: str, partition: int, offset: int) -> None:
        """Commit an offset for the group, which has no member."""

        async def commit() -> None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.broker.bootstrap, group_id=self.app_id, enable_auto_commit=False
            )
            async with consumer:
                consumer.assign([TopicPartition(topic, partition)])
                await consumer.commit({TopicPartition(topic, partition): offset})

        self._loop.run(commit())

    def batch(
        self, number: int, stations: Sequence[str], *, window: int = 1, headers: dict[str, str] | None = None
    ) -> SentBatch:
        """A batch for the source topic."""
        return batch_of(self.source, number, stations, window=window, headers=headers)

    def send(self, *batches: SentBatch) -> None:
        """Send batches to the source's partitions in turn, and wait until the broker has them. They are due out."""
        for batch in batches:
            assert batch.batch_id not in self.sent, "one message for each batch"
            self.sent[batch.batch_id] = batch
        self._loop.run(self._send([(self.source, None, batch.value, batch.headers) for batch in batches]))

    def send_steadily(self, batches: Sequence[SentBatch], pause: float) -> Future[None]:
        """Send batches one after the other in the background, `pause` seconds apart: a load."""
        self.sent.update({batch.batch_id: batch for batch in batches})

        async def send() -> None:
            for batch in batches:
                await self._send([(self.source, None, batch.value, batch.headers)])
                await asyncio.sleep(pause)

        return self._loop.submit(send())

    def send_in_transaction(self, *batches: SentBatch, commit: bool) -> None:
        """Send batches in one transaction.

        What is aborted stands in the topic all the same, and is read: `isolation.level` is `read_uncommitted`.
        """
        self.sent.update({batch.batch_id: batch for batch in batches})

        async def send() -> None:
            async with AIOKafkaProducer(
                bootstrap_servers=self.broker.bootstrap, transactional_id=uuid.uuid4().hex
            ) as producer:
                await producer.begin_transaction()
                for batch in batches:
                    await producer.send_and_wait(self.source, batch.value, partition=0)
                await (producer.commit_transaction() if commit else producer.abort_transaction())

        self._loop.run(send())

    def send_compressed(self, codec: str, *batches: SentBatch) -> None:
        """Send batches as one compressed record batch."""
        self.sent.update({batch.batch_id: batch for batch in batches})

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap, compression_type=codec) as producer:
                confirmed = [await producer.send(self.source, batch.value, partition=0) for batch in batches]
                await asyncio.gather(*confirmed)

        self._loop.run(send())

    def send_raw(self, topic: str, *values: bytes | None, key: bytes | None = None) -> None:
        """Send anything anywhere."""
        self._loop.run(self._send([(topic, key, value, ()) for value in values]))

    def send_named(self, topic: str, *messages: tuple[bytes, Sequence[bytes]], key: bytes | None = None) -> None:
        """Send values as one batch of records to the first partition, each with headers of these names, any bytes."""

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap) as producer:
                batch = producer.create_batch()
                batch._builder = Builder(2, 0, 0, -1, -1, 0, LARGEST)
                for value, names in messages:
                    batch.append(timestamp=None, key=key, value=value, headers=[(Name(name), b"x") for name in names])
                await (await producer.send_batch(batch, topic, partition=0))

        self._loop.run(send())

    def forget_producer(self) -> None:
        """Stop the producer, which knows what its topics held; the next message gets another one."""
        self._loop.run(self._forget_producer())

    async def _forget_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _send(
        self, messages: Sequence[tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]]
    ) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.broker.bootstrap, enable_idempotence=True, max_request_size=LARGEST
            )
            await self._producer.start()
        producer, confirmed = self._producer, []
        for topic, key, value, headers in messages:
            partition = None
            if key is None:  # the producer would roll dice
                there = sorted(await producer.partitions_for(topic))
                partition = there[self._turns[topic] % len(there)]
                self._turns[topic] += 1
            confirmed.append(await producer.send(topic, value, key=key, partition=partition, headers=list(headers)))
        await asyncio.gather(*confirmed)

    # -- workers -----------------------------------------------------------------------------------------------------

    def start(
        self,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        program: Program = WARM_APP,
    ) -> WorkerProcess:
        """Start a worker; see `WorkerProcess.wait_ready`."""
        own = self.settings | {"web_port": str(own_port())} | dict(settings or {})
        variables = {f"AGG_{key.upper()}": value for key, value in own.items()} | dict(environment or {})
        name = f"worker-{len(self.workers) + 1}"
        worker = WorkerProcess(self.folder, name, variables, int(own["web_port"]), program)
        self.workers.append(worker)
        return worker

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(worker.tail() for worker in self.workers)

    # -- what comes out ----------------------------------------------------------------------------------------------

    def outputs(self) -> list[Received]:
        """What has come out so far."""
        return self._collector.of(self.output)

    def out(self) -> set[str]:
        """The batches that have come out so far."""
        return {message.name for message in self.outputs()}

    def read_topic(self, topic: str) -> list[Received]:
        """All that stands in a topic now."""
        collector = Collector(self.broker.bootstrap, [topic])
        collecting = self._loop.start(collector.run())
        try:
            ends = self._loop.run(end_offsets(self.broker.bootstrap, [topic]))
            wait_for(lambda: collector.has_read(ends), f"{topic} is read to its end")
            return collector.of(topic)
        finally:
            collector.stop()
            self._loop.ended(collecting)

    def late_records(self) -> list[Received]:
        """The late topic so far."""
        return self._collector.of(self.late)

    def letters(self) -> list[Received]:
        """The dead-letter topic so far."""
        return self._collector.of(self.dead_letters)

    def wait_out(self, batches: Sequence[SentBatch] | None = None, within: float = PATIENCE) -> None:
        """Wait until these batches, or all, have come out."""
        due = set(self.sent) if batches is None else {batch.batch_id for batch in batches}
        wait_for(
            lambda: due <= self.out(),
            lambda: f"{len(due - self.out())} of {len(due)} batches are not out\n{self.logs()}",
            within,
        )

    def wait_out_count(self, count: int, within: float = PATIENCE) -> None:
        """Wait until so many batches have come out."""
        wait_for(lambda: len(self.out()) >= count, lambda: f"{len(self.out())} of {count} out\n{self.logs()}", within)

    def behind(self, topics: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
        """Partitions of these topics, or of all that are read, not acknowledged to their end: (committed, end)."""
        topics = topics or [self.source, f"{self.app_id}-station-events", f"{self.app_id}-batch-events"]
        ends = self._loop.run(end_offsets(self.broker.bootstrap, topics))
        done = self._loop.run(committed_offsets(self.broker.bootstrap, self.app_id))
        return {
            f"{tp.topic}[{tp.partition}]": (done.get(tp, 0), end) for tp, end in ends.items() if done.get(tp, 0) < end
        }

    def committed(self, topic: str) -> dict[int, int]:
        """What is acknowledged of a topic, by partition."""
        done = self._loop.run(committed_offsets(self.broker.bootstrap, self.app_id))
        return {tp.partition: offset for tp, offset in done.items() if tp.topic == topic}

    def wait_settled(self, within: float = PATIENCE) -> None:
        """Wait until everything that has been read or made is acknowledged."""
        wait_for(lambda: not self.behind(), lambda: f"still behind: {self.behind()}\n{self.logs()}", within)

    def read_to_end(self) -> None:
        """Wait until all that stands in the output, late and dead-letter topics has been read."""
        ends = self._loop.run(end_offsets(self.broker.bootstrap, [self.output, self.late, self.dead_letters]))
        wait_for(lambda: self._collector.has_read(ends), "the outputs are read to their end")

    def finish(self, *, within: float = PATIENCE, copies_allowed: bool = False, clean_logs: bool = True) -> Report:
        """Wait until all is out and acknowledged, stop the workers, and reconcile what came out with what was sent."""
        self.wait_out(within=within)
        self.wait_settled(within)
        for worker in self.workers:
            if worker.running:
                worker.terminate()
        self.read_to_end()
        if clean_logs:
            self.assert_clean_logs()
        return reconcile(
            self.sent.values(),
            outputs=self.outputs(),
            late=self.late_records(),
            dead_letters=[one for one in self.letters() if one.header("reason") == "station-failed"],
            copies_allowed=copies_allowed,
        )

    def assert_clean_logs(self) -> None:
        """No worker has said anything that a bug makes it say."""
        for worker in self.workers:
            signs = [sign for sign in BAD_SIGNS if sign in worker.log]
            assert not signs, f"{signs}\n{worker.tail()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that is left."""
        for worker in self.workers:
            worker.kill()
        self._collector.stop()
        self._loop.ended(self._collecting)
        if self._producer is not None:
            self._loop.run(self._producer.stop())
        self._loop.close()
