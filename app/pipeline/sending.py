"""Sending in strict order, with a word to whoever waits for it when the broker has confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from app.messages.message import OutMessage

__all__ = ["SETTLE_SECONDS", "ConfirmingSender"]

SETTLE_SECONDS = 3.0  # what is on its way gets to be confirmed when partitions are taken away


class ConfirmingSender:
    """Sends what has piled up together, and only then what has come meanwhile.

    `send` gets messages and returns when they are confirmed. `on_error` gets what it raised; what waited for those
    messages is never told of them.
    """

    def __init__(
        self, send: Callable[[Sequence[OutMessage]], Awaitable[object]], on_error: Callable[[BaseException], None]
    ) -> None:
        self._send = send
        self._on_error = on_error
        self._messages: list[OutMessage] = []
        self._stored: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, messages: Sequence[OutMessage], stored: Callable[[], None]) -> None:
        """Send these behind all that was added before; `stored` is called when the broker has confirmed them."""
        self._messages += messages
        self._stored.append(stored)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def cancel(self) -> None:
        """Drop what has not been sent, and give what is on its way SETTLE_SECONDS to be confirmed."""
        self._messages, self._stored = [], []
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SETTLE_SECONDS)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._stored:
                messages, self._messages = self._messages, []
                stored, self._stored = self._stored, []
                await self._send(messages)
                for callback in stored:
                    callback()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be acknowledged, and the owner decides
            self._on_error(error)
        finally:
            self._task = None
