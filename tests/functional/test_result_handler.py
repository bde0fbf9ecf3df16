"""A result handler of the user's: what it gets, what it may return, and what happens when it fails."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.testing import START_TIME, TopologyTestDriver
from tests.functional.plant import BATCH, answering, message, slow

AB = answering({"A": {"x": 1}, "B": {"x": 2}})
Results = list[dict[str, Any]]


def test_what_an_async_handler_returns_is_the_output() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, Any]:
        return {"id": batch_id, "sum": sum(result["x"] for result in batch_results_list)}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        (output,) = driver.outputs
        assert output.raw == f'{{"id":"{BATCH}","sum":3}}'.encode()
        assert output.key == BATCH
        assert output.headers == {"completed-by": "all", "revision": "1", "part": "1", "parts": "1"}


def test_what_a_def_handler_returns_is_the_output() -> None:
    def handler(batch_id: str, batch_results_list: Results) -> dict[str, Any]:
        return {"main": threading.current_thread() is threading.main_thread(), "got": batch_results_list}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        stations = [{"station_id": "A", "x": 1}, {"station_id": "B", "x": 2}]
        assert driver.outputs[0].value == {"main": False, "got": stations}


def test_a_handler_may_return_numpy_values() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, Any]:
        return {"loads": np.array([1.0, np.nan]), "n": np.int64(2)}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].value == {"loads": [1.0, None], "n": 2}


def test_a_value_that_json_has_no_form_for_is_named_by_its_place() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, Any]:
        return {"made": {"at": datetime(2025, 11, 14, tzinfo=UTC)}}

    with TopologyTestDriver(AB, handler, handler_retries=0) as driver:
        driver.send(message("A", "B"))
        (letter,) = driver.dead_letters
        said = letter.headers["error"].rstrip().rpartition("\n")[2]
        assert said == "TypeError: what the handler returned can't be written as JSON: datetime at made.at"


def test_a_handler_that_returns_none_has_uploaded_by_itself_and_nothing_is_published(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    uploaded: list[str] = []

    async def handler(batch_id: str, batch_results_list: Results) -> None:
        uploaded.append(batch_id)

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        driver.advance(60.0)
        assert uploaded == [BATCH]
        assert driver.outputs == driver.dead_letters == []
        assert driver.closed_batches == [BATCH]
        assert f"Batch {BATCH} published with 2 stations" in caplog.text


def test_a_handler_with_a_third_parameter_gets_the_meta_of_the_default_payload() -> None:
    metas: list[dict[str, Any]] = []

    async def handler(batch_id: str, batch_results_list: Results, context: Any) -> None:
        metas.append(context.meta)

    with TopologyTestDriver(slow({"B": 60.0}), handler, batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(5.1)
        assert metas == [
            {
                "status": "partial",
                "completed_by": "timeout",
                "revision": 1,
                "expected_count": 2,
                "arrived_count": 1,
                "missing": ["B"],
                "failed": [],
                "empty": [],
                "opened_at": START_TIME,
                "deadline": START_TIME + 5,
                "closed_at": START_TIME + 5,
                "part": 1,
                "parts": 1,
            }
        ]


@pytest.mark.parametrize("waits", [False, True], ids=["def", "async def"])
def test_a_handler_with_a_keyword_only_context_gets_it(waits: bool) -> None:
    def handler(batch_id: str, batch_results_list: Results, *, context: Any = None) -> dict[str, Any]:
        return {"status": context.meta["status"]}

    async def async_handler(batch_id: str, batch_results_list: Results, *, context: Any) -> dict[str, Any]:
        return handler(batch_id, batch_results_list, context=context)

    with TopologyTestDriver(AB, async_handler if waits else handler) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].value == {"status": "complete"}


def test_a_handler_sends_messages_of_its_own_through_its_context() -> None:
    async def handler(batch_id: str, batch_results_list: Results, context: Any) -> None:
        for result in batch_results_list:
            await context.send("mine", result["station_id"], result)
        await context.send("mine", None, "text")
        await context.send("mine", b"\x01", b"bytes")

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        assert [(sent.raw_key, sent.raw) for sent in driver.messages("mine")] == [
            (b"A", b'{"station_id":"A","x":1}'),
            (b"B", b'{"station_id":"B","x":2}'),
            (None, b"text"),
            (b"\x01", b"bytes"),
        ]


def test_what_a_def_handler_sends_is_out_when_send_returns() -> None:
    def handler(batch_id: str, batch_results_list: Results, context: Any) -> dict[str, int]:
        context.send("mine", batch_id, {"count": len(batch_results_list)})
        return {"sent": len(driver.messages("mine"))}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        assert [sent.value for sent in driver.messages("mine")] == [{"count": 2}]
        assert driver.outputs[0].value == {"sent": 1}


def test_a_def_handler_that_returns_a_coroutine_may_await_what_it_sends() -> None:
    async def send(context: Any) -> None:
        await context.send("mine", None, "text")

    def handler(batch_id: str, batch_results_list: Results, context: Any) -> Any:
        return send(context)

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        assert [sent.raw for sent in driver.messages("mine")] == [b"text"]


WRONG: list[tuple[Any, Any, Any, type[Exception]]] = [
    (None, "k", "v", TypeError),
    (5, "k", "v", TypeError),
    ("no such topic!", "k", "v", ValueError),
    ("", "k", "v", ValueError),
    ("..", "k", "v", ValueError),
    ("x" * 250, "k", "v", ValueError),
    ("mine", 5, "v", TypeError),
    ("mine", "k", {1, 2}, TypeError),
    ("mine", "k", "\ud800", ValueError),
    ("mine", "k", "v" * 2000, ValueError),
]


@pytest.mark.parametrize("is_async", [True, False], ids=["async def", "def"])
def test_what_kafka_cannot_take_is_an_error_in_the_handler_before_anything_is_awaited(is_async: bool) -> None:
    raised: list[type[Exception]] = []

    def handler(batch_id: str, batch_results_list: Results, context: Any) -> dict[str, int]:
        for topic, key, value, _ in WRONG:
            try:
                context.send(topic, key, value)
            except Exception as error:  # noqa: BLE001 - it is what is tested
                raised.append(type(error))
        return {"raised": len(raised)}

    async def async_handler(batch_id: str, batch_results_list: Results, context: Any) -> dict[str, int]:
        await context.send("mine", "k", "right")
        return handler(batch_id, batch_results_list, context)

    with TopologyTestDriver(AB, async_handler if is_async else handler, max_message_bytes=1024) as driver:
        driver.send(message("A", "B"))
        assert raised == [error for *_, error in WRONG]
        assert driver.outputs[0].value == {"raised": len(WRONG)}
        assert [sent.raw for sent in driver.messages("mine")] == [b"right"] * is_async
        assert driver.dead_letters == []


def test_a_wrong_send_that_a_handler_lets_out_is_retried_and_then_a_dead_letter() -> None:
    calls = 0

    async def handler(batch_id: str, batch_results_list: Results, context: Any) -> None:
        nonlocal calls
        calls += 1
        await context.send("no such topic!", batch_id, "v")

    with TopologyTestDriver(AB, handler, handler_retries=1) as driver:
        driver.send(message("A", "B"))
        driver.advance(1.0)
        (letter,) = driver.dead_letters
        assert (calls, letter.headers["reason"]) == (2, "handler-failed")
        assert "ValueError: the topic 'no such topic!' must be a Kafka topic name" in letter.headers["error"]
        assert driver.closed_batches == [BATCH]


def test_a_failing_handler_is_called_again_after_half_a_second_and_then_twice_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[float] = []

    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, int]:
        calls.append(driver.now)
        if len(calls) < 3:
            message = "the upload failed"
            raise OSError(message)
        return {"attempts": len(calls)}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        driver.advance(1.0)
        assert driver.outputs == []
        driver.advance(1.0)
        assert driver.outputs[0].value == {"attempts": 3}
        assert [call - calls[0] for call in calls] == pytest.approx([0, 0.5, 1.5])
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"result_handler failed for batch {BATCH}, attempt {attempt} of 4; called again in {pause} s: "
        "OSError: the upload failed"
        for attempt, pause in ((1, "0.5"), (2, "1"))
    ]


def test_a_handler_that_fails_for_good_leaves_the_default_payload_as_a_dead_letter() -> None:
    calls: list[tuple[str, Results]] = []

    async def handler(batch_id: str, batch_results_list: Results) -> None:
        calls.append((batch_id, batch_results_list))
        message = "the upload failed"
        raise OSError(message)

    with TopologyTestDriver(AB, handler, output_meta=False) as driver:
        driver.send(message("A", "B"))
        driver.advance(3.4)
        assert driver.dead_letters == []
        driver.advance(0.2)
        (letter,) = driver.dead_letters
        assert calls == [(BATCH, [{"station_id": "A", "x": 1}, {"station_id": "B", "x": 2}])] * 4
        assert letter.key == BATCH
        assert letter.value["stations"] == [{"station_id": "A", "x": 1}, {"station_id": "B", "x": 2}]
        assert letter.value["meta"]["status"] == "discarded"
        assert letter.headers.pop("error").rstrip().endswith("OSError: the upload failed")
        assert letter.headers == {
            "reason": "handler-failed",
            "failed-at": repr(letter.value["meta"]["closed_at"]),
            "batch-id": BATCH,
        }
        assert driver.outputs == []
        assert driver.closed_batches == [BATCH]


def test_the_number_of_retries_is_a_setting() -> None:
    calls = 0

    async def handler(batch_id: str, batch_results_list: Results) -> None:
        nonlocal calls
        calls += 1
        raise OSError

    with TopologyTestDriver(AB, handler, handler_retries=0) as driver:
        driver.send(message("A"))
        assert (calls, len(driver.dead_letters)) == (1, 1)


def test_a_hanging_handler_is_given_up_after_its_timeout_and_all_retries() -> None:
    cancelled: list[float] = []

    async def handler(batch_id: str, batch_results_list: Results) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(driver.now - START_TIME)
            raise

    with TopologyTestDriver(AB, handler, handler_timeout=10, handler_retries=1) as driver:
        driver.send(message("A", "B"))
        driver.advance(20.4)
        assert driver.dead_letters == []
        driver.advance(0.2)
        assert cancelled == pytest.approx([10.0, 20.5])
        assert "AGG_HANDLER_TIMEOUT" in driver.dead_letters[0].headers["error"]


def test_a_hanging_def_handler_is_given_up_too() -> None:
    stop = threading.Event()

    def handler(batch_id: str, batch_results_list: Results) -> None:
        stop.wait(600.0)

    with TopologyTestDriver(AB, handler, handler_timeout=10, handler_retries=0, thread_patience=0.05) as driver:
        driver.send(message("A", "B"))
        driver.advance(10.1)
        assert "AGG_HANDLER_TIMEOUT" in driver.dead_letters[0].headers["error"]
        stop.set()


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (TimeoutError("the upload server did not answer"), "TimeoutError: the upload server did not answer"),
        (asyncio.CancelledError(), "RuntimeError: the function raised CancelledError, which must not end the worker"),
        (SystemExit(3), "RuntimeError: the function raised SystemExit: 3, which must not end the worker"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_whatever_a_handler_raises_is_a_dead_letter_that_names_it(
    ending: BaseException, error: str, is_async: bool
) -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> None:
        raise ending

    def returns_a_coroutine(batch_id: str, batch_results_list: Results) -> Any:
        return handler(batch_id, batch_results_list)

    with TopologyTestDriver(AB, handler if is_async else returns_a_coroutine, handler_retries=0) as driver:
        driver.send(message("A"))
        (letter,) = driver.dead_letters
        assert letter.headers["reason"] == "handler-failed"
        assert letter.headers["error"].rstrip().endswith(error)
        assert driver.closed_batches == [BATCH]


def test_a_handlers_payload_that_no_topic_would_take_stops_nothing() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, str]:
        return {"x": "é" * 40_000_000}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A"))
        (letter,) = driver.dead_letters
        assert letter.raw == ('{"x":"' + "é" * 40_000).encode()[: 64 * 1024]
        assert letter.headers["reason"] == "too-large"
        driver.restart(lose_commits=True)
        assert not driver.crashed


def test_a_slow_handler_holds_up_no_other_batch() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, str]:
        await asyncio.sleep(10.0 if batch_id == BATCH else 0.0)
        return {"id": batch_id}

    with TopologyTestDriver(slow({}), handler, partitions=1) as driver:
        driver.send(message("A"))
        driver.send(message("A", time="2025-11-14 10:00:01"))
        assert len(driver.outputs) == 1
        driver.advance(10.1)
        assert driver.outputs[1].key == BATCH


def test_a_handlers_payload_over_the_message_limit_is_a_dead_letter_cut_to_64_kib() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, str]:
        return {"x": "y" * 100_000}

    with TopologyTestDriver(AB, handler, max_message_bytes=80_000) as driver:
        driver.send(message("A", "B"))
        (letter,) = driver.dead_letters
        assert letter.raw == (b'{"x":"' + b"y" * 100_000)[: 64 * 1024]
        assert (letter.key, letter.headers["reason"]) == (BATCH, "too-large")
        assert "AGG_MAX_MESSAGE_BYTES" in letter.headers["error"]
        assert driver.outputs == []


def test_a_handler_that_returns_what_json_cannot_hold_is_a_failing_handler() -> None:
    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, object]:
        return {"x": object()}

    with TopologyTestDriver(AB, handler, handler_retries=0) as driver:
        driver.send(message("A"))
        assert driver.dead_letters[0].headers["reason"] == "handler-failed"


def test_a_handler_is_called_again_with_the_same_arguments_when_a_crash_lost_its_answer() -> None:
    calls: list[tuple[str, Results, Any]] = []

    async def handler(batch_id: str, batch_results_list: Results, context: Any) -> dict[str, int]:
        calls.append((batch_id, batch_results_list, context.meta))
        return {"n": 1}

    with TopologyTestDriver(AB, handler) as driver:
        driver.crash_before(lambda _: len(calls) == 1)
        driver.send(message("A", "B"))
        assert driver.crashed
        driver.advance(7.0)
        driver.restart()
        assert [output.value for output in driver.outputs] == [{"n": 1}]
        assert len(calls) == 2
        assert calls[0] == calls[1]


def test_a_stored_answer_is_published_after_a_crash_without_asking_the_handler_again() -> None:
    calls = 0

    async def handler(batch_id: str, batch_results_list: Results) -> dict[str, int]:
        nonlocal calls
        calls += 1
        return {"call": calls}

    with TopologyTestDriver(AB, handler) as driver:
        driver.crash_before(lambda sent: sent.topic == driver.settings.output_topic)
        driver.send(message("A", "B"))
        driver.restart()
        assert [output.value for output in driver.outputs] == [{"call": 1}]


def test_a_def_handler_may_take_real_time_while_the_clock_stands_still() -> None:
    def handler(batch_id: str, batch_results_list: Results) -> dict[str, int]:
        time.sleep(0.1)
        return {"n": len(batch_results_list)}

    with TopologyTestDriver(AB, handler) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].value == {"n": 2}
        assert driver.now < START_TIME + 0.01
