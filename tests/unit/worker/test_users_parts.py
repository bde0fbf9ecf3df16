"""Parts that users add to the application, and what is said of those that can't work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.application import create_app
from app.settings import Settings
from app.worker.users_parts import RefusedError, UsersParts


async def send() -> None: ...
async def dead_letters_command() -> None: ...


DECORATORS: dict[str, Callable[[UsersParts], Any]] = {
    "@app.task": lambda app: app.task,
    "@app.task()": lambda app: app.task(),
    "@app.timer": lambda app: app.timer(0.001),
    "@app.crontab": lambda app: app.crontab("* * * * *"),
    "@app.agent": lambda app: app.agent("MINE"),
    "@app.page": lambda app: app.page("/mine"),
    "@app.command": lambda app: app.command(),
}


@pytest.mark.parametrize("name", DECORATORS)
def test_a_function_that_can_not_be_awaited_is_named(name: str) -> None:
    app = create_app(Settings(callback="a:b"))
    decorator = name.removesuffix("()")

    def tick(*_: Any) -> None: ...

    with pytest.raises(RefusedError, match=f"{decorator}.*: .*tick must be an `async def`"):
        DECORATORS[name](app)(tick)


@pytest.mark.parametrize("name", ["@app.task", "@app.timer"])
def test_one_of_which_that_can_not_be_seen_is_named_when_it_is_called(name: str) -> None:
    app = create_app(Settings(callback="a:b"))
    DECORATORS[name](app)(lambda: None)
    with pytest.raises(TypeError, match=f"{name}: .*<lambda> must be an `async def`; it returned NoneType"):
        asyncio.run(asyncio.wait_for(app._app_tasks[-1](), 60))


def test_a_function_that_returns_what_can_be_awaited_is_taken() -> None:
    app, ran = create_app(Settings(callback="a:b")), []

    async def work() -> None:
        ran.append(1)

    app.task(lambda: work())  # noqa: PLW0108 - it is the lambda that is tried
    asyncio.run(asyncio.wait_for(app._app_tasks[-1](), 60))
    assert ran == [1]


def test_a_timer_without_its_seconds_and_a_crontab_that_is_none_are_refused() -> None:
    app = create_app(Settings(callback="a:b"))

    async def tick() -> None: ...

    with pytest.raises(RefusedError, match=r"write @app.timer\(5.0\)"):
        app.timer(tick)
    for wrong in ("not a cron", "61 * * * *", "", 5):
        with pytest.raises(RefusedError, match="no cron expression"):
            app.crontab(wrong)(tick)  # type: ignore[arg-type]
    app.crontab("*/5 * * * *")(tick)


@pytest.mark.parametrize(
    ("take", "said"),
    [
        (
            lambda app: app.agent(app.topic("SCHEDULE-STATION-REALTIME-DATA")),
            "topic SCHEDULE-STATION-REALTIME-DATA: the",
        ),
        (lambda app: app.agent("batch-aggregator-load-prediction-batch-events"), "-batch-events: the pipeline"),
        (lambda app: app.stream(app.topic("SCHEDULE-STATION-REALTIME-DATA")), "the pipeline of this application reads"),
        (lambda app: app.agent(app.topic("MINE"), name="splitter"), "'splitter'.: there is an agent of this name"),
        (lambda app: app.command()(send), "@app.command: send is a command of this application"),
        (lambda app: app.command()(dead_letters_command), "@app.command: dead-letters is a command"),
        (lambda app: app.table_route(table=None), "@app.table_route needs Faust's own web server"),
    ],
)
def test_what_would_harm_the_pipeline_is_refused(take: Callable[[UsersParts], Any], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        take(create_app(Settings(callback="a:b")))


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
