"""Messages with header names that are not UTF-8, in fetches as a broker answers them."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from app.kafka.client import reading
from app.kafka.consumer_thread import ConsumerThread
from app.kafka.header_names import FetchedRecords, TolerantRecords, read_any_name
from app.kafka.reading import ranges_of, read_in_time, read_ranges, read_sources
from app.settings import Settings
from tables.model.events import Source
from tests.record_batches import GBK, batch_bytes

TP = TopicPartition("T", 0)
AT = 1_763_085_600_500
READ = GBK.decode(errors="replace")
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.fixture(autouse=True)
def _aiokafka_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what other tests have put in, and afterwards what these do."""
    monkeypatch.setattr(fetcher, "MemoryRecords", FetchedRecords.__base__)
    monkeypatch.setattr(fetcher, "PartitionRecords", TolerantRecords.__base__)


def records_of(data: bytes, *, first: int = 0, check_crcs: bool = True) -> Any:
    """The records of a fetch from an offset on."""
    return fetcher.PartitionRecords(TP, fetcher.MemoryRecords(data), [], first, None, None, check_crcs, 0)


def told(records: Sequence[Any]) -> list[tuple[int, bytes, tuple[str, ...]]]:
    assert all(record.key == b"%d" % record.offset for record in records)
    assert all(value == record.key for record in records for _, value in record.headers)
    return [(record.offset, record.value[:-101], tuple(name for name, _ in record.headers)) for record in records]


def expected(
    *batches: tuple[int, Sequence[Sequence[bytes]]], first: int = 0
) -> list[tuple[int, bytes, tuple[str, ...]]]:
    return [
        (offset, b"%d" % offset, tuple(name.decode(errors="replace") for name in names))
        for begin, of_batch in batches
        for offset, names in enumerate(of_batch, begin)
        if offset >= first
    ]


# -- one fetch ---------------------------------------------------------------------------------------------------------


def test_without_us_aiokafka_raises() -> None:
    with pytest.raises(UnicodeDecodeError):
        list(records_of(batch_bytes(0, [[b"a"], [GBK]])))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_message_with_such_a_name_is_read_and_all_before_and_behind_it(codec: int, place: int) -> None:
    read_any_name()
    names = [[b"abc", b"\xe5\x9c\xba"] for _ in range(5)]
    names[place] = [b"revision", GBK, b"part"]
    batches = [(0, [[b"x"]] * 3), (3, names), (8, [[b"y"]])]
    found = list(records_of(b"".join(batch_bytes(*batch, codec=codec) for batch in batches)))
    assert told(found) == expected(*batches)
    assert found[3 + place].headers[1] == (READ, b"%d" % (3 + place))
    assert {type(part) for record in found for part in (record.key, record.value)} == {bytes}
    assert {type(name) for record in found for name, _ in record.headers} == {str}


name = st.sampled_from([b"a", b"\xe5\x9c\xba", GBK, b"\xff", b"a\x80", b""]) | st.binary(max_size=5)
records = st.lists(st.lists(name, max_size=3), min_size=1, max_size=5)


@given(
    st.lists(st.tuples(st.integers(0, 3), records, st.sampled_from(list(CODECS.values()))), min_size=1, max_size=6),
    st.integers(0, 40),
    st.integers(1, 4) | st.none(),
)
def test_each_record_comes_once_in_order_wherever_a_fetch_begins_and_however_it_is_taken(
    given_batches: list[tuple[int, list[list[bytes]], int]], first: int, at_once: int | None
) -> None:
    read_any_name()
    batches, data, end = [], b"", 0
    for hole, of_batch, codec in given_batches:
        batches.append((end + hole, of_batch))
        data += batch_bytes(end + hole, of_batch, codec=codec)
        end += hole + len(of_batch)
    first = min(first, batches[0][0] + len(batches[0][1]) - 1)  # a broker's answer begins with the batch of it
    position = SimpleNamespace(paused=False, position=first)
    position.consumed_to = lambda offset: setattr(position, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: position)
    result = fetcher.FetchResult(
        TP, assignment=assignment, partition_records=records_of(data, first=first), backoff=0.0
    )
    found: list[Any] = []
    while result.has_more():
        found += result.getall(at_once)
    assert told(found) == expected(*batches, first=first)
    assert position.position == end


def test_the_parser_in_python_is_helped_too() -> None:
    code = (
        "from app.kafka.header_names import read_any_name; read_any_name()\n"
        "from tests.unit.kafka.test_header_names import *\n"
        "assert FetchedRecords.__base__.__name__ == '_MemoryRecordsPy'\n"
        "print(told(list(records_of(batch_bytes(0, [[b'a'], [GBK]]) + batch_bytes(2, [[b'b']])))))"
    )
    environment = os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == repr(expected((0, [[b"a"], [GBK]]), (2, [[b"b"]]))), run.stderr


def test_what_is_really_broken_is_still_an_error() -> None:
    read_any_name()
    good, spoilt = batch_bytes(0, [[b"a"]]), bytearray(batch_bytes(1, [[GBK]]))
    spoilt[-1] ^= 1
    taken = records_of(good + bytes(spoilt))
    assert next(taken).offset == 0
    with pytest.raises(CorruptRecordException, match="CRC"):
        next(taken)
    cut = bytearray(batch_bytes(0, [[b"a"]]))
    cut[61] += 2  # the length of the record
    with pytest.raises(CorruptRecordException):
        list(records_of(bytes(cut), check_crcs=False))
    with pytest.raises(CorruptRecordException):
        list(records_of(bytes(8) + b"\x00\x00\x00\x01" + bytes(40), check_crcs=False))


