"""The agents of a worker: what each reads, and who handles it. The worker's and the test driver's are the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.messages.message import Delivery
from app.pipeline.pipeline import Pipeline
from app.settings import Settings

__all__ = ["Agent", "Handler", "TopicKind", "agents_of"]

SETTLE_SECONDS = 3.0  # what work in progress gets to end when partitions are taken away

Handler = Callable[[Sequence[Delivery]], Awaitable[None]]


class TopicKind(StrEnum):
    """What kind of topic messages come from; the label `topic` of metrics."""

    SOURCE = "source"
    CONTEXT = "context"
    STATION_EVENTS = "station-events"
    BATCH_EVENTS = "batch-events"


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent.

    Attributes:
        name: what log lines call it.
        kind: of its topics.
        topics: what it reads.
        purpose: for `faust agents`.
        handler: what gets the messages that have piled up, and acknowledges each when what was made of it is stored.
        grace: seconds that work in progress gets to end when partitions are taken away.
    """

    name: str
    kind: TopicKind
    topics: Sequence[str]
    purpose: str
    handler: Callable[[Pipeline], Handler]
    grace: Callable[[Pipeline], float]


def agents_of(settings: Settings) -> list[Agent]:
    """The agents that have something to read."""
    agents = [
        Agent(
            "splitter",
            TopicKind.SOURCE,
            settings.batch_topics,
            "Source messages into batches and stations",
            lambda pipeline: pipeline.splitter.handle,
            # While it waits for room nothing of its own is under way.
            lambda pipeline: 0.0 if pipeline.open_batches.waiting else SETTLE_SECONDS,
        ),
        Agent(
            "singles",
            TopicKind.SOURCE,
            settings.passthrough_topics,
            "Messages whose stations pass through",
            lambda pipeline: pipeline.splitter.handle,
            lambda _: SETTLE_SECONDS,
        ),
        Agent(
            "context",
            TopicKind.CONTEXT,
            settings.context_topics,
            "The newest records of stations",
            lambda pipeline: pipeline.context_splitter.handle,
            lambda _: SETTLE_SECONDS,
        ),
        Agent(
            "stations",
            TopicKind.STATION_EVENTS,
            [settings.station_events_topic],
            "Callbacks",
            lambda pipeline: pipeline.stations.handle,
            lambda _: 0.0,
        ),
        Agent(
            "aggregator",
            TopicKind.BATCH_EVENTS,
            [settings.batch_events_topic],
            "Results into batches, and their outputs",
            lambda pipeline: pipeline.aggregator.handle,
            lambda _: SETTLE_SECONDS,
        ),
    ]
    return [agent for agent in agents if agent.topics]
