"""What a function of the user's prints is one line of the log, which says for what it was called."""

# ruff: noqa: T201 - it is what a user's function does

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from app.settings.enums import Language
from app.testing import TopologyTestDriver
from app.worker.printing import printed_to_log
from tests.functional.plant import BATCH, DIRECT, message, record

NAME = "load:model"


def lines(caplog: pytest.LogCaptureFixture) -> set[tuple[str, str]]:
    return {(told.levelname, told.getMessage()) for told in caplog.records if told.name == "app.worker.printing"}


def run(language: Language = Language.EN, **options: Any) -> None:
    with TopologyTestDriver(**options, passthrough_topics=[DIRECT]) as driver:
        with printed_to_log(NAME, language, logging.WARNING):
            driver.send(message("A", "B"))
            driver.send(record("C"), DIRECT)
            driver.advance(1.0)
        assert driver.dead_letters == []


async def prints(station_id: str, module_input: Any) -> int:
    print("load", 1.5)
    return 1


async def prints_later(station_id: str, module_input: Any) -> int:
    await asyncio.sleep(0.01)
    print("load", 1.5, file=sys.stderr)
    return 1


def prints_in_a_thread(station_id: str, module_input: Any) -> int:
    print("load", 1.5)
    return 1


@pytest.mark.parametrize(
    ("callback", "options"),
    [
        (prints, {}),
        (prints_later, {}),
        (prints_later, {"retries": 2}),
        (prints_in_a_thread, {}),
        (prints, {"executor": "thread"}),
        (prints_later, {"executor": "thread"}),
    ],
)
def test_a_print_in_a_callback_is_one_line_that_names_the_station(
    caplog: pytest.LogCaptureFixture, callback: Any, options: dict[str, Any]
) -> None:
    run(callback=callback, **options)
    assert lines(caplog) == {("WARNING", f"{NAME} (station {station}) prints: load 1.5") for station in "ABC"}
    assert len([told for told in caplog.records if "prints" in told.getMessage()]) == 3


def test_a_batch_callback_and_both_handlers_are_named(caplog: pytest.LogCaptureFixture) -> None:
    async def many(inputs: dict[str, Any]) -> Any:
        print("many")
        return dict.fromkeys(inputs, 1)

    async def handler(batch_id: str, results: Any) -> None:
        print("uploaded")

    def station_handler(station_id: str, module_input: Any, result: Any) -> None:
        print("a", "b")

    run(Language.ZH, batch_callback=many, result_handler=handler, station_result_handler=station_handler)
    assert lines(caplog) == {
        ("WARNING", f"{NAME} ({{'A', 'B'}}) 输出: many"),
        ("WARNING", f"{NAME} (station C) 输出: many"),
        ("WARNING", f"result_handler (batch {BATCH}) 输出: uploaded"),
        ("WARNING", "station-result-handler (station C) 输出: a b"),
    }


def test_what_others_print_is_a_line_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    before = sys.stdout
    with printed_to_log(NAME, Language.EN, logging.INFO), caplog.at_level(logging.INFO):
        print("a\nb", 1)
    assert lines(caplog) == {("INFO", "a\\nb 1")}
    assert sys.stdout is before
