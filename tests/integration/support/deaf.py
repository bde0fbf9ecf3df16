"""A worker that a file makes deaf to its group: no heartbeat is answered any more, though the broker answers.

Only that worker may import this: it changes aiokafka and the watchdog.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator

from app.worker import watchdog
from tests.integration.support.model import callback

__all__ = ["callback"]

# As in the real thing, in a tenth of the time.
watchdog.TROUBLED_AFTER /= 10
watchdog.LOST_AFTER /= 10

heartbeat = GroupCoordinator._do_heartbeat


async def deaf_heartbeat(coordinator: Any) -> bool:
    while Path(os.environ["MODEL_DEAF"]).exists():  # noqa: ASYNC110, ASYNC240 - a file tells nobody
        await asyncio.sleep(0.1)
    alive: bool = await heartbeat(coordinator)
    return alive


GroupCoordinator._do_heartbeat = deaf_heartbeat
