"""What is said and counted where a log is not the one that has been read, and what a consumer does then."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.protocol.fetch import FetchResponse_v4, FetchResponse_v11
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from app.kafka.consumer_thread import ConsumerThread, note_log_starts
from app.kafka.log_changes import LogChanges, TopicIds
from app.kafka.positions import Base, Cause
from app.kafka.state_store import BulkRecovery
from app.kafka.topic_ids import _MetadataResponse, ids_in
from app.settings.enums import Language, Start
from tables.faust_tables import BatchTable
from tests.unit.kafka.log_reader import OWN, SOURCE, FakeApplication, Reader


@pytest.mark.parametrize(
    ("base", "said", "counted"),
    [
        (
            Base(7, Cause.GONE),
            "yard[1]: offsets 5 to 6 are gone from the broker before they were read (retention, deleted records, or a "
            "restored log); reading goes on at 7",
            (0, 2, 0),
        ),
        (
            Base(0, Cause.SHORTER),
            "yard[1]: offset 5 was to be read next, but the log ends at 9: it was truncated, restored or made again. "
            "Reading starts over at 0, so that nothing is left out; batches that are not remembered any more "
            "(AGG_CLOSED_TTL) come out again",
            (0, 0, 1),
        ),
        (
            Base(0, Cause.MADE_AGAIN),
            "yard[1]: the topic was deleted and made again, its messages are others than those up to offset 5 that "
            "were read; reading starts at 0",
            (0, 0, 1),
        ),
        (Base(5, Cause.COMMITTED), None, (0, 0, 0)),
        (Base(0, Cause.FRESH), None, (0, 0, 0)),
    ],
)
def test_a_start_elsewhere_is_a_warning_with_both_offsets_and_is_counted(
    base: Base, said: str | None, counted: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    application = FakeApplication()
    LogChanges(application).started(SOURCE, 5, 9, base)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, text) for text in [said] if text
    ]
    assert application.counted == counted
    for record in caplog.records:
        assert {name: getattr(record, name) for name in ("topic", "partition", "offset")} == {
            "topic": "yard",
            "partition": 1,
            "offset": 5,
        }


@pytest.mark.parametrize("cause", [Cause.GONE, Cause.SHORTER, Cause.MADE_AGAIN])
def test_a_topic_of_the_application_has_lost_data(cause: Cause, caplog: pytest.LogCaptureFixture) -> None:
    LogChanges(FakeApplication()).started(OWN, 5, 9, Base(7, cause))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(
        "Data loss in a topic of the application: app-station-events[0]: off"
        if cause is not Cause.MADE_AGAIN
        else "Data loss in a topic of the application: app-station-events[0]: the topic was deleted and made again"
    )


def test_other_lines_name_their_place_in_the_users_language(caplog: pytest.LogCaptureFixture) -> None:
    changes = LogChanges(FakeApplication(Language.ZH))
    changes.not_delivered(TP("own", 1), 7, 10)
    changes.topic_gone("yard")
    changes.topic_gone("changelog")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "own[1]: 位移 7 至 9 未送达，保持未提交，将重新读取"),
        (logging.WARNING, "主题 yard 已不存在；重建后将从头读取"),
        (
            logging.ERROR,
            "changelog 丢失数据: 主题已不存在 (被删除，或 Kafka 恢复后没有了数据)。"
            "其中未完成的内容已丢失；请创建主题，或重启 worker 由其创建",
        ),
    ]


def test_a_topic_of_the_application_that_is_gone_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    LogChanges(FakeApplication()).topic_gone(OWN.topic)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.ERROR,
            "Data loss in app-station-events: it is not there any more (deleted, or the broker has come back without "
            "its data). What stood there and was not done is lost; create the topic, or start the worker again, which "
            "creates it",
        )
    ]


# -- which topic stands behind a name ----------------------------------------------------------------------------------


def test_a_topic_with_another_id_was_made_again_until_somebody_has_started_it_over() -> None:
    ids = TopicIds()
    assert ids.look({"a": b"1", "b": b"1"}) == set()
    assert ids.look({"a": b"1"}) == {"b"}
    assert ids.look({"a": b"1"}) == set()  # that is no news any more
    assert ids.look({"a": b"2", "b": b"2"}) == set()
    assert ids.again == {"a": b"2", "b": b"2"}
    ids.settle({"a"})
    ids.look({"a": b"2", "b": b"2"})
    assert ids.again == {"b": b"2"}


def test_ids_are_read_from_a_brokers_answer() -> None:
    partitions: list[Any] = [(0, 0, 1, 7, [1], [1], [], {})]
    topics: list[Any] = [
        (0, "yard", b"0123456789abcdef", False, partitions, 0, {}),
        (3, "nope", bytes(16), False, [], 0, {}),
    ]
    answer = _MetadataResponse(0, [(1, "127.0.0.1", 9092, None, {})], "cluster", 1, topics, 0, {})
    read: Any = _MetadataResponse.decode(BytesIO(answer.encode()))
    assert ids_in(read.topics) == {"yard": b"0123456789abcdef"}


# -- the consumer ------------------------------------------------------------------------------------------------------


def test_answers_to_fetches_tell_where_logs_start() -> None:
    starts: dict[TP, int] = {}
    note_log_starts(FetchResponse_v4(0, [("yard", [(1, 0, 9, 9, [], b"")])]), starts)
    assert starts == {}
    note_log_starts(FetchResponse_v11(0, 0, 0, [("yard", [(1, 0, 9, 9, 4, [], -1, b"")])]), starts)
    assert starts == {SOURCE: 4}


def test_a_partition_without_a_position_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[TP] = []

    def verify(_: AIOKafkaConsumerThread, now: float, tp: TP) -> None:
        looked.append(tp)
        raise AssertionError  # of aiokafka, which looks where the log begins

    monkeypatch.setattr(AIOKafkaConsumerThread, "verify_event_path", verify)
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread.verify_event_path(0.0, SOURCE)
    assert looked == [SOURCE]


def test_a_commit_for_a_topic_that_is_gone_is_done_and_commits_carry_their_text() -> None:
    told: list[Any] = []

    async def commit(assignment: Any, offsets: Any) -> None:
        told.append(offsets)
        if len(told) > 1:
            raise UnknownTopicOrPartitionError

    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread.commit_metadata = lambda tp: f"of {tp.topic}"
    commit_as_told = thread._committing(commit)
    for _ in range(2):
        asyncio.run(commit_as_told(None, {TopicPartition("yard", 1): OffsetAndMetadata(5, "")}))
    assert told == [{TopicPartition("yard", 1): OffsetAndMetadata(5, "of yard")}] * 2


def test_a_log_that_goes_on_before_our_position_is_followed_and_its_smaller_offset_committed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader(monkeypatch)
    reader.end = 3
    new = reader.deliver(0, 1, 2)
    assert [delivery.message.offset for delivery in new] == [0, 1, 2]
    assert (reader.committed, reader.application.counted) == ([{SOURCE: 0}], (0, 0, 1))
    assert "yard[1]: offset 10 was to be read next, but the log ends at 3" in caplog.text
    new[0].ack()
    assert reader.consumer.ledger.committable(SOURCE) == 1


def test_what_was_in_flight_of_the_log_before_acknowledges_nothing_of_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Reader(monkeypatch)
    new = reader.deliver(*range(10))
    for delivery in [*reader.old, *new[:8]]:
        delivery.ack()
    assert reader.consumer.ledger.committable(SOURCE) == 8


def test_a_topic_that_was_made_again_is_started_over_even_where_it_has_our_position(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader(monkeypatch)
    reader.thread.ids = {"yard": b"2"}
    asyncio.run(reader.bases.look_at_topics())
    asyncio.run(reader.consumer._start_over())
    assert (reader.committed, reader.thread.sought) == ([{SOURCE: 0}], [(SOURCE, 0)])
    assert (
        "yard[1]: the topic was deleted and made again, its messages are others than those up to offset 10"
        in caplog.text
    )
    assert [delivery.message.offset for delivery in reader.deliver(0, 1)] == [0, 1]
    assert reader.application.counted == (0, 0, 1)


def test_it_is_told_once_when_it_goes_on_before_our_position(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch)
    reader.thread.ids = {"yard": b"2"}
    assert reader.deliver(1, 2) == []  # what lies before is read first
    asyncio.run(reader.consumer._start_over())
    assert len(reader.deliver(0, 1, 2)) == 3
    assert reader.application.counted == (0, 0, 1)


def test_a_topic_that_nobody_reads_yet_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch)
    reader.consumer.app.assignor.members = lambda _: {"": frozenset()}
    reader.thread.ids = {"yard": b"2"}
    asyncio.run(reader.bases.look_at_topics())
    reader.bases.settle_topics()
    assert reader.bases.topics_again == {"yard": b"2"}


def test_what_retention_has_taken_is_lost_and_what_never_was_a_message_is_a_gap(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader(monkeypatch)
    reader.thread.log_starts[SOURCE] = 13
    new = reader.deliver(15, 18)
    assert reader.application.counted == (4, 3, 0)  # 13, 14, 16, 17 are markers; 10, 11, 12 were messages
    assert [record.getMessage() for record in caplog.records] == [
        "yard[1]: offsets 10 to 12 are gone from the broker before they were read (retention, deleted records, or a "
        "restored log); reading goes on at 13"
    ]
    for delivery in [*reader.old, *new]:
        delivery.ack()
    assert reader.consumer.ledger.committable(SOURCE) == 19


@pytest.mark.parametrize(("end", "fetched", "lag"), [(10, 10, 2), (12, 10, 4), (12, 12, 2), (12, None, 4)])
def test_lag_is_what_is_in_flight_and_what_has_not_been_read(
    end: int, fetched: int | None, lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(monkeypatch)
    reader.end, reader.thread.fetched = end, fetched
    assert reader.consumer.lag(SOURCE) == lag


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_base_that_could_not_be_committed_is_found_again(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch)
    reader.application.settings = reader.application.settings.model_copy(update={"start": Start(start)})
    reader.thread.ids = {"yard": b"2"}
    reader.commits = False  # the group rebalances
    reader.find_bases({}, SOURCE)
    asyncio.run(reader.consumer._commit_moved())
    reader.commits, reader.end = True, 25
    bases = reader.find_bases({SOURCE: 12}, SOURCE)  # committed of the topic before
    asyncio.run(reader.consumer._commit_moved())
    assert bases == {SOURCE: Base(0, Cause.MADE_AGAIN)}
    assert reader.committed == [{SOURCE: 0}]
    assert reader.application.counted == (0, 0, 1)
    assert reader.find_bases({SOURCE: 20}, SOURCE) == {SOURCE: Base(20, Cause.COMMITTED)}


def test_all_partitions_of_a_topic_that_was_made_again_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch)
    reader.consumer._committed_offset.clear()  # it has just started
    reader.application.settings = reader.application.settings.model_copy(update={"start": Start.LATEST})
    assert reader.find_bases({}, SOURCE) == {SOURCE: Base(10, Cause.FRESH)}
    reader.bases.moved.clear()
    reader.thread.ids = {"yard": b"2"}
    asyncio.run(reader.bases.look_at_topics())
    asyncio.run(reader.consumer._start_over())
    reader.bases.moved.clear()
    other = TP("yard", 3)
    assert reader.find_bases({}, other) == {other: Base(0, Cause.FRESH)}


def test_a_partition_that_was_added_is_read_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch)
    reader.consumer._committed_offset.clear()  # it has just started
    reader.application.settings = reader.application.settings.model_copy(update={"start": Start.LATEST})
    reader.thread.texts["yard"] = {number: "first-partitions=4" if number < 4 else None for number in range(6)}
    fresh = [TP("yard", number) for number in (1, 3, 4, 5)]
    bases = reader.find_bases({}, *fresh)
    assert [bases[tp].offset for tp in fresh] == [10, 10, 0, 0]
    assert [reader.consumer._commit_metadata(tp) for tp in fresh] == ["first-partitions=4"] * 4


def test_a_marker_at_the_end_is_no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch)
    for delivery in reader.old:
        delivery.ack()
    reader.end = reader.thread.fetched = 11
    assert reader.consumer.lag(SOURCE) == 0


# -- changelogs --------------------------------------------------------------------------------------------------------


def test_a_changelog_that_holds_less_than_the_worker_is_told_and_gone_on_from_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shorter, whole, empty = TP("changelog", 0), TP("changelog", 1), TP("changelog", 2)
    stored: list[tuple[int, int]] = []
    table: Any = BatchTable.__new__(BatchTable)
    table._data = SimpleNamespace(loaded=lambda partition, offset: stored.append((partition, offset)))
    recovery: Any = BulkRecovery.__new__(BulkRecovery)
    recovery.app = FakeApplication()
    recovery.active_highwaters = Counter({shorter: 4, whole: 9, empty: -1})
    recovery.tp_to_table = dict.fromkeys((shorter, whole, empty), table)
    offsets = Counter({shorter: 9, whole: 9, empty: -1})
    recovery._follow_shorter(set(offsets), offsets)
    assert (offsets, stored) == ({shorter: 4, whole: 9, empty: -1}, [(0, 4)])
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    assert said.getMessage().startswith("Data loss in changelog[0]: the changelog ends at 5, before what")
