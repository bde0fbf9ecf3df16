"""`faust` that takes its time at the end of a recovery, just where a message that is delivered would be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from faust.cli.faust import cli
from faust.transport.consumer import ThreadDelegateConsumer

from app.kafka.consumer import AggregatorConsumer

WITHIN: Final = 2.0  # seconds; more than the one after which Faust sees that partitions have been resumed
BEHIND: Final = 0.5


def slowed(work: Callable[[Any], Awaitable[Any]], seconds: float) -> Any:
    """Do the work, and let time pass: whatever can be delivered now is."""

    async def work_slowly(consumer: Any) -> Any:
        result = await work(consumer)
        await asyncio.sleep(seconds)
        return result

    return work_slowly


if __name__ == "__main__":
    # Faust's own consumer loses what comes between its seek and its noting of the offset that it has read to. Ours
    # seeks in its own way, and would lose what comes between that and the clearing of the queues.
    ThreadDelegateConsumer.seek_to_committed = slowed(ThreadDelegateConsumer.seek_to_committed, WITHIN)  # type: ignore[method-assign]
    AggregatorConsumer.perform_seek = slowed(AggregatorConsumer.perform_seek, BEHIND)  # type: ignore[method-assign]
    cli()
