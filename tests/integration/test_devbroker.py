"""The development broker, really run."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from app.devbroker import DevBroker, DevBrokerError, folder
from tests.further import further
from tests.shared_brokers import Broker, SharedBroker
from tests.topic_creation import CREATES_TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.kafka

PATIENCE = 240.0  # seconds until a condition that is waited for counts as never coming true
LARGEST = 60 * 1024 * 1024  # bytes, under the broker's 64 MiB with room for what is around a message

STARTER = """
import sys, threading, time
from app.devbroker import DevBroker
broker = DevBroker()
starter = threading.Thread(target=broker.start)  # the broker must outlive the thread that starts it
starter.start()
starter.join()
print(broker.pid, broker.data, flush=True)
time.sleep(600)
"""


def produce(broker: Broker, topic: str, value: bytes) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, max_request_size=64 * 1024 * 1024) as producer:
            await producer.send_and_wait(topic, value)

    asyncio.run(send())


def first_value(broker: Broker, topic: str) -> bytes | None:
    async def receive() -> bytes | None:
        async with AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=2 * LARGEST,
        ) as consumer:
            record = await asyncio.wait_for(consumer.getone(), PATIENCE)
            value: bytes | None = record.value
            return value

    return asyncio.run(receive())


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not (reached := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return reached


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.chaos
def test_a_message_survives_a_killed_broker() -> None:
    with DevBroker(overrides=CREATES_TOPICS) as broker:
        before = (broker.pid, broker.bootstrap)
        produce(broker, "survivors", b"still here")
        broker.kill()
        assert gone(before[0])
        broker.start()
        assert broker.pid != before[0]
        assert broker.bootstrap == before[1]
        assert first_value(broker, "survivors") == b"still here"


def test_a_data_folder_keeps_messages_from_one_broker_to_the_next(tmp_path: Path) -> None:
    data = tmp_path / "数据, of a station"
    with DevBroker(data, overrides=CREATES_TOPICS) as broker:
        produce(broker, "kept", b"for later")
    with DevBroker(data, overrides=CREATES_TOPICS) as broker:
        assert first_value(broker, "kept") == b"for later"
        mapped = Path(f"/proc/{broker.pid}/maps").read_text()
        assert re.search(r"/classes-\w+\.jsa$", mapped, re.MULTILINE)  # or each start takes twice as long


@pytest.mark.chaos
def test_a_temporary_folder_is_gone_after_stop() -> None:
    broker = DevBroker()
    broker.start()
    data, pid = broker.data, broker.pid
    assert (data / "logs" / "broker.log").stat().st_size > 0
    broker.stop()
    assert gone(pid)
    assert not data.exists()


@pytest.mark.chaos
def test_a_broker_killed_by_its_pid_can_be_started_again() -> None:
    with DevBroker() as broker:
        os.kill(broker.pid, signal.SIGKILL)
        assert broker.wait(PATIENCE) == 128 + signal.SIGKILL
        with pytest.raises(DevBrokerError, match="not running"):
            _ = broker.pid
        broker.start()
        assert broker.running


@pytest.mark.chaos
def test_the_broker_and_its_temporary_data_go_with_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, data = parent.stdout.readline().split()
        assert not gone(int(pid))
        parent.kill()
    assert eventually(lambda: gone(int(pid)))
    assert eventually(lambda: not Path(data).exists())


@pytest.mark.parametrize("number", [*further(signal.SIGINT), signal.SIGTERM])
def test_the_command_line_prints_the_address_and_ends_on_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.devbroker", "run", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert address.startswith("kafka://127.0.0.1:")
    assert process.returncode == 0
    assert "has been stopped" in said
    with DevBroker(tmp_path, int(address.rpartition(":")[2])) as broker:  # port and folder are free again
        assert broker.url == address


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(DevBrokerError, match=f"port {port} of 127.0.0.1 is taken"), DevBroker(port=port):
            pass


def test_a_taken_data_folder_is_named(kafka_broker: SharedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOCK_WITHIN", 0.0)
    with (
        pytest.raises(DevBrokerError, match=f"another Kafka is using {kafka_broker.data}"),
        DevBroker(kafka_broker.data),
    ):
        pass


def test_what_kafka_says_against_a_setting_is_in_the_error() -> None:
    with pytest.raises(DevBrokerError, match=r"num\.io\.threads"), DevBroker(overrides={"num.io.threads": "many"}):
        pass


@pytest.mark.chaos
def test_a_broker_that_is_not_ready_in_time_is_ended_and_its_log_shown(tmp_path: Path) -> None:
    broker = DevBroker(tmp_path)
    broker.start()
    broker.stop()
    with pytest.raises(DevBrokerError, match=r"not ready on 127.0.0.1:\d+ within 0.3 s"):
        broker.start(timeout=0.3)
    assert not broker.running


def test_only_this_machine_can_connect(kafka_broker: SharedBroker) -> None:
    # A server on all addresses would answer on each of 127.0.0.0/8.
    with pytest.raises(OSError, match=r"refused|assign|unreachable|timed out"):
        socket.create_connection(("127.0.0.2", kafka_broker.port), timeout=2)


def test_a_message_of_sixty_megabytes_passes(kafka_broker: SharedBroker) -> None:
    value = os.urandom(1024) * (LARGEST // 1024)
    produce(kafka_broker, "large", value)
    assert first_value(kafka_broker, "large") == value


def test_a_topic_that_is_asked_for_is_not_made(strict_broker: SharedBroker) -> None:
    # A worker asks for its source topic as soon as it starts: it would be made with one partition.
    async def names_after_asking(broker: Broker) -> list[str]:
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="worker")
        await consumer.start()
        try:
            consumer.subscribe(["asked-for"])
            await consumer._client.set_topics(["asked-for"])  # the answer is there
            assert consumer.partitions_for_topic("asked-for") is None
        finally:
            await consumer.stop()
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            return [name for name in await admin.list_topics() if name == "asked-for"]
        finally:
            await admin.close()

    assert asyncio.run(names_after_asking(strict_broker)) == []


@pytest.mark.chaos
def test_overrides_win(tmp_path: Path) -> None:
    with DevBroker(tmp_path, overrides={"num.partitions": 3, **CREATES_TOPICS}) as broker:
        produce(broker, "made-by-kafka", b"x")
    assert sorted(path.name for path in (tmp_path / "storage").glob("made-by-kafka-*")) == [
        "made-by-kafka-0",
        "made-by-kafka-1",
        "made-by-kafka-2",
    ]
