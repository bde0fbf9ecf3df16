"""`faust -A app send` and `check` as a user runs them, and the demo, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.demo.sample import PUSHES
from app.devbroker.config import port_is_free
from app.kafka.topics import TopicSpec, create_and_wait, ensure_topics
from app.settings import Settings, load_settings
from tests.further import further
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import clean_environment, fetch
from tests.ports import own_port
from tests.shared_brokers import Broker, SharedBroker
from tests.warm_python import run_python

pytestmark = pytest.mark.kafka

LINES = [b'{"stationId": "A", "sendTime": "2025-11-04 09:00:00"}', b'[{"stationId": "B", "sendTime": 1762246800}]']

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def topic() -> str:
    return f"commands-{uuid.uuid4()}"


@pytest.fixture
def run(kafka_broker: SharedBroker, topic: str, tmp_path: Path) -> Run:
    """Run `faust -A app ...`, with a source topic and app id of the test's own."""

    def run(*arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        own = {"SOURCE_TOPICS": topic, "APP_ID": f"app-{topic}", "OUTPUT_TOPIC": f"out-{topic}", "PARTITIONS": "2"}
        env = clean_environment(**({"BROKER": kafka_broker.url} | own | settings))
        command = ["faust", "-A", "app", *arguments]
        return run_python(command, env=env, cwd=tmp_path, stdin=stdin, timeout=PATIENCE)

    return run


def on_cluster(broker: Broker, work: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            return await work(admin)
        finally:
            await admin.close()

    return asyncio.run(connected())


def create(broker: Broker, name: str, partitions: int = 1, **config: str) -> None:
    own = {key.replace("_", "."): value for key, value in config.items()}
    spec = TopicSpec(name, partitions, 1, own, exact=True)
    on_cluster(broker, lambda admin: create_and_wait(admin, [spec], patience=PATIENCE))


def topics_of(broker: Broker) -> list[str]:
    names: list[str] = on_cluster(broker, lambda admin: admin.list_topics())
    return names


def messages_of(broker: Broker, topic: str) -> list[Any]:
    """What is in partition 0."""

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            return [await consumer.getone() for _ in range(end)]
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_commands_are_listed_without_any_setting(tmp_path: Path) -> None:
    env = clean_environment()
    command = [sys.executable, "-m", "faust", "-A", "app", "--help"]
    listed = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True).stdout.decode()

    assert "Send source messages, one a line of FILE." in listed
    assert "Verify settings, functions, broker and topics." in listed
    assert list(tmp_path.iterdir()) == []


def test_send_sends_each_line_in_order_with_key_and_headers(
    run: Run, kafka_broker: SharedBroker, topic: str, tmp_path: Path
) -> None:
    create(kafka_broker, topic)
    (tmp_path / "lines").write_bytes(b"\n".join([LINES[0], b"", b"  ", LINES[1] + b"\r"]))

    done = run("send", "lines", "--key", "k", "--header", "batch-timeout=2.5", "--header", "batch-id=a=b")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"2 messages sent to {topic}\n".encode(), b"")
    messages = messages_of(kafka_broker, topic)
    assert [message.value for message in messages] == LINES
    assert {message.key for message in messages} == {b"k"}
    assert messages[0].headers == (("batch-timeout", b"2.5"), ("batch-id", b"a=b"))


def test_send_reads_standard_input_to_a_topic_that_is_named(run: Run, kafka_broker: SharedBroker, topic: str) -> None:
    create(kafka_broker, f"{topic}-other")

    done = run("send", "-", "--topic", f"{topic}-other", stdin=LINES[0])

    assert (done.returncode, done.stdout) == (0, f"1 message sent to {topic}-other\n".encode())
    assert [message.value for message in messages_of(kafka_broker, f"{topic}-other")] == LINES[:1]


def test_send_names_the_lines_that_are_no_source_message_and_sends_the_rest(
    run: Run, kafka_broker: SharedBroker, topic: str
) -> None:
    create(kafka_broker, topic)

    done = run("send", "-", stdin=b"\n".join([LINES[0], b'{"stationId":', LINES[1], b"7"]))

    assert done.returncode == 1
    assert done.stdout == f"2 messages sent to {topic}\n".encode()
    first, second, count = done.stderr.decode().splitlines()
    assert first.startswith("line 2: not sent: not JSON")
    assert second.startswith("line 4: not sent: none of the four forms: a number")
    assert count == "2 lines not sent"
    assert len(messages_of(kafka_broker, topic)) == 2


