"""The start of the tables: a worker joins its group only when they have started."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from app.kafka.state_store import AggregatorTables


def test_the_tables_start_without_waiting_for_more_of_them() -> None:
    done: list[str] = []

    async def update_channels() -> None:
        done.append("channels")

    async def start() -> None:
        done.append("recovery")

    async def sleep(_seconds: float) -> None:
        done.append("sleep")

    tables: Any = AggregatorTables.__new__(AggregatorTables)
    tables._update_channels = update_channels
    tables._recovery = SimpleNamespace(start=start)
    tables.sleep = sleep
    tables._stopped = asyncio.Event()
    tables._crashed = asyncio.Event()
    asyncio.run(tables.on_start())
    assert done == ["channels", "recovery"]