def test_a_users_deserializer_that_fails_is_an_error_and_not_asked_without_end() -> None:
    read_any_name()
    data = FetchedRecords(batch_bytes(0, [[b"a"]]))
    calls = itertools.count()

    def fail(_: object) -> None:
        assert next(calls) < 9
        b"\xff".decode()

    with pytest.raises(UnicodeDecodeError):
        list(TolerantRecords(TP, data, [], 0, None, fail, True, 0))


def test_messages_from_before_there_were_headers_are_read() -> None:
    read_any_name()
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, 1000, b"0", b"0" + b" " * 101)
    assert told(list(records_of(bytes(builder.build())))) == [(0, b"0", ())]


# -- our readers -------------------------------------------------------------------------------------------------------


class Broker:
    """A broker with one partition, in place of a client's connections."""

    def __init__(self, *batches: tuple[int, Sequence[Sequence[bytes]]]) -> None:
        self._batches = [(begin + len(names), batch_bytes(begin, names)) for begin, names in batches]
        self._end = self._batches[-1][0]

    async def send(self, _: int, request: Any, **__: object) -> Any:
        """Answer a request for offsets, or one for records."""
        ((topic, (asked,)),) = request._topics
        partition, at = asked[0], asked[1]
        if isinstance(request, OffsetRequest):
            offset = self._end if at == OffsetResetStrategy.LATEST else 0
            return SimpleNamespace(API_KEY=2, API_VERSION=1, topics=[(topic, [(partition, 0, AT, offset)])])
        data = b"".join(data for end, data in self._batches if end > at)
        await asyncio.sleep(0 if data else 0.01)
        fields: tuple[Any, ...] = (partition, 0, self._end, self._end, 0, [], data)
        return SimpleNamespace(API_KEY=1, API_VERSION=5, topics=[(topic, [fields])])


@pytest.fixture
def _broker(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker((0, [[b"revision", b"part"], [GBK]]), (2, [[GBK, b"x"], [b"y"]]), (4, [[b"z"]]))

    async def bootstrap(client: AIOKafkaClient) -> None:
        client.cluster.update_metadata(
            MetadataResponse_v1([(0, "127.0.0.1", 9092, None)], 0, [(0, "T", False, [(0, 0, 0, [0], [0])])])
        )

    async def done(*_: object) -> bool:
        return True

    monkeypatch.setattr(AIOKafkaClient, "bootstrap", bootstrap)
    monkeypatch.setattr(AIOKafkaClient, "send", lambda _, *args, **options: broker.send(*args, **options))
    for waiting in ("_maybe_wait_metadata", "_wait_on_metadata"):
        monkeypatch.setattr(AIOKafkaClient, waiting, done)
    for updating in ("force_metadata_update", "set_topics", "add_topic"):
        monkeypatch.setattr(AIOKafkaClient, updating, lambda *_: asyncio.ensure_future(done()))


ALL = [(0, ("revision", "part")), (1, (READ,)), (2, (READ, "x")), (3, ("y",)), (4, ("z",))]


@pytest.mark.usefixtures("_broker")
@pytest.mark.parametrize("read", [read_ranges, read_in_time])
def test_readers_of_commands_and_web_read_such_messages(read: Any) -> None:
    async def run() -> list[tuple[int, tuple[str, ...]]]:
        async with reading(Settings()) as consumer:
            ranges = await ranges_of(consumer, [TP])
            return [(one.offset, tuple(dict(one.headers))) async for one in read(consumer, ranges)]

    assert asyncio.run(run()) == ALL


@pytest.mark.usefixtures("_broker")
def test_one_such_message_is_read_by_its_place() -> None:
    async def run() -> Any:
        async with reading(Settings()) as consumer:
            return await read_sources(consumer, [Source("T", 0, 2)])

    assert [dict(one.headers) for one in asyncio.run(run()).values()] == [{READ: b"2", "x": b"2"}]


@pytest.mark.usefixtures("_broker")
@pytest.mark.parametrize("at_once", [1, 2, None])
def test_the_workers_thread_reads_such_messages(at_once: int | None) -> None:
    async def run() -> list[tuple[int, tuple[str, ...]]]:
        thread: Any = ConsumerThread.__new__(ConsumerThread)
        thread.app = SimpleNamespace(
            conf=SimpleNamespace(consumer_group_instance_id=None), settings=Settings(), assignor=SimpleNamespace()
        )
        thread.consumer = SimpleNamespace(flow_active=True)
        thread.log_starts, thread.ends = {}, {}
        thread.thread_loop = asyncio.get_running_loop()
        thread._create_consumer = lambda **_: Member(auto_offset_reset="earliest")
        await thread.on_start()
        consumer = thread._consumer
        found: list[tuple[int, tuple[str, ...]]] = []
        try:
            consumer.assign([TP])
            while len(found) < len(ALL):
                fetched = await thread._fetch_records(consumer, {TP}, timeout=5.0, max_records=at_once)
                assert fetched
                found += [(one.offset, tuple(dict(one.headers))) for records in fetched.values() for one in records]
            return found
        finally:
            await consumer.stop()

    assert asyncio.run(run()) == ALL


class Member(AIOKafkaConsumer):  # type: ignore[misc]  # untyped there
    """A consumer of no group, with what the worker's thread listens to of a group's."""

    async def start(self) -> None:
        """Start it."""
        await super().start()
        for name in ("request_rejoin", "_do_heartbeat", "_do_commit_offsets", "_push_error_to_user"):
            setattr(self._coordinator, name, None)