def test_send_sends_any_line_when_it_is_told_to(run: Run, kafka_broker: SharedBroker, topic: str) -> None:
    create(kafka_broker, topic)

    assert run("send", "-", "--unchecked", stdin=b"no JSON").returncode == 0
    assert [message.value for message in messages_of(kafka_broker, topic)] == [b"no JSON"]


def test_send_names_a_line_that_the_broker_refuses(
    run: Run, kafka_broker: SharedBroker, topic: str, tmp_path: Path
) -> None:
    create(kafka_broker, topic, max_message_bytes="1000")
    large = orjson.dumps([{"stationId": "A" * 2000}])
    (tmp_path / "lines").write_bytes(b"\n".join([LINES[0], large]))

    # One at a time, as from standard input: together they would be one request, and refused together.
    done = run("send", "-", stdin=(tmp_path / "lines").read_bytes())

    assert done.returncode == 1
    assert done.stdout == f"1 message sent to {topic}\n".encode()
    assert b"line 2: not sent: " in done.stderr
    assert b"MessageSizeTooLarge" in done.stderr


def test_send_creates_no_topic_unless_it_is_told_to(run: Run, kafka_broker: SharedBroker, topic: str) -> None:
    done = run("send", "-", stdin=LINES[0])

    assert (done.returncode, done.stdout) == (1, f"0 messages sent to {topic}\n".encode())
    assert f"there is no topic {topic}" in done.stderr.decode()
    assert topic not in topics_of(kafka_broker)

    assert run("send", "-", "--create", "--key", "k", stdin=LINES[0], PARTITIONS="1").returncode == 0
    assert [message.value for message in messages_of(kafka_broker, topic)] == LINES[:1]


@pytest.mark.parametrize("indent", [*further(0), 2])
def test_send_sends_nothing_of_a_document_over_several_lines_and_says_why(
    run: Run, kafka_broker: SharedBroker, topic: str, tmp_path: Path, indent: int
) -> None:
    create(kafka_broker, topic)
    document = {"realTimeData": [orjson.loads(LINES[0]), orjson.loads(LINES[1])[0]]}
    text = json.dumps(document, indent=indent)
    (tmp_path / "pretty.json").write_text(text)

    for argument, stdin in (("pretty.json", b""), ("-", text.encode())):
        done = run("send", argument, stdin=stdin)
        assert (done.returncode, done.stdout) == (1, f"0 messages sent to {topic}\n".encode())
        assert done.stderr.decode() == (
            f"lines 1 to {len(text.splitlines())} are one JSON document; a message has to be one line: "
            "`python -m json.tool --compact FILE` makes it one\n"
        )
    assert messages_of(kafka_broker, topic) == []

    command = [sys.executable, "-m", "json.tool", "--compact", "pretty.json"]
    compact = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    assert run("send", "-", stdin=compact).returncode == 0
    assert orjson.loads(messages_of(kafka_broker, topic)[0].value) == document


@pytest.mark.parametrize("content", ["binary", *further("csv", "log")])
def test_send_stops_after_a_few_lines_of_a_file_of_another_kind(
    run: Run, kafka_broker: SharedBroker, topic: str, tmp_path: Path, content: str
) -> None:
    create(kafka_broker, topic)
    made = {
        "binary": b"\x7fELF" + Random(1).randbytes(100_000),  # noqa: S311 - the same at each run
        "csv": b"station,power\n" + b"".join(b"A,%d\n" % number for number in range(10_000)),
        "log": LINES[0] + b"\n" + b'{"level": "info", "message": "started"}\n' * 10_000,
    }
    (tmp_path / "file").write_bytes(made[content])

    done = run("send", "file")

    sent = 1 if content == "log" else 0
    assert done.returncode == 1
    assert done.stdout == f"{sent} message{'' if sent else 's'} sent to {topic}\n".encode() or sent
    *named, reason, count = done.stderr.decode().splitlines()
    assert len(named) == 10
    assert all(line.isprintable() and ": not sent: " in line and len(line) < 600 for line in named)
    assert "10 lines in a row are no message" in reason
    assert count == "10 lines not sent"
    assert len(messages_of(kafka_broker, topic)) == sent


def test_send_names_a_file_that_cant_be_read_and_a_line_without_an_end(
    run: Run, kafka_broker: SharedBroker, topic: str
) -> None:
    create(kafka_broker, topic)

    memory, zeros = run("send", "/proc/self/mem"), run("send", "/dev/zero")

    assert (memory.returncode, memory.stderr.decode()) == (1, "[Errno 5] Input/output error\n")
    assert zeros.returncode == 1
    assert zeros.stderr.startswith(b"line 1: more than 67108864 bytes")


