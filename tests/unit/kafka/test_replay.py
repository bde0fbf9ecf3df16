"""Letters that are sent again by their places: each is told of, and what is gone is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from app.kafka import replay
from app.messages.dead_letters import Letter
from app.messages.replays import Fate, ReplayLog
from app.settings import Settings
from tables.model.events import Source

SETTINGS = Settings(app_id="app")


def letter(offset: int, reason: str = "bad-message") -> Letter:
    return Letter(1, offset, 1.0, 1.0, reason, "", Source("T", 0, 3), "b", None, 2, b"k", b"{}")


def run(monkeypatch: pytest.MonkeyPatch, *, dry_run: bool, again: bool = False) -> tuple[dict[str, Fate], list[Any]]:
    """Ask for five letters: one to be sent, one that was, one that can't be, and two that are not there."""
    log = ReplayLog("app-replayed")
    sent: list[Any] = []
    there = [letter(7), letter(8), letter(9, "too-large")]
    for one in (there[1], letter(2)):
        record = log.record(one, 5.0)
        log.take([SimpleNamespace(key=record.key, value=record.value)])  # type: ignore[list-item]

    async def stream(places: Sequence[tuple[int, int]]) -> AsyncIterator[Letter]:
        for one in there:
            yield one

    async def send(topic: str, value: bytes | None, *, key: bytes | None, **_: Any) -> asyncio.Future[Any]:
        sent.append((topic, key, value))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(topic=topic, partition=0, offset=len(sent)))
        return future

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[Any]:
        yield SimpleNamespace(stream=stream, log=log, counts={"T": 1}, largest=None, first_offsets={1: 5})

    @asynccontextmanager
    async def producing(*_: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(send=send)

    monkeypatch.setattr(replay, "open_letters", opened)
    monkeypatch.setattr(replay, "open_replay_producer", producing)
    places = [(1, 9), (1, 7), (3, 3), (1, 8), (1, 1)]
    told = asyncio.run(replay.replay_letters(SETTINGS, places, operator="Li", dry_run=dry_run, again=again))
    return {one.place: one.fate for one in told}, sent


def test_what_would_be_done_is_told_in_the_order_in_which_letters_were_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told, sent = run(monkeypatch, dry_run=True)
    assert list(told.items()) == [
        ("1@9", Fate.IMPOSSIBLE),
        ("1@7", Fate.WOULD_SEND),
        ("3@3", Fate.UNKNOWN),
        ("1@8", Fate.SENT_BEFORE),
        ("1@1", Fate.UNKNOWN),
    ]
    assert sent == []


def test_what_is_sent_is_remembered_and_what_is_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    told, sent = run(monkeypatch, dry_run=False)
    assert told["1@7"] is Fate.SENT
    assert [(topic, key, value is None) for topic, key, value in sent] == [
        ("T", b"k", False),
        ("app-replayed", b"1@7", False),
        ("app-replayed", b"1@2", True),
    ]


def test_again_sends_what_was_sent_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told, sent = run(monkeypatch, dry_run=False, again=True)
    assert told["1@8"] is Fate.SENT
    assert [key for topic, key, _ in sent if topic == "T"] == [b"k", b"k"]


@pytest.mark.parametrize(
    ("settings", "reason", "expected"),
    [
        ({}, "station-failed", ["T"]),
        ({}, "bad-record", ["T"]),
        ({}, "discarded", []),
        ({"source_topics": ("S", "T")}, "bad-message", []),
        ({"passthrough_topics": ("T",)}, "bad-message", []),
        ({"context_topics": ("T",)}, "bad-message", []),
    ],
)
def test_a_topic_that_nobody_here_reads_is_known(settings: dict[str, Any], reason: str, expected: list[str]) -> None:
    assert replay.unread_topics(Settings(**settings), [letter(7, reason), letter(8, reason)]) == expected
