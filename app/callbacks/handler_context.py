"""The third argument of a result handler: the batch's `meta`, and a way to send messages of its own.

What a handler wants to send is checked before anything is asked of Kafka: whatever Kafka can't take is an error in the
handler, at once, and the producer that all of the worker shares never sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from typing import Any

from app.callbacks.outcome import json_bytes
from app.messages.message import Headers, OutMessage, Sender
from app.settings.types import TOPIC_RULE, is_topic

_SHOWN = 100  # characters of a name or a key in an error


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """The third argument, or the keyword `context`, of a result handler that takes one.

    `meta` is the `meta` object of the default payload.
    """

    meta: dict[str, Any]
    _sender: Sender
    _loop: asyncio.AbstractEventLoop
    _headers: Headers = ()
    _max_bytes: int | None = None

    def send(self, topic: str, key: str | bytes | None, value: object) -> Awaitable[None]:
        """Publish a message of the handler's own; done when the broker has confirmed it.

        An `async def` handler awaits that. A `def` handler runs in a thread and can't: for it this returns only then.

        Args:
            topic: where to.
            key: of the message; text is sent as UTF-8.
            value: bytes and text are sent as they are, None as a message without a value, all else as JSON.

        Raises:
            TypeError: the topic is no text, the key is none of text, bytes and None, or the value has no form in JSON.
            ValueError: the topic's name is none that Kafka takes, text can't be written as UTF-8, or key and value
                have more bytes than AGG_MAX_MESSAGE_BYTES. From the broker: there is no such topic.
        """
        sending = self._send(message_of(topic, key, value, headers=self._headers, max_bytes=self._max_bytes))
        if self._is_on_loop():
            return sending
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()
        return _Sent()

    async def _send(self, message: OutMessage) -> None:
        await self._sender.send([message])

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False


class _Sent:
    """An awaitable that is done, for a message that the broker has confirmed."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def message_of(topic: object, key: object, value: object, *, headers: Headers, max_bytes: int | None) -> OutMessage:
    """Make the message that a function of the user's wants to send, for the errors see `HandlerContext.send`.

    What can be changed later (a bytearray, a list) is taken as it is now. `max_bytes` bounds key and value together.
    """
    name = _topic(topic)
    key_bytes = _key_bytes(key, name)
    value_bytes = _value_bytes(value, name)
    size = len(key_bytes or b"") + len(value_bytes or b"")
    if max_bytes is not None and size > max_bytes:
        message = f"the message for topic {name} has {size} bytes, more than the {max_bytes} of AGG_MAX_MESSAGE_BYTES"
        raise ValueError(message)
    return OutMessage(name, value_bytes, key=key_bytes, headers=headers)


def _topic(topic: object) -> str:
    if not isinstance(topic, str):
        message = f"the topic of a message must be text, not {type(topic).__name__}: {_shown(topic)}"
        raise TypeError(message)
    if not is_topic(topic):
        message = f"the topic {_shown(topic)} {TOPIC_RULE}"
        raise ValueError(message)
    return str(topic)


def _key_bytes(key: object, topic: str) -> bytes | None:
    if key is None:
        return None
    if isinstance(key, str):
        return _encoded(key, f"the key of a message for topic {topic}")
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    message = (
        f"the key of a message for topic {topic} must be text, bytes or None, not {type(key).__name__}: {_shown(key)}"
    )
    raise TypeError(message)


def _value_bytes(value: object, topic: str) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return _encoded(value, f"the value of a message for topic {topic}")
    return json_bytes(value, f"the value of a message for topic {topic}")


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = f"{what} is text with half of a surrogate pair, which UTF-8 can't hold: {_shown(text)}"
        raise ValueError(message) from None


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - __repr__ is the user's
        return "(it can't be shown)"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
