"""A function of the user's that keeps the event loop from running is named while it does."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.callbacks.batch_runner import BatchCallbackRunner
from app.callbacks.executors.base import LoopExecutor
from app.callbacks.handlers import StationResultHandler
from app.callbacks.runner import CallbackRunner
from app.callbacks.scheduler import Call
from app.observability.log_lines import Line, Throttle
from app.settings import Settings
from app.settings.enums import Language
from app.worker.loop_watchdog import BLOCKED_SECONDS, LOOK_SECONDS, Case, LoopWatch, case_of, place_of
from tests.callback_bench import Bench

PATIENCE = 240.0  # seconds: no measure of speed, a busy machine gives a thread its turn when it likes


class Watched:
    """A watch, and what it has said."""

    def __init__(self, *, patience: float = 60.0, language: Language = Language.EN) -> None:
        self.lags: list[float] = []
        self.stuck: list[str] = []
        self.watch = LoopWatch(
            Settings(log_language=language),
            callback="load:model",
            observe=self.lags.append,
            on_stuck=self.stuck.append,
        )
        self.watch._patience = patience
        self.watch._throttle = Throttle(1e9)  # the minute of a busy machine is soon over
        self.looks = 0
        self._look = self.watch._look
        self.watch._look = self._count  # type: ignore[method-assign]

    def _count(self, now: float, worked: float) -> None:
        self._look(now, worked)
        self.looks += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        self.watch.start()
        try:
            yield
        finally:
            self.watch.stop()


def sleeps(until: Callable[[], object]) -> None:
    """Block the loop until that is so."""
    give_up_at = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < give_up_at:
        time.sleep(0.1)


def told(caplog: pytest.LogCaptureFixture) -> Callable[[], object]:
    """Whether something has been told since now."""
    count = len(caplog.records)
    return lambda: len(caplog.records) > count


async def run_one(runner: CallbackRunner[Any], *stations: str) -> None:
    await runner.start()
    for station in stations:
        runner.submit(Call(station, None, None))
    while runner.pending:  # noqa: ASYNC110 - of a runner that has no event for it
        await asyncio.sleep(0.01)
    await runner.stop()


def runner_of(callback: Callable[..., Any], kind: type[CallbackRunner[Any]] = CallbackRunner) -> Any:
    return kind(
        LoopExecutor(callback),
        Settings(),
        module_input=lambda _: {},
        on_outcome=lambda *_: None,
        on_error=lambda _: None,
        clock=time.time,
        max_result_bytes=1_000,
    )


def blocking(until: Callable[[], object], *, later: bool = False) -> Callable[..., Any]:
    """A function of the user's that blocks the loop until that is so, in its first step or a later one."""

    async def function(*_: Any) -> None:
        if later:
            await asyncio.sleep(0.01)
        sleeps(until)

    return function


@pytest.mark.parametrize("later", [False, True])
def test_a_callback_that_blocks_is_told_with_its_name_its_station_and_where_it_stands(
    later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched()

    async def main() -> None:
        with watched.running(), caplog.at_level(logging.INFO):
            await run_one(runner_of(blocking(told(caplog), later=later)), "S7")
            async with asyncio.timeout(PATIENCE):
                while "The event loop runs again" not in caplog.text:  # noqa: ASYNC110 - a thread tells it
                    await asyncio.sleep(0.01)

    asyncio.run(main())
    blocked, back = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"load:model blocks the event loop, for \d+\.\d s so far \(station S7\): everything else waits; "
        r'File ".*test_loop_watchdog\.py", line \d+, in sleeps: time\.sleep\(0\.1\)',
        blocked,
    )
    assert re.fullmatch(r"The event loop runs again, after \d+\.\d s", back)
    assert max(watched.lags) > BLOCKED_SECONDS


