"""How log lines leave the process: JSON, and what of libraries is held back."""

from __future__ import annotations

import inspect
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import faust.app.base
import pytest
from aiokafka import client, cluster, conn
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError, KafkaConnectionError
from faust.assignor import partition_assignor
from mode.utils.logging import setup_logging
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk import _shared_internal

from app.messages.dead_letters import Subject
from app.observability.batch_log import BatchLog
from app.observability.json_formatter import JsonFormatter
from app.observability.log_config import (
    ODD_ANSWER,
    ExpectedFilter,
    LostBrokerFilter,
    OddAnswerFilter,
    RepeatFilter,
    logging_config,
)
from app.observability.log_lines import Line
from app.settings.enums import Language, LogFormat
from tables.model.events import Source
from tests.heard_log import Heard


def test_a_json_line_has_the_message_and_its_fields() -> None:
    heard = Heard(Language.ZH)
    heard.log.dead_letter("bad-record", "no station id", Subject(1.0, Source("T", 0, 7)))
    (record,) = heard.handler.records
    entry = json.loads(JsonFormatter().format(record))
    assert datetime.fromisoformat(entry.pop("time")) == datetime.fromtimestamp(int(record.created * 1000) / 1000, UTC)
    assert entry == {
        "level": "WARNING",
        "logger": "test",
        "message": "死信 (bad-record): no station id [topic=T, partition=0, offset=7]",
        "event": "dead-letter",
        "topic": "T",
        "partition": 0,
        "offset": 7,
        "reason": "bad-record",
    }


def test_a_json_line_of_a_batch_has_the_place_of_its_log() -> None:
    heard = Heard(Language.EN)
    log = BatchLog(heard.log.logger, Language.EN, heard.clock, place=lambda batch_id: ("log", len(batch_id)))
    log.published("T_1", 2)
    log.dead_letter("station-failed", "x", Subject(1.0, Source("T", 7, 1), "T_1"))
    published, letter = (json.loads(JsonFormatter().format(record)) for record in heard.handler.records)
    assert (published["topic"], published["partition"]) == ("log", 3)
    assert (letter["topic"], letter["partition"]) == ("T", 7)


def test_a_json_line_carries_the_traceback_as_text() -> None:
    try:
        int("broken")
    except ValueError:
        record = logging.LogRecord("test", logging.ERROR, __file__, 1, "failed: %s", ("x",), sys.exc_info())
    text = JsonFormatter().format(record)
    entry = json.loads(text)
    assert text.count("\n") == 0
    assert entry["message"] == "failed: x"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("ValueError: invalid literal for int() with base 10: 'broken'")


def test_a_json_line_is_one_line_of_utf8_whatever_is_in_it() -> None:
    message = 'a\n\x85\u2028\u2029\x9b"\\\ud800超时'
    record = logging.LogRecord("test", logging.INFO, __file__, 1, message, (), None)
    text = JsonFormatter().format(record)
    assert len(text.splitlines()) == 1
    assert "超时" in text
    assert json.loads(text.encode())["message"] == message


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = root.handlers[:]
    yield root
    root.handlers[:] = before


def test_a_worker_that_is_told_json_logs_nothing_else(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    setup_logging(loglevel="info", logging_config=logging_config(LogFormat.JSON))
    logging.getLogger("test.worker").info("read %s", "T")
    logging.getLogger("test.worker").debug("off")
    assert root_logger.level == logging.INFO
    (line,) = stderr.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("INFO", "test.worker", "read T")


def test_the_same_complaint_passes_once_in_ten_seconds() -> None:
    def passes(at: float, line: int) -> bool:
        record = logging.LogRecord("aiokafka.conn", logging.ERROR, __file__, line, "node %s is away", (at,), None)
        record.created = at
        return repeats.filter(record)

    repeats = RepeatFilter()

    told = [passes(at, line) for at, line in ((0.0, 1), (0.1, 1), (0.2, 2), (9.9, 1), (10.0, 1), (10.1, 1))]

    assert told == [True, False, True, False, True, False]


def test_what_happens_at_each_rebalance_is_no_complaint_and_a_missing_coordinator_only_when_it_lasts() -> None:
    def passes(message: str, *args: object, at: float = 0.0) -> bool:
        record = logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, message, args, None)
        record.created = at
        return expected.filter(record)

    expected = ExpectedFilter(["Heartbeat failed for group %s because it is rebalancing"])
    no_coordinator = GroupCoordinatorNotAvailableError()

    assert not passes("Heartbeat failed for group %s because it is rebalancing", "g")
    assert passes("Heartbeat failed for group %s because it is dead", "g")
    assert [passes("lookup failed: %s", no_coordinator, at=at) for at in (5.0, 14.9, 15.0)] == [False, False, True]


