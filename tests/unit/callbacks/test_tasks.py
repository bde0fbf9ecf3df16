"""Background tasks: owned, ended, and asked who has cancelled them."""

from __future__ import annotations

import asyncio

import pytest

from app.callbacks.tasks import TaskSet, is_from_outside
from tests.virtual_time import run_in_virtual_time


def test_a_task_is_held_until_it_has_ended() -> None:
    async def main() -> None:
        tasks = TaskSet()
        task = tasks.start(asyncio.sleep(1))
        assert (tasks._tasks, len(tasks)) == ({task}, 1)
        await task
        await asyncio.sleep(0)
        assert len(tasks) == 0
        await tasks.cancel(5)
        assert asyncio.get_running_loop().time() == pytest.approx(1)

    run_in_virtual_time(main())


def test_a_task_that_ends_within_the_grace_is_not_cancelled_and_another_one_is() -> None:
    async def main() -> None:
        tasks = TaskSet()
        short, long = tasks.start(asyncio.sleep(2)), tasks.start(asyncio.sleep(60))
        await tasks.cancel(3)
        assert asyncio.get_running_loop().time() == pytest.approx(3)
        assert (short.cancelled(), long.cancelled(), len(tasks)) == (False, True, 0)

    run_in_virtual_time(main())


@pytest.mark.parametrize(("patience", "gone_at"), [(None, 10), (1.0, 1)])
def test_a_task_that_ignores_its_cancellation_is_waited_for_as_long_as_the_patience_lasts(
    patience: float | None, gone_at: float
) -> None:
    async def stubborn() -> None:
        until = asyncio.get_running_loop().time() + 10
        while (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        tasks = TaskSet()
        task = tasks.start(stubborn())
        await asyncio.sleep(0)
        await tasks.cancel(patience=patience)
        assert asyncio.get_running_loop().time() == pytest.approx(gone_at)
        await task

    run_in_virtual_time(main())


def test_a_task_that_another_one_starts_at_its_end_is_cancelled_too() -> None:
    async def main() -> None:
        tasks = TaskSet()

        async def first() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                tasks.start(asyncio.sleep(60))

        tasks.start(first())
        await asyncio.sleep(0)
        await tasks.cancel()
        assert len(tasks) == 0
        assert asyncio.get_running_loop().time() == 0

    run_in_virtual_time(main())


def test_the_task_that_ends_the_others_is_left_alone() -> None:
    async def main() -> None:
        tasks = TaskSet()
        other = tasks.start(asyncio.sleep(60))
        last = tasks.start(tasks.cancel(1))
        await last
        assert other.cancelled()
        assert not last.cancelled()

    run_in_virtual_time(main())


def test_a_cancellation_is_from_outside_if_the_task_was_asked_to_cancel() -> None:
    async def main() -> None:
        found: list[bool] = []

        async def work() -> None:
            for wait in (asyncio.Future[None](), asyncio.sleep(60)):
                if isinstance(wait, asyncio.Future):
                    wait.cancel()
                try:
                    await wait
                except asyncio.CancelledError as error:
                    found.append(is_from_outside(error))

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await task
        assert found == [False, True]
        assert is_from_outside(GeneratorExit())
        assert not is_from_outside(ValueError())

    run_in_virtual_time(main())


def test_what_a_task_raises_is_told_and_so_is_a_cancellation_that_nobody_has_asked_for() -> None:
    async def main() -> None:
        errors: list[BaseException] = []
        tasks = TaskSet(errors.append)

        async def fails(error: BaseException) -> None:
            raise error

        bug = RuntimeError("bug")
        tasks.start(fails(bug))
        await asyncio.sleep(1)
        assert errors == [bug]
        tasks.start(fails(asyncio.CancelledError()))
        await asyncio.sleep(1)
        assert isinstance(errors.pop(), asyncio.CancelledError)
        tasks.start(asyncio.sleep(60))
        await tasks.cancel()
        assert errors == [bug]

    run_in_virtual_time(main())