def test_send_says_how_many_partitions_the_topic_that_it_makes_has(
    run: Run, kafka_broker: SharedBroker, topic: str
) -> None:
    first, second = (run("send", "-", "--create", stdin=LINES[0], PARTITIONS="3") for _ in range(2))
    fewer = run("send", "-", "--create", stdin=LINES[0], PARTITIONS="4")
    plain = run("send", "-", stdin=LINES[0], PARTITIONS="4")

    assert first.stdout.decode() == f"topic {topic} created with 3 partitions\n1 message sent to {topic}\n"
    assert (second.returncode, second.stdout.decode(), second.stderr) == (0, f"1 message sent to {topic}\n", b"")
    assert fewer.stderr.decode() == (
        f"topic {topic} is there already, with 3 partitions and not AGG_PARTITIONS=4: no more than 3 workers can read"
        " it side by side\n"
    )
    assert (fewer.returncode, plain.returncode, plain.stderr) == (0, 0, b"")


COMMANDS = [
    ["send", "lines"],
    ["dead-letters"],
    *further(
        ["check"],
        ["compare", "out", "out"],
        ["batches"],
        ["send", "lines", "--topic", "not-there"],
        ["dead-letters", "--replay"],
        ["batches", "--limit", "1", "--json"],
    ),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_whose_reader_has_gone_is_quiet(
    kafka_broker: SharedBroker, topic: str, tmp_path: Path, command: list[str]
) -> None:
    create(kafka_broker, topic)
    asyncio.run(ensure_topics(own_settings(kafka_broker, topic), patience=PATIENCE))
    (tmp_path / "lines").write_bytes(LINES[0] + b"\n7\n" + LINES[1] + b"\n8\n")
    own = {"SOURCE_TOPICS": topic, "APP_ID": f"app-{topic}", "OUTPUT_TOPIC": f"out-{topic}", "PARTITIONS": "2"}
    env = clean_environment(
        BROKER=kafka_broker.url, WEB_PORT=str(own_port()), CALLBACK="app.demo.model:callback", **own
    )
    arguments = [f"out-{topic}" if word == "out" else word for word in command]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "faust", "-A", "app", *arguments],
            env=env,
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
        )
        deaf = subprocess.run(
            [sys.executable, "-m", "faust", "-A", "app", *arguments],
            env=env,
            cwd=tmp_path,
            stdout=writer,
            stderr=writer,
            check=False,
            timeout=PATIENCE,
        )
    finally:
        os.close(writer)

    said = done.stderr.decode()
    assert not any(word in said for word in ("Traceback", "BrokenPipe", "Exception ignored", "Broken pipe")), said
    assert done.returncode in {0, 1}
    assert deaf.returncode == done.returncode
    if command == ["send", "lines"]:
        partitions = [messages_of(kafka_broker, topic)]
        assert [message.value for messages in partitions for message in messages] == LINES * 2


@pytest.mark.parametrize(
    "command",
    [
        ["send", "-"],
        ["check"],
        *further(["dead-letters"], ["dead-letters", "--replay"], ["compare", "a", "b"]),
    ],
)
def test_broker_that_is_away_is_said_once_and_without_a_traceback(run: Run, command: list[str]) -> None:
    away = f"127.0.0.1:{own_port()}"

    done = run(*command, stdin=LINES[0], BROKER=f"kafka://{away}", CALLBACK="app.demo.model:callback")

    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 1
    assert said.count(f"no broker answers at {away}: start it, or set AGG_BROKER") == 1
    assert "Traceback" not in said


def test_header_without_a_value_is_a_usage_error(run: Run) -> None:
    done = run("send", "-", "--header", "batch-timeout")
    assert done.returncode == 2
    assert "'batch-timeout' is not of the form NAME=VALUE" in done.stderr.decode()


def test_check_is_content_with_what_a_worker_made(run: Run, kafka_broker: SharedBroker, topic: str) -> None:
    create(kafka_broker, topic, 5)
    asyncio.run(ensure_topics(own_settings(kafka_broker, topic), patience=PATIENCE))

    done = run("check", CALLBACK="app.demo.model:callback")

    assert done.returncode == 0, done.stdout
    assert done.stderr == b""
    assert f"{topic}" in done.stdout.decode()
    assert "source topic: 5 partitions" in done.stdout.decode()
    assert done.stdout.decode().endswith("All is well.\n")


