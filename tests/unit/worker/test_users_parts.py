"""Parts that users add to the application, and what is said of those that can't work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.application import create_app
from app.settings import Settings
from app.worker.users_parts import UsersParts

DECORATORS: dict[str, Callable[[UsersParts], Any]] = {
    "@app.task": lambda app: app.task,
    "@app.task()": lambda app: app.task(),
    "@app.timer": lambda app: app.timer(0.001),
}


@pytest.mark.parametrize("name", DECORATORS)
def test_a_function_that_can_not_be_awaited_is_named(name: str) -> None:
    app = create_app(Settings(callback="a:b"))

    def tick() -> None: ...

    DECORATORS[name](app)(tick)
    said = f"{name.removesuffix('()')}: .*tick must be an `async def`; it returned NoneType"
    with pytest.raises(TypeError, match=said):
        asyncio.run(asyncio.wait_for(app._app_tasks[-1](), 60))


@pytest.mark.parametrize("takes_app", [False, True])
def test_a_task_gets_the_application_if_it_takes_something(takes_app: bool) -> None:
    app, got = create_app(Settings(callback="a:b")), []

    if takes_app:

        @app.task
        async def task(given: UsersParts) -> None:
            got.append(given)
    else:

        @app.task
        async def nullary() -> None:
            got.append(app)

    asyncio.run(asyncio.wait_for(app._app_tasks[-1](), 60))
    assert got == [app]
