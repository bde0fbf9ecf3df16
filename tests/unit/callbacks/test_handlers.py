"""Functions of the user's in threads, each call with a time limit, as result handlers are called."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from app.callbacks.handlers import ThreadCaller
from tests.virtual_time import run_in_virtual_time


def test_a_function_runs_in_a_daemon_thread_and_its_result_comes_back() -> None:
    async def main() -> None:
        caller = ThreadCaller("handler")

        def function(a: int, b: int) -> tuple[int, str, bool, int]:
            thread = threading.current_thread()
            return a + b, thread.name, thread.daemon, len(caller.calls)

        assert await caller.call(function, 1, 2, timeout=60) == (3, "handler", True, 1)
        assert len(caller.calls) == 0
        caller.close()

    asyncio.run(main())


def test_an_awaitable_that_the_function_returns_is_awaited() -> None:
    async def main() -> None:
        async def inner() -> int:
            await asyncio.sleep(0)
            return 5

        caller = ThreadCaller()
        assert await caller.call(functools.partial(inner), timeout=60) == 5
        caller.close()

    asyncio.run(main())


@pytest.mark.parametrize("error", [ValueError("own"), StopIteration(1), SystemExit(2), KeyboardInterrupt()], ids=repr)
def test_what_the_function_raises_is_raised_but_never_ends_the_worker(error: BaseException) -> None:
    async def main() -> None:
        def function() -> None:
            raise error

        caller = ThreadCaller()
        with pytest.raises(ValueError if isinstance(error, ValueError) else RuntimeError):
            await caller.call(function, timeout=60)
        caller.close()

    asyncio.run(main())


def test_a_hung_function_times_out_and_its_thread_is_replaced() -> None:
    release, ended = threading.Event(), threading.Event()

    def hung() -> str:
        release.wait(600)
        ended.set()
        return "late"

    async def main() -> None:
        caller = ThreadCaller(size=1)
        with pytest.raises(TimeoutError):
            await caller.call(hung, timeout=30)
        assert asyncio.get_running_loop().time() == pytest.approx(30)
        assert len(caller.calls) == 0
        waiting = asyncio.create_task(caller.call(lambda: "next", timeout=1e9))
        assert await waiting == "next"
        release.set()
        caller.close()

    run_in_virtual_time(main())
    assert ended.wait(60)


def test_no_more_calls_run_at_once_than_the_pool_has_threads() -> None:
    async def main() -> None:
        caller = ThreadCaller(size=3)
        lock, now, most = threading.Lock(), 0, 0
        full = threading.Barrier(3)

        def function() -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            full.wait(600)
            with lock:
                now -= 1

        await asyncio.gather(*(caller.call(function, timeout=60) for _ in range(30)))
        assert most == 3
        caller.close()

    asyncio.run(main())


def test_a_closed_pool_starts_anew_and_a_thread_of_before_ends_when_it_comes_back() -> None:
    async def main() -> None:
        caller = ThreadCaller("anew")
        started, release = threading.Event(), threading.Event()

        def hold() -> int:
            started.set()
            release.wait(600)
            return threading.get_ident()

        held = asyncio.create_task(caller.call(hold, timeout=60))
        await asyncio.sleep(0)
        assert started.wait(60)
        caller.close()
        assert await caller.call(lambda: "next", timeout=60) == "next"
        release.set()
        before = await held
        assert (caller._threads, caller._idle, len(caller.calls)) == (1, 1, 0)
        for thread in threading.enumerate():
            if thread.ident == before:
                thread.join(60)
        assert before not in {thread.ident for thread in threading.enumerate()}
        caller.close()

    asyncio.run(main())
