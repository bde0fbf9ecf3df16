"""A small Faust application: counts the messages of a topic in a table, and sends each on."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import Producer, Transport

from app.kafka.client import Application
from app.kafka.transport import AggregatorTransport, FetchedSchema
from app.settings import Settings
from tests.integration.stock import OURS

__all__ = ["app"]

SECONDS_EACH = 0.002


class FlushedProducer(Producer):
    """Faust's producer, which creates the changelog's topic; what our consumer asks of it is Faust's way."""

    async def confirmed(self) -> None:
        """Wait for all that has been sent."""
        await self.flush()


class OurConsumer(AggregatorTransport):
    """Our consumer beside Faust's producer."""

    Producer = FlushedProducer  # type: ignore[assignment]  # ours is in its place


class StockApp(faust.App):
    """Faust as it is, but for the consumer when that is asked for."""

    # What our consumer asks of its application.
    settings = Settings(
        app_id=os.environ["AGG_APP_ID"],
        broker=os.environ["AGG_BROKER"],
        source_topics=(os.environ["AGG_SOURCE_TOPICS"],),
    )

    url = ""

    def _new_transport(self) -> Transport:
        transport = OurConsumer if OURS in os.environ else Transport
        return transport(self.conf.broker_consumer, self)

    async def give_up_work(self) -> None:
        """Nothing is in flight but what the stream has."""

    def count_gap(self, offsets: int) -> None:
        """The source has none."""

    def count_lost(self, offsets: int) -> None:
        """Nothing is lost."""

    def count_restart(self) -> None:
        """Its topics are never made again."""

    def fenced(self) -> None:
        """It has no name."""

    def denied(self, error: KafkaError) -> None:
        """Its broker allows everything."""


app = StockApp(
    os.environ["AGG_APP_ID"],
    broker=os.environ["AGG_BROKER"],
    store="memory://",
    topic_partitions=1,
    topic_disable_leader=True,
    web_enabled=False,
    broker_commit_interval=0.2,
    stream_recovery_delay=0.0,
)
OURS_ASKS: Application = app  # for the type checker: what our consumer asks is there
source = app.topic(
    os.environ["AGG_SOURCE_TOPICS"],
    schema=FetchedSchema() if OURS in os.environ else faust.Schema(value_type=bytes, value_serializer="raw"),
)
output = app.topic(os.environ["AGG_OUTPUT_TOPIC"], value_type=bytes, value_serializer="raw")
counts = app.Table("counts", default=int, partitions=1)


@app.agent(source)
async def pass_on(stream: Any) -> None:
    """Count each message, send it on, and acknowledge it when the broker has it."""
    async for event in stream.noack().events():
        if OURS in os.environ:
            for fetched in event.value:
                for delivery in fetched.deliveries:
                    await count_and_send(delivery.message.value)
                    delivery.ack()
        else:
            await count_and_send(event.value)
            event.ack()


async def count_and_send(value: bytes) -> None:
    """What is done with each message; when this returns it may be acknowledged."""
    counts["all"] += 1
    await (await output.send(value=value))
    await asyncio.sleep(SECONDS_EACH)
