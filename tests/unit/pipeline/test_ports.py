"""Work in the background: one piece at a time for each key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.pipeline.ports import SETTLE_SECONDS, OneAtATime
from tests.virtual_time import run_in_virtual_time


def no_error(error: BaseException) -> None:
    raise AssertionError from error


def piece(done: list[tuple[str, float]], name: str, seconds: float) -> Callable[[], Awaitable[None]]:
    """Work that takes so long, and then notes when it has ended."""

    async def work() -> None:
        await asyncio.sleep(seconds)
        done.append((name, asyncio.get_running_loop().time()))

    return work


def test_work_of_one_key_is_done_in_order_and_that_of_others_side_by_side() -> None:
    async def main() -> None:
        done: list[tuple[str, float]] = []
        works = OneAtATime(on_error=no_error)
        works.start(["a"], piece(done, "a1", 5))
        works.start(["a"], piece(done, "a2", 1))
        works.start(["b"], piece(done, "b1", 2))
        works.start(["a", "b"], piece(done, "ab", 1))
        works.start(["b"], piece(done, "b2", 1))
        await asyncio.sleep(60)
        assert done == [("b1", 2), ("a1", 5), ("a2", 6), ("ab", 7), ("b2", 8)]

    run_in_virtual_time(main())


def test_what_work_raises_is_told_and_the_next_one_begins() -> None:
    async def main() -> None:
        done: list[tuple[str, float]] = []
        errors: list[BaseException] = []
        works = OneAtATime(on_error=errors.append)

        async def broken() -> None:
            await asyncio.sleep(1)
            raise LookupError

        works.start(["a"], broken)
        works.start(["a"], piece(done, "a2", 1))
        await asyncio.sleep(60)
        assert [type(error) for error in errors] == [LookupError]
        assert done == [("a2", 2)]

    run_in_virtual_time(main())


@pytest.mark.parametrize(("grace", "ended"), [(0.0, []), (SETTLE_SECONDS, [("a", 2)])])
def test_work_gets_its_grace_and_is_cancelled_then(grace: float, ended: list[tuple[str, float]]) -> None:
    async def main() -> None:
        done: list[tuple[str, float]] = []
        works = OneAtATime(on_error=no_error)
        works.start(["a"], piece(done, "a", 2))
        works.start(["b"], piece(done, "b", 60))
        works.start(["b"], piece(done, "b2", 60))
        await asyncio.sleep(0)
        await works.cancel(grace)
        assert done == ended
        assert asyncio.get_running_loop().time() == grace

    run_in_virtual_time(main())