LOST, DEAD = "Failed fetch messages from %s: %s", "Heartbeat session expired - marking coordinator dead"


class LostBroker:
    """A filter that has heard these lines of ours, and what it lets pass."""

    def __init__(self) -> None:
        self.filter = LostBrokerFilter([LOST, DEAD])

    def passes(self, message: str, *args: object, at: float, event: Line | None = None) -> bool:
        record = logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, message, args, None)
        record.created = at
        if event is not None:
            record.event = event
        return self.filter.filter(record)


def test_what_aiokafka_says_of_a_broker_that_is_away_is_said_by_a_line_of_ours() -> None:
    broker = LostBroker()
    away = KafkaConnectionError("closed")
    assert not broker.passes(LOST, 1, away, at=100.0)
    assert broker.passes("%s", "Kafka is away", at=106.0, event=Line.BROKER_AWAY)
    assert not any(broker.passes(LOST, 1, away, at=at) for at in (110.0, 130.0, 180.0))
    assert broker.passes("%s", "Kafka is back", at=181.0, event=Line.BROKER_BACK)
    assert not broker.passes(DEAD, at=185.0)  # its echo


def test_of_one_broker_that_is_away_while_others_answer_aiokafka_says_it() -> None:
    broker = LostBroker()
    told = [broker.passes(LOST, 2, KafkaConnectionError("closed"), at=100.0 + second) for second in range(0, 40, 5)]
    assert told == [False, False, False, True, True, True, True, True]
    assert not broker.passes(LOST, 2, KafkaConnectionError("closed"), at=300.0)  # another trouble


def test_a_refusal_and_what_is_about_something_else_are_said_at_once() -> None:
    broker = LostBroker()
    assert broker.passes(LOST, 1, GroupAuthorizationFailedError("g"), at=100.0)
    assert broker.passes("Not authorized to read from topic %s.", "t", at=100.0)


def test_a_commit_for_a_topic_that_was_deleted_is_no_complaint() -> None:
    def passes(error: str) -> bool:
        message = "OffsetCommit failed for group %s on partition %s with offset %s: %s"
        record = logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, message, ("g", "t[0]", 3, error), None)
        return ExpectedFilter([]).filter(record)

    assert not passes("UnknownTopicOrPartitionError")
    assert passes("OffsetMetadataTooLargeError")


def test_an_answer_that_aiokafka_cant_take_apart_is_one_line_without_a_traceback() -> None:
    names = logging_config(LogFormat.TEXT)["loggers"][conn.__name__]["filters"]
    (odd,) = (OddAnswerFilter(ODD_ANSWER) for name in names if name == "odd-answers")
    try:
        int("broken\n")
    except ValueError:
        record = logging.LogRecord(conn.__name__, logging.ERROR, __file__, 1, ODD_ANSWER, (), sys.exc_info())
    assert odd.filter(record)
    text = logging.Formatter().format(record)
    assert text.startswith(f"{ODD_ANSWER}: ValueError(")
    assert "\n" not in text
    assert ODD_ANSWER in inspect.getsource(conn)


def test_the_messages_that_are_held_back_are_those_of_the_libraries() -> None:
    filters = logging_config(LogFormat.TEXT)["filters"]
    held_back = [message for name in filters for message in filters[name].get("messages", ())]
    modules = (client, cluster, fetcher, group_coordinator, faust.app.base, partition_assignor)
    # Strings that stand beside each other in the source are one.
    source = re.sub(r"""["']\s+["']""", "", "".join(inspect.getsource(module) for module in modules))
    assert [message for message in held_back if message not in source] == []


def test_what_repeats_is_held_back_in_the_loggers_that_libraries_really_have() -> None:
    loggers = logging_config(LogFormat.TEXT)["loggers"]
    for module in (trace_exporter, _shared_internal):
        assert "repeats" in loggers[module.__name__]["filters"]
