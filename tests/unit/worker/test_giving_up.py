"""A worker that the group has forgotten gives its work up at once: it joins the group again only after that."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.application import create_app
from app.kafka.state_store import AggregatorTables
from app.messages.message import ForgottenError
from app.pipeline.build import Pipeline
from app.settings import Settings
from app.worker.app import FENCE_PAUSE, AggregatorApp
from tests.virtual_time import run_in_virtual_time

LONG = 100.0


class Storing:
    """A pipeline that ends when what it is storing has been sent, as the aggregator does."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        self.sending: asyncio.Task[None] | None = None
        self.sent = False

    async def send(self) -> None:
        await self._app._fence()
        self.sent = True

    async def cancel(self) -> None:
        assert self.sending is not None
        await asyncio.wait([self.sending])


async def give_up(app: AggregatorApp) -> tuple[Storing, float]:
    pipeline = Storing(app)
    app._pipeline = cast(Pipeline, pipeline)
    app.intakes = []
    pipeline.sending = asyncio.create_task(pipeline.send())
    await asyncio.sleep(10 * FENCE_PAUSE)
    assert not pipeline.sending.done()  # it may be a zombie's
    async with asyncio.timeout(LONG):
        await app.give_up_work()
    return pipeline, asyncio.get_running_loop().time()


def test_what_a_forgotten_worker_wants_to_send_is_given_up_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings())
    monkeypatch.setattr(AggregatorApp, "_may_be_forgotten", lambda _: True)

    pipeline, took = run_in_virtual_time(give_up(app))

    assert not pipeline.sent
    assert took <= 12 * FENCE_PAUSE
    sending: Any = pipeline.sending
    error = sending.exception()
    assert isinstance(error, ForgottenError)
    app.fail(error)  # does not end the worker: the next owner does that work


def test_a_worker_that_the_group_knows_again_sends_what_it_was_storing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings())
    forgotten = iter([True] * 15)
    monkeypatch.setattr(AggregatorApp, "_may_be_forgotten", lambda app: not app._gives_up and next(forgotten, False))

    pipeline, _ = run_in_virtual_time(give_up(app))

    assert pipeline.sent


def test_a_recovery_that_is_under_way_hands_nothing_over_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings())
    monkeypatch.setattr(AggregatorApp, "_may_be_forgotten", lambda _: False)
    app.consumer_generation_id = 7
    recovery = cast(AggregatorTables, app.tables).recovery
    recovery._generation_id = 7
    asyncio.run(app.give_up_work())  # while the worker starts, too: there is no pipeline yet
    asyncio.run(app.take_over())  # would ask the pipeline
    assert recovery._generation_id != 7


def test_work_is_given_up_until_the_last_of_those_who_give_it_up_has_done_so() -> None:
    """A stream of the user's changes the subscription, and a rebalance begins meanwhile."""
    app = create_app(Settings())
    given_up: list[int] = []

    class Ending:
        """Takes a while to end."""

        async def cancel(self) -> None:
            await asyncio.sleep(len(given_up) + 1)
            given_up.append(app._gives_up)

    app._pipeline = cast(Pipeline, Ending())
    app.intakes = []

    async def both() -> None:
        first = asyncio.create_task(app.give_up_work())
        await asyncio.sleep(0.5)
        await asyncio.gather(first, app.give_up_work())

    run_in_virtual_time(both())
    assert (given_up, app._gives_up) == ([2, 1], 0)
