"""The test driver itself: its clock, its threads, its crashes and its errors."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.callbacks.given import load_given
from app.callbacks.loading import FunctionError
from app.messages.message import Delivery
from app.pipeline.splitting.splitter import Splitter
from app.settings import Settings, SettingsError
from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, START, TOPIC, ModuleInput, answering, message, slow, until_arrived


def test_the_clock_begins_where_it_is_told_to_and_moves_by_what_it_is_told() -> None:
    with TopologyTestDriver(slow({}), start_time=1000.0) as driver:
        assert driver.now == 1000.0
        driver.advance(12.5)
        driver.advance(0)
        assert driver.now == 1012.5


def test_sending_moves_the_clock_by_milliseconds_at_most() -> None:
    with TopologyTestDriver(slow({"A": 1.0})) as driver:
        driver.send(message("A", "B"))
        assert driver.now == pytest.approx(START + 0.004)
        assert driver.outputs == []


def test_what_becomes_due_happens_in_order_each_at_its_own_time() -> None:
    seen: list[tuple[str, float]] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        await asyncio.sleep({"A": 3.0, "B": 1.0, "C": 2.0}[station_id])
        seen.append((station_id, driver.now - START))

    with TopologyTestDriver(model) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(3.0)
        assert seen == [("B", 1.0), ("C", 2.0), ("A", 3.0)]


def test_an_hour_of_the_clock_takes_seconds() -> None:
    began = time.monotonic()
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A"))
        driver.advance(3599.0)
        assert driver.closed_batches == [BATCH]
        driver.advance(2.0)
        assert driver.closed_batches == []
    assert time.monotonic() - began < 600


def test_the_clock_does_not_go_backwards() -> None:
    with TopologyTestDriver(slow({})) as driver, pytest.raises(ValueError, match="forward only, not by -1 s"):
        driver.advance(-1)


def test_settings_come_by_name_over_given_ones_and_never_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGG_BATCH_TIMEOUT", "17")
    monkeypatch.setenv("AGG_MODULE", "other")
    with TopologyTestDriver(slow({}), settings=Settings(batch_timeout=3, partitions=4), partitions=2) as driver:
        assert (driver.settings.batch_timeout, driver.settings.partitions) == (3, 2)
        assert driver.settings.module == "load_prediction"


def test_bad_settings_are_refused_with_the_lines_that_create_app_has_for_them() -> None:
    with pytest.raises(ValidationError) as caught:
        TopologyTestDriver(slow({}), batch_timeuot=5, fill="{none}", web_token="a b")  # noqa: S106 - no real one
    text = str(caught.value)
    assert "  batch_timeuot: unknown keyword; did you mean batch_timeout or " in text
    assert "  fill='{none}': must be 'zero', 'missing', 'forward' or 'linear'" in text
    assert "  web_token=(hidden): must be printable ASCII without blanks" in text
    assert "a b" not in text
    assert "pydantic.dev" not in text
    found = {(error["loc"], error["type"]) for error in caught.value.errors()}
    assert found == {(("batch_timeuot",), "extra_forbidden"), (("fill",), "enum"), (("web_token",), "value_error")}


def test_bad_settings_are_told_in_the_language_of_the_log() -> None:
    with pytest.raises(ValidationError, match="batch_timeuot：未知的关键字参数；是否想写 batch_timeout"):
        TopologyTestDriver(slow({}), settings=Settings(log_language="zh"), batch_timeuot=5)


@pytest.mark.parametrize(
    "functions",
    [
        {"callback": lambda one: one},
        {"callback": dict},
        {"callback": 5},
        {"batch_callback": lambda one, two: (one, two)},
        {"callback": slow({}), "result_handler": lambda one: one},
        {"callback": slow({}), "station_result_handler": lambda one, two: (one, two)},
    ],
)
def test_functions_that_a_worker_refuses_are_refused_in_the_same_words(
    functions: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FunctionError) as refused:
        TopologyTestDriver(**functions)
    with pytest.raises(SettingsError) as of_create_app:
        load_given(functions)
    assert str(refused.value) == str(of_create_app.value)


def test_keywords_of_the_driver_are_meant_too() -> None:
    with pytest.raises(ValidationError, match="start_tim: unknown keyword; did you mean start_time"):
        TopologyTestDriver(slow({}), start_tim=5)


def test_a_message_goes_where_its_key_belongs_and_without_one_to_each_partition_in_turn() -> None:
    with TopologyTestDriver(slow({}), partitions=3) as driver:
        assert [driver.send([]) for _ in range(4)] == [(0, 0), (1, 0), (2, 0), (0, 1)]
        partition, _ = driver.send([], key="plant-1")
        assert driver.send([], key="plant-1")[0] == partition


def test_any_topic_can_be_looked_at() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send('{"realTimeData": []}', key="k", headers={"h": "v"})
        (sent,) = driver.messages(TOPIC)
        assert (sent.topic, sent.key, sent.raw, sent.value) == (
            TOPIC,
            "k",
            b'{"realTimeData": []}',
            {"realTimeData": []},
        )
        assert (sent.headers, sent.timestamp) == ({"h": "v"}, START)
        assert driver.messages("no-such-topic") == []


def test_sending_to_a_topic_that_nobody_knows_is_an_error_that_names_the_source_topics() -> None:
    with TopologyTestDriver(slow({})) as driver, pytest.raises(ValueError, match=f"no topic typo; .* {TOPIC}"):
        driver.send([], "typo")


def test_within_a_running_event_loop_the_driver_says_what_to_do() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="in a plain `def` test"):
            TopologyTestDriver(slow({}))

    asyncio.run(main())


def test_a_bug_in_the_pipeline_fails_the_test_with_its_own_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Splitter, deliveries: Sequence[Delivery]) -> None:
        text = "a bug"
        raise ZeroDivisionError(text)

    with TopologyTestDriver(slow({})) as driver:
        monkeypatch.setattr(Splitter, "handle", broken)
        driver.restart()
        with pytest.raises(ZeroDivisionError, match="a bug"):
            driver.send(message("A"))
        assert driver.crashed
        monkeypatch.undo()
        driver.restart()
        assert len(driver.outputs) == 1


def test_a_killed_worker_does_nothing_and_its_successor_does_it_all() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.kill()
        assert driver.crashed
        driver.send(message("A"))
        driver.advance(10.0)
        assert driver.outputs == []
        assert driver.open_batches == driver.closed_batches == []
        driver.restart()
        assert not driver.crashed
        assert [output.key for output in driver.outputs] == [BATCH]
        assert driver.now == START + 10.0


def test_a_restart_throws_callbacks_away_that_run() -> None:
    ended: list[str] = []

    async def model(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        try:
            await asyncio.sleep(3.0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {"ended": driver.now}

    with TopologyTestDriver(model) as driver:
        driver.send(message("A"))
        driver.advance(1.0)
        driver.restart()
        assert ended == ["cancelled"]
        driver.advance(3.1)
        assert driver.outputs[0].value["stations"][0]["ended"] == START + 4.0


def test_a_crash_comes_right_before_the_message_that_was_asked_for_and_once() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.crash_before(lambda sent: sent.topic == driver.settings.output_topic)
        driver.send(message("A"))
        assert driver.crashed
        assert driver.outputs == []
        driver.restart()
        assert len(driver.outputs) == 1
        driver.send(message("A", time="2025-11-14 10:00:01"))
        assert len(driver.outputs) == 2


def test_a_crash_can_be_called_off_or_be_meant_for_the_next_worker() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.crash_before(lambda _: True)
        driver.crash_before(None)
        driver.send(message("A"))
        assert not driver.crashed
        driver.kill()
        driver.crash_before(lambda _: True)
        driver.restart()
        driver.send(message("A", time="2025-11-14 10:00:01"))
        assert driver.crashed


def test_a_worker_that_never_came_to_commit_reads_everything_again() -> None:
    calls: list[str] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        calls.append(station_id)

    with TopologyTestDriver(model) as driver:
        driver.send(message("A"))
        driver.restart()
        assert calls == ["A"]
        driver.send(message("B", time="2025-11-14 10:00:01"))
        driver.restart(lose_commits=True)
        assert calls == ["A", "B", "B", "B"]  # its station event is read again, and so is the message it was made of


def test_a_thread_is_waited_for_while_the_clock_stands_still() -> None:
    def model(station_id: str, module_input: ModuleInput) -> dict[str, float]:
        time.sleep(0.05)
        return {"now": driver.now}

    with TopologyTestDriver(model) as driver:
        driver.send(message("A"))
        driver.advance(1.0)
        driver.send(message("A", time="2025-11-14 10:00:01"))
        assert [output.value["stations"][0]["now"] for output in driver.outputs] == [START, START + 1.0]


def test_a_hung_thread_hangs_neither_the_driver_nor_its_end() -> None:
    stop = threading.Event()

    def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        if station_id == "H":
            stop.wait(600.0)
        return {"of": station_id}

    began = time.monotonic()
    with TopologyTestDriver(model, batch_timeout=5, thread_patience=0.1) as driver:
        driver.send(message("A", "H"))
        until_arrived(driver)
        for _ in range(10):
            driver.advance(1.0)
        assert driver.outputs[0].value["meta"]["missing"] == ["H"]
        driver.restart()
    assert time.monotonic() - began < 300
    stop.set()


def test_the_call_that_follows_a_hung_one_is_waited_for_again() -> None:
    stop = threading.Event()
    calls: list[str] = []

    def model(station_id: str, module_input: ModuleInput) -> dict[str, int]:
        calls.append(station_id)
        if len(calls) == 1:
            stop.wait(600.0)
        time.sleep(0.05)
        return {"call": len(calls)}

    with TopologyTestDriver(
        model, batch_timeout=10, station_timeout=2, thread_patience=5.0, max_batch_age=100
    ) as driver:
        driver.send(message("A"))
        driver.send(message("A", time="2025-11-14 10:00:01"))
        driver.advance(2.1)
        assert [output.value["stations"] for output in driver.outputs] == [[], [{"station_id": "A", "call": 2}]]
        stop.set()


def test_what_a_callback_hands_to_a_thread_of_its_own_is_waited_for() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> dict[str, bool]:
        await asyncio.to_thread(time.sleep, 0.05)
        return {"ok": True}

    with TopologyTestDriver(model) as driver:
        driver.send(message("A"))
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "ok": True}]
        assert driver.now < START + 0.01


def test_a_callback_that_spins_does_not_hang_the_driver() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> None:
        while True:  # noqa: ASYNC110 - just that is the matter here
            await asyncio.sleep(0)

    with TopologyTestDriver(model, batch_timeout=0.1) as driver:
        driver.send(message("A"))
        driver.advance(0.2)
        assert driver.outputs[0].value["meta"]["missing"] == ["A"]


def test_nothing_is_left_behind_whatever_the_callbacks_were_doing() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                if driver.crashed:
                    raise

    background: list[asyncio.Task[None]] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        background.append(asyncio.create_task(stubborn()))
        await stubborn()

    with TopologyTestDriver(model) as driver:
        driver.send(message("A", "B"))
        driver.advance(1.0)
        driver.restart()
        driver.advance(1.0)
    assert all(task.done() for task in background)
    assert not [thread for thread in threading.enumerate() if thread.name == "callback" and not thread.daemon]
    gc.collect()  # a loop or socket that is not closed would warn, and warnings are errors


def test_after_its_end_the_driver_can_be_looked_at_and_not_used() -> None:
    with TopologyTestDriver(answering({"A": 1})) as driver:
        driver.send(message("A"))
    driver.close()
    assert len(driver.outputs) == 1
    assert driver.now == START
    with pytest.raises(RuntimeError, match="closed"):
        driver.advance(1.0)
    with pytest.raises(RuntimeError, match="closed"):
        driver.restart()
