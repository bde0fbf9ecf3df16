"""Whatever leaves a function of the user's is that function's failure: a letter, and never the worker's end."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import DIRECT, record, unacknowledged


class UnprintableError(Exception):
    """An error whose text can't be had."""

    def __str__(self) -> str:
        raise SystemExit(9)


async def nothing() -> AsyncIterator[int]:
    for number in range(0):
        yield number


async def of_an_empty_generator() -> None:
    await anext(nothing())


def of_an_empty_iterator() -> None:
    next(iter(()))


async def of_its_own_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1.0)


async def of_its_own_task_and_goes() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    raise ValueError


async def of_a_task(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    await asyncio.gather(fails(), asyncio.sleep(0.1))


async def of_a_task_group(error: BaseException) -> None:
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise error

    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


async def of_a_shielded_task(error: BaseException) -> None:
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise error

    async with asyncio.timeout(500):
        await asyncio.shield(asyncio.ensure_future(fails()))


async def of_a_task_past_the_factory(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    await asyncio.Task(fails())


async def of_a_future(error: BaseException) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.01, future.set_exception, error)
    try:
        await future
    finally:
        await asyncio.sleep(0.01)


async def of_a_thread(error: BaseException) -> None:
    await asyncio.to_thread(raising(error))


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


ERRORS: list[BaseException] = [
    StopIteration(3),
    StopAsyncIteration(),
    GeneratorExit(),
    asyncio.CancelledError("own"),
    SystemExit(0),
    SystemExit("bye"),
    KeyboardInterrupt(),
    TimeoutError("own"),
    asyncio.QueueEmpty(),
    queue.Empty(),
    ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
    BaseExceptionGroup("several", [SystemExit(1), GeneratorExit()]),
    UnprintableError(),
    ValueError("half \ud800"),
    ValueError("x" * 1_000_000),
    MemoryError(),
    RecursionError(),
]
PLAIN: list[Callable[[], Any]] = [*map(raising, ERRORS), of_an_empty_iterator]
AWAITED: list[Callable[[], Any]] = [
    of_an_empty_generator,
    of_its_own_task,
    of_its_own_task_and_goes,
    lambda: of_a_task(SystemExit(0)),
    lambda: of_a_task(KeyboardInterrupt()),
    lambda: of_a_task(asyncio.CancelledError()),
    lambda: of_a_task_group(SystemExit(0)),
    lambda: of_a_task_group(GeneratorExit()),
    lambda: of_a_task(GeneratorExit()),
    lambda: of_a_shielded_task(GeneratorExit()),
    lambda: of_a_task_past_the_factory(GeneratorExit()),
    lambda: of_a_future(GeneratorExit()),
    lambda: of_a_future(SystemExit(0)),
    lambda: of_a_thread(GeneratorExit()),
]
KINDS = ["callback", "batch_callback", "result_handler", "station_result_handler"]


async def fine(*arguments: Any) -> Any:
    return {"ok": True}


def check(kind: str, function: Callable[..., Any], **settings: Any) -> None:
    """The function fails for `bad`, on the batch's way and on its own; it has letters, and all else goes on."""
    functions: dict[str, Any] = {kind: function}
    if "batch_callback" not in functions:
        functions = {"callback": fine} | functions
    options = {"handler_retries": 1, "retries": 1, "batch_callback_size": 1} | settings
    with TopologyTestDriver(**functions, passthrough_topics=[DIRECT], **options) as driver:
        driver.send([record("bad")])
        driver.send([record("bad")], DIRECT)
        driver.advance(8.0)
        reason = "handler-failed" if "handler" in kind else "station-failed"
        expected = 2 if "callback" in kind else 1
        assert [letter.headers["reason"] for letter in driver.dead_letters] == [reason] * expected
        assert all(letter.headers["error"] for letter in driver.dead_letters)
        assert unacknowledged(driver) == {}
        driver.send([record("good", "2025-11-14 11:00:00")])
        driver.send([record("good")], DIRECT)
        driver.advance(8.0)
        assert len(driver.dead_letters) == expected
        assert unacknowledged(driver) == {}
        assert driver.open_batches == []


def is_bad(arguments: tuple[Any, ...]) -> bool:
    return "bad" in str(arguments[0]) or (len(arguments) == 2 and "bad" in str(arguments[1]))


def answer(kind: str, arguments: tuple[Any, ...]) -> Any:
    return dict.fromkeys(arguments[0], 1) if kind == "batch_callback" else {"ok": True}


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_an_async_def_is_its_failure(kind: str, suspends: bool) -> None:
    for leave in [*PLAIN, *AWAITED]:

        async def function(*arguments: Any, leave: Callable[[], Any] = leave) -> Any:
            if suspends:
                await asyncio.sleep(0.01)
            if is_bad(arguments):
                returned = leave()
                if returned is not None:
                    await returned
            return answer(kind, arguments)

        check(kind, function)


@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_a_def_is_its_failure(kind: str) -> None:
    for leave in PLAIN:

        def function(*arguments: Any, leave: Callable[[], Any] = leave) -> Any:
            if is_bad(arguments):
                leave()
            return answer(kind, arguments)

        check(kind, function)


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_that_ignores_the_end_of_its_time_holds_up_nothing(kind: str) -> None:
    ignores = True

    async def function(*arguments: Any) -> Any:
        while is_bad(arguments) and ignores:
            try:
                await asyncio.sleep(1.0)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
        return answer(kind, arguments)

    check(kind, function, handler_timeout=1, station_timeout=1, retries=0, batch_timeout=5)
    ignores = False


@pytest.mark.parametrize("kind", ["callback", "batch_callback"])
def test_what_leaves_an_async_def_in_a_thread_is_its_failure(kind: str) -> None:
    for leave in [*PLAIN, *AWAITED]:

        async def function(*arguments: Any, leave: Callable[[], Any] = leave) -> Any:
            if is_bad(arguments):
                returned = leave()
                if returned is not None:
                    await returned
            return answer(kind, arguments)

        check(kind, function, executor="thread")


@pytest.mark.parametrize("leave", [of_a_task, of_a_shielded_task])
@pytest.mark.parametrize("kind", ["callback", "batch_callback"])
def test_a_callback_can_catch_the_generator_exit_of_a_task(kind: str, leave: Callable[[BaseException], Any]) -> None:
    async def function(*arguments: Any) -> Any:
        with pytest.raises(RuntimeError, match="a task raised GeneratorExit: own, which must not end the worker"):
            await leave(GeneratorExit("own"))
        await asyncio.sleep(0.01)
        return answer(kind, arguments)

    functions: dict[str, Any] = {kind: function}
    with TopologyTestDriver(**functions) as driver:
        driver.send([record("A")])
        driver.advance(8.0)
        assert driver.dead_letters == []
        assert [len(output.value["stations"]) for output in driver.outputs] == [1]