def test_check_names_all_that_is_wrong_and_creates_nothing(run: Run, kafka_broker: SharedBroker, topic: str) -> None:
    create(kafka_broker, f"app-{topic}-late", 3)
    create(kafka_broker, f"out-{topic}", 3, max_message_bytes="1000")

    def mine() -> list[str]:
        return sorted(name for name in topics_of(kafka_broker) if topic in name)

    before = mine()

    done = run("check", CALLBACK="no_such_module:callback")

    wrong = [line for line in done.stdout.decode().splitlines() if line.startswith("WRONG")]
    assert done.returncode == 2
    assert [line.split()[1] for line in wrong] == ["AGG_CALLBACK", topic, f"app-{topic}-late", f"out-{topic}"]
    assert done.stdout.decode().endswith("4 wrong\n")
    assert mine() == before


def own_settings(broker: Broker, topic: str) -> Settings:
    return load_settings(
        {
            "AGG_BROKER": broker.url,
            "AGG_SOURCE_TOPICS": topic,
            "AGG_APP_ID": f"app-{topic}",
            "AGG_OUTPUT_TOPIC": f"out-{topic}",
            "AGG_PARTITIONS": "2",
        },
        env_file=None,
    )


def demo_environment(broker: Broker, topic: str, folder: Path, **more: str) -> dict[str, str]:
    own = {"SOURCE_TOPICS": topic, "APP_ID": f"app-{topic}", "OUTPUT_TOPIC": f"out-{topic}", "PARTITIONS": "2"}
    env = clean_environment(BROKER=broker.url, **own, **{"BATCH_TIMEOUT": "2"} | more)
    return env | {"ONCE": "1", "DEVBROKER_CACHE": str(folder), "PYTHONUNBUFFERED": "1"}


@pytest.mark.chaos  # CI runs `make run ONCE=1` on a fresh Debian, too
def test_demo_ends_with_each_batch_out_once(kafka_broker: SharedBroker, topic: str, tmp_path: Path) -> None:
    # All but the slow station are in time, on a busy machine too.
    env = demo_environment(kafka_broker, topic, tmp_path, BATCH_TIMEOUT="8")

    done = subprocess.run(
        [sys.executable, "-m", "app.demo"], env=env, cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False
    )

    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    batches = [line for line in said.splitlines() if "  batch  " in line]
    assert len({line.split()[2] for line in batches}) == len(batches) == 12
    assert sum("failed: PKC07" in line for line in batches) == 2
    assert any("partial" in line and "missing: DUN05" in line for line in batches)
    assert all("empty: DUN11 DUN24 DUN26" in line for line in batches)
    assert "12 batches sent, 12 came out" in said
    assert "late result" in said
    assert "dead letter" in said


@pytest.mark.parametrize(
    ("number", "code"),
    [*further((signal.SIGTERM, 130), (signal.SIGINT, 130)), (signal.SIGKILL, -9)],
)
def test_demo_that_is_ended_leaves_no_worker_behind(
    kafka_broker: SharedBroker, topic: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    port = own_port()
    env = demo_environment(kafka_broker, topic, tmp_path, WEB_PORT=str(port))
    command = [sys.executable, "-m", "app.demo"]
    complaints = tmp_path / "complaints"

    with (
        complaints.open("wb") as stderr,
        subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=stderr) as demo,
    ):
        assert demo.stdout is not None
        assert any(b"  batch  " in line for line in demo.stdout), complaints.read_text()
        assert not port_is_free(port)
        demo.send_signal(number)
        demo.communicate(timeout=PATIENCE)

    assert demo.returncode == code
    assert complaints.read_text() == ""
    wait_for(lambda: port_is_free(port), "the worker ends")


def test_demo_goes_on_until_ctrl_c_with_a_page_whose_token_it_says(
    kafka_broker: SharedBroker, topic: str, tmp_path: Path
) -> None:
    port = own_port()
    env = demo_environment(kafka_broker, topic, tmp_path, WEB_PORT=str(port)) | {"ONCE": ""}
    complaints = tmp_path / "complaints"
    with (
        complaints.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "app.demo"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as demo,
    ):
        assert demo.stdout is not None
        said: list[str] = []
        batches: set[str] = set()
        for line in demo.stdout:
            said.append(line)
            if "  batch  " in line:
                batches.add(line.split()[2])
            if len(batches) > PUSHES:
                break
        assert len(batches) > PUSHES, complaints.read_text()
        asked = next(line for line in said if "token" in line).split()
        token = asked[-1]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/batches?status=open", headers={"authorization": f"Bearer {token}"}
        )
        wait_for(lambda: json.loads(fetch(request)[1])["batches"], "a batch in flight")
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=PATIENCE)

    assert (demo.returncode, complaints.read_text()) == (0, "")
    assert re.search(r"\d+ batches sent, \d+ came out: .*(under way)?\.", rest)
    assert sum(token in line for line in said) == 2  # once to be typed into the page, once for commands
    wait_for(lambda: port_is_free(port), "the worker ends")
