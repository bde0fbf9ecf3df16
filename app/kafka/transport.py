"""What Faust reaches Kafka by: our consumer, a producer that appends nothing twice, and what streams make of it.

Every override replaces a method of Faust. Without it:

    _settings_extra           a batch that is sent again after a broker's fault is appended twice
    create_topic              Faust creates topics with its own partition counts
    send                      a topic that is not there is asked for without end, with an ERROR ten times a second

`confirmed` is for the consumer's commits; Faust has `flush` for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import AppT, Message

from app.kafka.client import Application
from app.kafka.consumer import AggregatorConsumer
from app.kafka.delivery import Fetched
from app.kafka.producer_topics import ProducerTopics
from app.kafka.topics import topic_specs


class FetchedSchema(faust.Schema[Any, Any]):
    """A stream's values are lists of `Fetched`, as the consumer delivers them: they need no decoding."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> bytes | None:  # noqa: ARG002
        """The key as it is; nothing looks at it."""
        return message.key

    def loads_value(self, app: AppT, message: Message, **_: Any) -> list[Fetched]:  # noqa: ARG002
        """Pieces of partitions."""
        return cast(list[Fetched], message.value)


class AggregatorProducer(driver.Producer):
    """Faust's producer, idempotent: a batch that is sent again after a broker's fault is not appended twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unconfirmed: set[asyncio.Future[Any]] = set()  # of the user's messages

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"enable_idempotence": True}

    async def create_topic(self, topic: str, *args: Any, **options: Any) -> None:
        """Create a topic of the user's, as the changelog of a table; `ensure_topics` has created and verified ours."""
        if topic not in self._ours:
            await super().create_topic(topic, *args, **options)

    async def send(self, topic: str, *args: Any, **options: Any) -> Any:
        """Send a message of the user's, as Faust does.

        Raises:
            UnknownTopicError: there is no such topic, for five seconds.
        """
        over = asyncio.get_running_loop().create_future()
        over.add_done_callback(self._unconfirmed.discard)
        self._unconfirmed.add(over)
        try:
            await self._topics.choose_from(topic)
            sent = cast("asyncio.Future[Any]", await super().send(topic, *args, **options))
        except BaseException:
            over.cancel()
            raise
        sent.add_done_callback(lambda _: over.cancel())
        return asyncio.shield(sent)  # who waits for it no longer does not end it

    async def confirmed(self) -> None:
        """Wait until what the user's code has sent so far is out, or has failed.

        That is what Faust has begun to send: `send_soon` and tables have a buffer before it, which is given 0.1 s, as
        by Faust's commit. `flush` waits for what the pipeline sends, too, whose acknowledgements wait for it by
        themselves. A topic of ours that is gone, or a partition without a leader, would hold up the commits of all.
        """
        await self.buffer.flush()
        if self._unconfirmed:
            await asyncio.wait(set(self._unconfirmed))

    @cached_property
    def _topics(self) -> ProducerTopics:
        return ProducerTopics(cast(Application, self.app).settings, self._ensure_producer)

    @cached_property
    def _ours(self) -> frozenset[str]:
        return frozenset(spec.name for spec in topic_specs(cast(Application, self.app).settings))


class AggregatorTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = AggregatorConsumer
    Producer = AggregatorProducer
