"""What the benchmark needs of Kafka and of processes: topics, preloaded messages, a worker, what came out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

import orjson
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.kafka import topics
from tests.integration.support.worker import fetch

PARTITIONS = 8
READY_SECONDS = 60.0
STOP_SECONDS = 20.0  # from SIGTERM to SIGKILL
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Output:
    """An output message: when the broker appended it (Unix seconds), its batch id and its meta."""

    appended_at: float
    batch_id: str
    meta: dict[str, object]


@dataclass(frozen=True, slots=True)
class Taken:
    """Outputs that were waited for: the stations in them, when the broker appended the last one (Unix seconds)."""

    stations: int
    appended_at: float


async def create_topics(servers: str, names: Sequence[str]) -> None:
    """Topics whose records carry the time of their append: latency is measured from append to append."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(64 * 1024 * 1024)}
    await topics.create_topics(admin, [topics.TopicSpec(name, PARTITIONS, 1, config, exact=True) for name in names])
    await admin.close()


def source_message(number: int, stations: int) -> bytes:
    """A batch of one record a station, with a sendTime of its own."""
    at = 1762218000 + number
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
    return orjson.dumps(
        [{"stationId": f"S{n:05d}", "sendTime": text, "outputPowerPerStationAvg": 37.02} for n in range(stations)]
    )


@asynccontextmanager
async def producing(servers: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for source messages."""
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, max_batch_size=1024 * 1024, max_request_size=64 * 1024 * 1024
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def preload(servers: str, topic: str, batches: int, stations: int) -> None:
    """Put source messages into a topic, spread over its partitions."""
    async with producing(servers) as producer:
        sent = [
            await producer.send(topic, source_message(number, stations), partition=number % PARTITIONS)
            for number in range(batches)
        ]
        await asyncio.gather(*sent)


class Outputs:
    """Reads an output topic from its beginning."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers, auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 1024 * 1024
        )

    async def read(self, count: int, *, seconds: float) -> list[Output]:
        """The first `count` outputs, or what has come within `seconds`."""
        await self._consumer.start()
        try:
            self._consumer.assign([TopicPartition(self._topic, number) for number in range(PARTITIONS)])
            outputs: list[Output] = []
            give_up_at = time.monotonic() + seconds
            while len(outputs) < count and time.monotonic() < give_up_at:
                for records in (await self._consumer.getmany(timeout_ms=100)).values():
                    outputs += [self._output(record.value, record.timestamp / 1000) for record in records]
            return outputs
        finally:
            await self._consumer.stop()

    @staticmethod
    def _output(value: bytes, appended_at: float) -> Output:
        payload = orjson.loads(value)
        return Output(appended_at, payload["batch_id"], payload["meta"])


class Following:
    """Reads an output topic as it grows, whoever writes it."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=8 * 1024 * 1024,
            fetch_max_wait_ms=50,
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._topic, number) for number in range(PARTITIONS)])
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._consumer.stop()

    async def take(self, times: Collection[int], *, check: Callable[[], None], seconds: float) -> Taken:
        """Wait for the outputs of the batches of these times (Unix seconds), and pass over all others.

        Args:
            times: the batches'; the first output of each counts.
            check: raises when they can't come any more.
            seconds: how long to wait.

        Raises:
            TimeoutError: they have not come by then.
        """
        left, stations, appended_at = set(times), 0, 0.0
        give_up_at = time.monotonic() + seconds
        while left:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    output = orjson.loads(record.value)
                    of_batch = int(output["batch_id"].rpartition("_")[2])
                    if of_batch in left:
                        left.remove(of_batch)
                        stations += output["station_count"]
                        appended_at = max(appended_at, record.timestamp / 1000)
            check()
            if time.monotonic() > give_up_at:
                message = f"{len(times) - len(left)} of {len(times)} outputs within {seconds:g} s"
                raise TimeoutError(message)
        return Taken(stations, appended_at)


async def end_of(servers: str, topic: str) -> int:
    """Messages in a topic so far."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
        return sum(ends.values())
    finally:
        await consumer.stop()


async def bytes_of(servers: str, topics: Sequence[str]) -> int:
    """Bytes of keys and values that have been written to topics."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        left = {tp for tp in partitions if ends[tp]}
        total = 0
        while left:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                total += sum(len(record.key or b"") + len(record.value or b"") for record in records)
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
        return total
    finally:
        await consumer.stop()


def cpu_of(pid: int) -> float:
    """Return the CPU seconds so far, user and system, of a process and those that it has started."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


class Process:
    """A process whose CPU time is counted."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, env={**os.environ, **env}, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
            )
        self._log = log

    def cpu(self) -> float:
        """CPU seconds so far, with those of the processes that it has started."""
        return cpu_of(self._process.pid)

    def resident(self) -> int:
        """Resident memory in bytes."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def peak(self) -> int:
        """The most resident memory so far, in bytes; on Linux only."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def check(self) -> None:
        """Raise with the log's end when the process has ended."""
        if self._process.poll() is not None:
            message = f"the process ended with {self._process.returncode}:\n{self._log.read_text()[-3000:]}"
            raise RuntimeError(message)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def worker_command() -> list[str]:
    """Return the command that starts a worker, with the log level of the README."""
    return [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info"]


def worker_settings(broker: str, *, app_id: str, source: str, output: str, port: int) -> dict[str, str]:
    """Return the settings of a worker with the trivial callback."""
    return {
        "AGG_BROKER": broker,
        "AGG_APP_ID": app_id,
        "AGG_SOURCE_TOPICS": source,
        "AGG_OUTPUT_TOPIC": output,
        "AGG_CALLBACK": "tests.bench.model:callback",
        "AGG_WEB_PORT": str(port),
        "AGG_BATCH_TIMEOUT": os.environ.get("BENCH_TIMEOUT", "60"),
    }


class Worker(Process):
    """A worker with the trivial callback."""

    def __init__(
        self,
        broker: str,
        *,
        app_id: str,
        source: str,
        output: str,
        port: int,
        log: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            worker_command(),
            worker_settings(broker, app_id=app_id, source=source, output=output, port=port) | dict(settings or {}),
            log,
        )
        self.url = f"http://127.0.0.1:{port}"

    async def ready(self) -> float:
        """Wait until the worker is ready; returns the seconds that it took."""
        started = time.monotonic()
        while time.monotonic() - started < READY_SECONDS:
            self.check()
            if await asyncio.to_thread(self._is_ready):
                return time.monotonic() - started
            await asyncio.sleep(0.05)
        message = f"the worker was not ready within {READY_SECONDS:g} s"
        raise TimeoutError(message)

    def _is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/readyz", 1)[0] == HTTPStatus.OK
        except OSError:
            return False
