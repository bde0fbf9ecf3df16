"""What a result handler wants to send is refused at once where Kafka can't take it, in words that name it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.callbacks.handler_context import HandlerContext
from app.messages.message import OutMessage

HALF = "\ud800"  # of a surrogate pair


class Unprintable:
    """An object of the user's whose every hook raises."""

    def __repr__(self) -> str:
        raise OSError

    def tolist(self) -> Any:
        raise LookupError


class Keeps:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[OutMessage] = []

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        self.sent += messages
        return [0] * len(messages)


def sent(topic: Any, key: Any, value: Any, max_bytes: int | None = 100) -> OutMessage:
    """Send by the context, and return the message."""
    sender = Keeps()

    async def main() -> None:
        context = HandlerContext({}, sender, asyncio.get_running_loop(), (), max_bytes)
        await context.send(topic, key, value)

    asyncio.run(main())
    (message,) = sender.sent
    return message


def refusal(topic: Any, key: Any, value: Any, max_bytes: int | None = 100) -> Exception:
    """The error of a call that is not even awaited."""
    sender = Keeps()

    async def main() -> Awaitable[None] | Exception:
        context = HandlerContext({}, sender, asyncio.get_running_loop(), (), max_bytes)
        try:
            return context.send(topic, key, value)
        except Exception as error:  # noqa: BLE001 - it is what is tested
            return error

    error = asyncio.run(main())
    assert isinstance(error, Exception)
    assert sender.sent == []
    return error


@pytest.mark.parametrize("topic", [None, 5, b"bytes", ["T"], ("T",), {"T": 1}, object, Unprintable(), True])
def test_a_topic_that_is_no_text_is_a_type_error(topic: object) -> None:
    error = refusal(topic, "k", "v")
    assert type(error) is TypeError
    assert type(topic).__name__ in str(error)


@pytest.mark.parametrize(
    "topic",
    ["", " ", "no such topic!", ".", "..", "a" * 250, "a/b", "a\n", "a\x00", "主题", "a,b", "a:b", "a#b", HALF, "é"],
)
def test_a_name_that_is_none_of_kafkas_is_a_value_error_that_shows_it(topic: str) -> None:
    error = refusal(topic, "k", "v")
    assert type(error) is ValueError
    assert repr(topic)[:50] in str(error)
    assert "must be a Kafka topic name" in str(error)
    str(error).encode()


@pytest.mark.parametrize("topic", ["a", "a" * 249, "A.b_c-9", "...", "-"])
def test_a_name_of_kafkas_is_taken(topic: str) -> None:
    assert sent(topic, None, "v").topic == topic


@pytest.mark.parametrize("key", [5, 1.5, True, ["k"], {"k": 1}, object(), Unprintable(), np.int64(1)])
def test_a_key_of_another_type_is_a_type_error_that_names_topic_and_type(key: object) -> None:
    error = refusal("T", key, "v")
    assert type(error) is TypeError
    assert "the key of a message for topic T" in str(error)
    assert type(key).__name__ in str(error)


@pytest.mark.parametrize(("key", "value"), [(HALF, "v"), ("k", HALF)])
def test_text_that_utf_8_cannot_hold_is_a_value_error(key: str, value: str) -> None:
    error = refusal("T", key, value)
    assert isinstance(error, ValueError)
    assert "topic T" in str(error)
    str(error).encode()


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [{1}, object(), {"at": datetime(2025, 1, 1)}, {"a": {("b",): 1}}, itself(), 1j, {"x": HALF}, Unprintable(), print],  # noqa: DTZ001
)
def test_a_value_that_json_cannot_hold_is_a_type_error(value: object) -> None:
    error = refusal("T", "k", value)
    assert type(error) is TypeError
    assert "topic T can't be written as JSON" in str(error)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (None, None),
        (b"\xff", b"\xff"),
        (bytearray(b"b"), b"b"),
        (memoryview(b"m"), b"m"),
        ("text", b"text"),
        (5, b"5"),
        (False, b"false"),
        ({1: "one", "n": float("nan")}, b'{"1":"one","n":null}'),
        (np.array([1.0, 2.0]), b"[1.0,2.0]"),
        ([2**70], b"[1180591620717411303424]"),
    ],
)
def test_what_kafka_can_take_is_sent(value: object, raw: bytes | None) -> None:
    message = sent("T", "k", value)
    assert (message.key, message.value) == (b"k", raw)


@pytest.mark.parametrize(("key", "value"), [("k", "v" * 100), ("k" * 101, ""), (None, b"v" * 101), ("é" * 51, None)])
def test_a_message_over_the_limit_is_a_value_error_that_names_the_setting(key: Any, value: Any) -> None:
    error = refusal("T", key, value, max_bytes=100)
    assert type(error) is ValueError
    assert "topic T" in str(error)
    assert "AGG_MAX_MESSAGE_BYTES" in str(error)
    assert sent("T", key, value, max_bytes=102)


anything = st.one_of(
    st.none(), st.text(), st.binary(), st.integers(), st.floats(), st.lists(st.text()), st.sets(st.text())
)


@given(anything, anything, anything)
def test_whatever_is_sent_is_taken_or_refused_in_one_of_two_ways(topic: Any, key: Any, value: Any) -> None:
    with suppress(TypeError, ValueError):
        assert sent(topic, key, value).topic == topic