def test_it_is_told_while_the_loop_is_blocked_and_not_again_within_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    while_blocked: list[int] = []

    async def callback(*_: Any) -> None:
        sleeps(told(caplog))
        while_blocked.append(len(caplog.records))

    async def again(*_: Any) -> None:
        looks, began = watched.looks, time.monotonic()
        sleeps(lambda: watched.looks > looks + 5 and time.monotonic() > began + 2 * BLOCKED_SECONDS)

    async def main() -> None:
        with watched.running():
            await run_one(runner_of(callback), "A")
            await run_one(runner_of(again), "B")

    asyncio.run(main())
    assert while_blocked == [1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_callback_for_many_stations_is_told_with_them(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with Watched(language=Language.ZH).running():
            runner = runner_of(blocking(told(caplog)), BatchCallbackRunner)
            await run_one(runner, "A", "B")

    asyncio.run(main())
    assert "load:model 阻塞了事件循环，已持续 " in caplog.text
    assert "({'A', 'B'})" in caplog.text


def test_of_a_group_the_station_that_runs_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def callback(station_id: str, _: Any) -> None:
        if station_id == "B":
            sleeps(told(caplog))

    async def main() -> None:
        with Watched().running():
            async with Bench(callback) as bench:
                bench.submit("S7")
                await bench.until(1)
                bench.submit_group("A", "B", "C")
                await bench.until(4)

    asyncio.run(main())
    assert "load:model blocks the event loop" in caplog.text
    assert "(station B)" in caplog.text


def test_callbacks_of_a_group_that_block_only_for_moments_are_not_blamed(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    now = 100.0

    async def callback(*_: Any) -> None:
        nonlocal now
        time.sleep(0.01)  # noqa: ASYNC251 - longer than a burst: the loop has its turn after each
        now += LOOK_SECONDS
        watched.watch._look(now, now)

    async def main() -> None:
        with watched.running():
            watched.watch.stop()
            async with Bench(callback) as bench:
                bench.submit_group(*(f"S{number}" for number in range(30)))
                await bench.until(30)

    asyncio.run(main())
    assert watched.looks >= 30
    assert "blocks the event loop" not in caplog.text


def test_a_result_handler_that_blocks_is_told_with_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        settings = Settings(station_result_handler="out:one", handler_retries=0)
        handler = StationResultHandler(blocking(told(caplog), later=True), settings)
        with Watched().running():
            await handler("S1", dict, "1")
        handler.close()

    asyncio.run(main())
    assert "out:one blocks the event loop" in caplog.text
    assert "(station S1)" in caplog.text


def test_a_callback_that_holds_the_interpreter_is_told_as_soon_as_another_thread_can_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()

    async def callback(*_: Any) -> None:
        watched.watch._look(100.0, 5.0)
        watched.watch._look(103.0, 7.5)  # the watching thread comes 3 s later, in which the processor was busy

    async def main() -> None:
        watched.watch._watched = threading.get_ident()  # not started: its thread would look, too
        await run_one(runner_of(callback), "A")

    asyncio.run(main())
    assert "load:model blocks the event loop, for 3.0 s so far (station A)" in caplog.text


def test_callbacks_that_block_only_for_moments_are_not_blamed(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    now = 100.0

    async def callback(*_: Any) -> None:
        nonlocal now
        await asyncio.sleep(0)
        now += LOOK_SECONDS
        watched.watch._look(now, now)

    async def main() -> None:
        with watched.running():
            watched.watch.stop()
            await run_one(runner_of(callback), *(f"S{number}" for number in range(30)))

    asyncio.run(main())
    assert watched.looks >= 30
    assert "blocks the event loop" not in caplog.text


def test_something_else_that_is_busy_for_long_is_told_by_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with Watched().running():
            await asyncio.sleep(2 * LOOK_SECONDS)
            sleeps(told(caplog))

    asyncio.run(main())
    assert re.search(r"The event loop has not got on for ([2-9]|\d\d+)\.\d", caplog.text)
    assert "in sleeps: time.sleep(0.1)" in caplog.text


def test_a_loop_that_does_not_run_for_longer_than_the_patience_is_given_up() -> None:
    watched = Watched(patience=0.6)

    async def main() -> None:
        with watched.running():
            await run_one(runner_of(blocking(lambda: watched.stuck)), "A")

    asyncio.run(main())
    assert re.match(r"the event loop has not run for \d+ s; it stands at File ", watched.stuck[0])


def test_a_process_that_was_stopped_as_a_whole_blames_nobody(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.watch._look(100.0, 5.0)  # asks a loop that never answers
    watched.watch._look(700.0, 5.01)
    watched.watch._look(700.0 + LOOK_SECONDS, 5.02)
    assert caplog.text == ""
    assert watched.stuck == []


def test_a_loop_that_may_have_answered_while_the_process_was_stopped_is_asked_again() -> None:
    watched = Watched()
    asked: list[Any] = []
    watched.watch._loop = cast(Any, SimpleNamespace(call_soon_threadsafe=asked.append))
    watched.watch._look(100.0, 5.0)
    watched.watch._look(100.0 + LOOK_SECONDS, 5.1)
    assert len(asked) == 1
    watched.watch._look(700.0, 5.11)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("asked", "late", "busy", "case"),
    [
        (False, 0.0, 0.1, Case.RUNS),
        (True, 0.0, 0.1, Case.SILENT),
        (False, 3.0, 2.5, Case.HELD),
        (True, 3.0, 2.5, Case.HELD),
        (True, 3.0, 0.1, Case.STOPPED),
    ],
)
def test_a_late_look_is_the_fault_of_c_code_if_the_process_worked_meanwhile(
    asked: bool, late: float, busy: float, case: Case
) -> None:
    assert case_of(asked=asked, late=late, busy=busy) is case


def test_the_lines_are_there_in_both_languages() -> None:
    for line in (Line.LOOP_BLOCKED, Line.LOOP_BUSY, Line.LOOP_RUNS):
        assert line.texts[Language.EN] != line.texts[Language.ZH]


def test_a_frame_at_an_instruction_without_a_line_stands_at_the_first_of_its_function() -> None:
    code = test_a_frame_at_an_instruction_without_a_line_stands_at_the_first_of_its_function.__code__
    frame: Any = SimpleNamespace(f_code=code, f_lineno=None, f_globals={})
    assert place_of(frame).startswith(f'File "{code.co_filename}", line {code.co_firstlineno}, in {code.co_name}: def ')


def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    looks = threading.Semaphore(0)

    def look(now: float, worked: float) -> None:
        looks.release()
        message = "no look"
        raise ValueError(message)

    monkeypatch.setattr(watched.watch, "_look", look)

    async def main() -> None:
        with watched.running():
            for _ in range(3):
                assert await asyncio.to_thread(looks.acquire, timeout=PATIENCE)

    asyncio.run(main())
    assert caplog.text.count("the look at the event loop failed") == 1
