"""What the pipeline looks up on the broker at stored places, any of which may have gone since.

A consumer that is given a partition which is not there asks for it until it runs out of time, and does not say which.
So places are looked for first, in the metadata of all topics: asking for one that is not there could create it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from app.kafka.reading import find_outputs, find_sources, patiently
from app.messages.message import InMessage
from app.messages.output import OutputId
from app.settings import Settings
from tables.model.events import Source


class Lookups:
    """Finds outputs and source messages; at a place that is gone there are none.

    A broker that is away is waited for, up to AGG_BROKER_PATIENCE; the error then names what could not be read.
    """

    def __init__(self, settings: Settings, producer: Callable[[], AIOKafkaProducer]) -> None:
        """Look up with the settings' connection; `producer` gives the worker's, which knows the cluster."""
        self._settings = settings
        self._producer = producer

    async def find_outputs(self, topic: str, partition: int, since: float) -> set[OutputId]:
        """Find which output messages stand in a partition from `since` (Unix seconds) up to its end now."""
        with _naming(f"{topic}[{partition}]"):
            if not _has(await self._cluster(), topic, partition):
                return set()
            return await find_outputs(self._settings, topic, partition, since)

    async def find_sources(self, sources: Sequence[Source]) -> dict[Source, InMessage]:
        """Read the messages that stand at these places, as far as the broker still has them."""
        with _naming(", ".join(sorted({f"{source.topic}[{source.partition}]" for source in sources}))):
            cluster = await self._cluster()
            there = [source for source in sources if _has(cluster, source.topic, source.partition)]
            return await find_sources(self._settings, there) if there else {}

    async def _cluster(self) -> ClusterMetadata:
        ask: Callable[[], Awaitable[ClusterMetadata]] = self._producer().client.fetch_all_metadata
        return await patiently(self._settings)(ask)


def _has(cluster: ClusterMetadata, topic: str, partition: int) -> bool:
    return partition in (cluster.partitions_for_topic(topic) or ())


@contextmanager
def _naming(places: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        message = f"{places} can't be read: {error}"
        raise KafkaError(message) from error
