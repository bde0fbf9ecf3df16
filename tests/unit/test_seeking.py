"""Where the consumer seeks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from faust.types import TP

from app.consumer import AggregatorConsumer


class FakeThread:
    """A thread of its own for what it is told to call, as the aiokafka consumer has."""

    def __init__(self) -> None:
        self.sought: list[tuple[TP, int, str]] = []

    def seek(self, partition: TP, offset: int) -> None:
        self.sought.append((partition, offset, threading.current_thread().name))

    async def call_thread(self, call: Callable[..., Any], *args: Any) -> None:
        other = threading.Thread(target=call, args=args, name="consumer")
        other.start()
        await asyncio.to_thread(other.join)


def test_it_seeks_in_the_thread_that_fetches() -> None:
    consumer: Any = AggregatorConsumer.__new__(AggregatorConsumer)
    consumer._thread = FakeThread()
    asyncio.run(consumer._seek(TP("source", 1), 7))
    assert consumer._thread.sought == [(TP("source", 1), 7, "consumer")]
