"""Delivery of the messages of the user's own agents, beside the pipeline's: what they do holds up nobody else.

Faust waits until a message has gone to its agent before it looks at the next one, of whatever topic. An agent that
hangs, and whose queue is full, would stop all of them. So each topic has a queue here and a task that works it off, and
is not fetched from while much waits in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from faust.types import ConsumerMessage

logger = logging.getLogger(__name__)

WAITING_MESSAGES: Final = 1_000  # of a topic, before no more are fetched


class UsersTopics:
    """Queues of messages, one for each topic of the user's, on their way to Faust's streams."""

    def __init__(self, deliver: Callable[[ConsumerMessage], Awaitable[None]]) -> None:
        """No topic is known yet; `deliver` puts a message into the streams of its topic, and waits for their room."""
        self._deliver = deliver
        self._waiting: dict[str, deque[ConsumerMessage]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def put(self, message: ConsumerMessage) -> None:
        """Deliver a message when those of its topic that came before it have been."""
        topic = message.topic
        self._waiting.setdefault(topic, deque()).append(message)
        if topic not in self._tasks:
            self._tasks[topic] = asyncio.get_running_loop().create_task(self._work_off(topic))

    def is_full(self, topic: str) -> bool:
        """Say whether so much waits that no more should come."""
        waiting = self._waiting.get(topic)
        return waiting is not None and len(waiting) >= WAITING_MESSAGES

    def clear(self) -> None:
        """Drop what waits, unacknowledged: it is read again, by whoever owns its partition then."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._waiting.clear()

    async def _work_off(self, topic: str) -> None:
        waiting = self._waiting[topic]
        while waiting:
            message = waiting.popleft()
            try:
                await self._deliver(message)
            except Exception:
                # Not acknowledged: it is read again after a restart.
                place = f"{topic}[{message.partition}]@{message.offset}"
                logger.exception("%s could not be given to the agents that read it", place)
        del self._tasks[topic]
