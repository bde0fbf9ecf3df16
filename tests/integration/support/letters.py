"""A dead-letter topic that tests fill by hand."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from app.settings import Settings, load_settings
from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import Command
from tests.integration.support.reading import end_offsets

__all__ = ["PAYLOAD", "ByHand", "settings_of"]

PAYLOAD: dict[str, Any] = {
    "batch_id": "b2",
    "module": "m",
    "timestamp": 105.0,
    "stations": [{"station_id": "A", "n": 1.5}],
    "station_count": 1,
    "meta": {
        "status": "discarded",
        "completed_by": "timeout",
        "revision": 1,
        "expected_count": 2,
        "arrived_count": 1,
        "missing": ["B"],
        "failed": [],
        "empty": [],
        "opened_at": 100.0,
        "deadline": 105.0,
        "closed_at": 105.0,
        "part": 1,
        "parts": 1,
    },
}
"""What a discarded batch has."""


@dataclass
class ByHand:
    """A cluster without a worker, in whose dead-letter topic a test puts what it wants.

    `now` (Unix seconds) is when it was made: a run of all tests may take longer than the hour that commands look back.
    """

    cluster: Cluster
    run: Command
    now: int = field(default_factory=lambda: int(time.time()))

    def put(self, partition: int, value: bytes | None, more: dict[str, str], *, ago: float = 0.0) -> None:
        """Append a letter in a transaction, which leaves a hole behind it; `more` are headers.

        Kafka confirms the end of a transaction before its marker stands in the partition: the next letter could be
        before that, and the hole elsewhere.
        """
        headers = {"failed-at": repr(self.now - ago), "error": "Traceback\n  x\nValueError: no"} | more
        pairs = [(name, text.encode()) for name, text in headers.items()]

        async def send() -> None:
            async with AIOKafkaProducer(
                bootstrap_servers=self.cluster.broker.bootstrap, transactional_id=uuid.uuid4().hex
            ) as producer:
                await producer.begin_transaction()
                sent = await producer.send_and_wait(
                    self.cluster.dead_letters, value, partition=partition, key=b"key", headers=pairs
                )
                await producer.commit_transaction()
            place = TopicPartition(sent.topic, sent.partition)
            behind_marker = sent.offset + 2
            while (await end_offsets(self.cluster.broker.bootstrap, [sent.topic]))[place] < behind_marker:  # noqa: ASYNC110 - the broker knows
                await asyncio.sleep(0.01)

        asyncio.run(send())

    def rows(self, *arguments: str) -> list[str]:
        """The places of the letters that are listed, in their order."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        if lines == ["no dead letters like that"]:
            return []
        assert lines[0].startswith("TIME ")
        column = lines[0].index("LETTER")
        return [line[column:].split()[0] for line in lines[1:]]


def settings_of(cluster: Cluster) -> Settings:
    return load_settings({f"AGG_{key.upper()}": value for key, value in cluster.settings.items()}, env_file=None)
