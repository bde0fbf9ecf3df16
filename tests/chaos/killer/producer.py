"""A plant: sends batches at a steady rate and keeps a journal. `python -m tests.chaos.killer.producer`, see `main`.

It is killed in the middle and started again. As plants do, it sends again what the broker has not acknowledged, and may
have all the same. SIGTERM: it sends nothing new, and ends when the broker has all.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.killer.expected import message_of
from tests.chaos.killer.journal import Journal, Writer

__all__ = ["command"]

IN_FLIGHT = 100  # batches; while the broker is away no more than so many wait for it
PAUSE = 0.2  # seconds between two attempts to reach a broker that is away


def command(servers: str, topic: str, partitions: int, journal: Path, rate: float) -> list[str]:
    """Return what starts one; `rate` is in batches a second."""
    return [
        sys.executable,
        "-m",
        "tests.chaos.killer.producer",
        servers,
        topic,
        str(partitions),
        str(journal),
        str(rate),
    ]


class Plant:
    """Sends what the journal does not have yet, and first what it has as sent and not acknowledged."""

    def __init__(self, servers: str, topic: str, partitions: int, journal: Path) -> None:
        self._servers, self._topic, self._partitions = servers, topic, partitions
        known = Journal(journal).follow()
        self._again = known.unacknowledged()
        self._next = max(known.sent, default=-1) + 1
        self._journal = Writer(journal)
        self.stopping = asyncio.Event()

    async def run(self, rate: float) -> None:
        """Send until it is to stop, and all is acknowledged; with a new client after each fault of the broker."""
        while not self.stopping.is_set() or self._again:
            with suppress(KafkaError):
                await self._send_all(rate)
            await asyncio.sleep(PAUSE)
        self._journal.close()

    async def _send_all(self, rate: float) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._servers, enable_idempotence=True, request_timeout_ms=10_000)
        waiting: set[asyncio.Task[None]] = set()
        try:
            await producer.start()
            while self._again or not self.stopping.is_set():
                due = time.monotonic() + 1 / rate
                number = self._take()
                waiting.add(asyncio.create_task(self._send(producer, number)))
                done, waiting = await asyncio.wait(waiting, timeout=0)
                while len(waiting) >= IN_FLIGHT:
                    done_now, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    done |= done_now
                for task in done:
                    task.result()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*waiting)
        finally:
            await asyncio.gather(*waiting, return_exceptions=True)
            await producer.stop()

    def _take(self) -> int:
        if self._again:
            return self._again.pop(0)
        self._next += 1
        return self._next - 1

    async def _send(self, producer: AIOKafkaProducer, number: int) -> None:
        self._journal.sent(number)
        try:
            message, partition = message_of(self._topic, number), number % self._partitions
            await producer.send_and_wait(self._topic, message, partition=partition)
        except KafkaError:
            self._again.append(number)
            raise
        self._journal.acknowledged(number)


async def main(servers: str, topic: str, partitions: str, journal: str, rate: str) -> None:
    """Run with the words of the command line, until SIGTERM."""
    plant = Plant(servers, topic, int(partitions), Path(journal))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, plant.stopping.set)
    await plant.run(float(rate))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
