"""Places that a worker has stored, or a user has named, and that are not there (any more), on a real Kafka."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.kafka.producer import KafkaSender
from app.kafka.producer_topics import UNKNOWN_SECONDS, pace_metadata
from app.kafka.topics import TopicSpec, create_and_wait
from app.messages.message import OutMessage, PlaceGoneError, SendError, UnknownTopicError
from app.settings import Settings
from tests.integration.support.reading import admin_client, end_offsets
from tests.shared_brokers import Broker, SharedBroker

pytestmark = pytest.mark.kafka

# Seconds that a topic is waited for, and none is that is not ours: no test may take that long.
PATIENCE = 200.0


async def create(admin: AIOKafkaAdminClient, **partitions: int) -> None:
    specs = [TopicSpec(name, count, 1, {}, exact=True) for name, count in partitions.items()]
    await create_and_wait(admin, specs, patience=PATIENCE)


@dataclass(frozen=True)
class Plant:
    """A sender, its producer, and an admin."""

    sender: KafkaSender
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient

    async def delete(self, topic: str) -> None:
        """Delete a topic; a broker takes messages for it for a moment after it has said that it is gone."""
        await self.admin.delete_topics([topic])
        async with asyncio.timeout(PATIENCE):
            while topic in await self.admin.list_topics():  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.05)

    async def sending(self, caplog: pytest.LogCaptureFixture, *messages: OutMessage) -> asyncio.Task[list[int]]:
        """Send, again if need be, until the line about the topic that is waited for is there."""
        task = asyncio.create_task(self.sender.send(messages))
        async with asyncio.timeout(PATIENCE):
            while " is not there: what is to be sent to it waits up to" not in caplog.text:
                if task.done():
                    task = asyncio.create_task(self.sender.send(messages))
                await asyncio.sleep(0.05)
        return task

    def held(self) -> int:
        """Batches that the producer still has."""
        accumulator = self.producer._message_accumulator
        return sum(map(len, accumulator._batches.values())) + len(accumulator._pending_batches)


@asynccontextmanager
async def plant(broker: Broker, patience: float = PATIENCE) -> AsyncIterator[Plant]:
    """The topics OUT (4 partitions) and known (2), of which OUT is the application's own."""

    async def fence() -> None:
        pass

    settings = Settings(output_topic="OUT", broker_patience=patience)
    async with (
        admin_client(broker.bootstrap) as admin,
        AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=True) as producer,
    ):
        await create(admin, OUT=4, known=2, later=2)
        pace_metadata(producer.client)
        await producer.client.set_topics(["OUT", "known"])
        sender = KafkaSender(settings, lambda: producer, fence, on_sent=lambda *_: None, one_by_one=())
        try:
            yield Plant(sender, producer, admin)
        finally:
            existing = await admin.list_topics()
            for name in {"OUT", "known", "later"}.intersection(existing):
                await Plant(sender, producer, admin).delete(name)


def test_a_topic_that_is_not_there_is_named_within_seconds_and_harms_no_other(strict_broker: SharedBroker) -> None:
    async def main() -> None:
        async with plant(strict_broker) as own:
            started = time.monotonic()
            missing = [own.sender.send([OutMessage("missing", b"v", key=b"k")]) for _ in range(3)]
            for error in await asyncio.gather(*missing, return_exceptions=True):
                assert isinstance(error, UnknownTopicError)
                assert isinstance(error, ValueError)
                assert "there is no topic missing" in str(error)
            assert time.monotonic() - started < PATIENCE, "it is not waited for as long as the broker"
            assert own.producer.client._topics == {"OUT", "known"}
            assert await own.sender.send([OutMessage("known", b"v", partition=0)]) == [0]
            assert await own.sender.send([OutMessage("later", b"v", partition=1)]) == [0]
            await create(own.admin, missing=1)
            assert await own.sender.send([OutMessage("missing", b"v")]) == [0]

    asyncio.run(main())


def test_a_place_in_a_topic_that_is_gone_is_no_reason_to_create_it(kafka_broker: SharedBroker) -> None:
    async def main() -> None:
        async with plant(kafka_broker) as own:  # this one creates what it is asked for
            with pytest.raises(UnknownTopicError, match="there is no topic gone any more"):
                await own.sender.send([OutMessage("gone", b"v", partition=3)])
            assert "gone" not in await own.admin.list_topics()
            assert await own.sender.send([OutMessage("asked-for", b"v", key=b"k")]) == [0]
            await own.admin.delete_topics(["asked-for"])

    asyncio.run(main())


def test_what_is_no_message_is_refused_and_what_waits_behind_it_goes_out(strict_broker: SharedBroker) -> None:
    async def main() -> None:
        async with plant(strict_broker) as own:
            wrong = OutMessage("known", "text", partition=0)  # type: ignore[arg-type]
            right = OutMessage("known", b"v", partition=0)
            sends = [own.sender.send(messages) for messages in ([right], [wrong], [right, right], [right, wrong])]
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert results[0] == [0]
            assert results[2] == [1, 2]
            for result in (results[1], results[3]):
                assert isinstance(result, SendError)
                assert "known[0]" in str(result)
                assert "TypeError" in str(result)
            assert await own.sender.send([right]) == [4], "the one before a wrong one is out"

    asyncio.run(main())


def test_what_a_topic_does_not_take_is_refused_by_name_and_harms_nothing_that_comes_after(
    strict_broker: SharedBroker,
) -> None:
    async def main() -> None:
        async with plant(strict_broker) as own:
            await create_and_wait(
                own.admin,
                [
                    TopicSpec("small", 1, 1, {"max.message.bytes": "1000"}, exact=True),
                    TopicSpec("compacted", 1, 1, {"cleanup.policy": "compact"}, exact=True),
                ],
                patience=PATIENCE,
            )
            fine = [OutMessage(topic, b"v", key=b"k", partition=0) for topic in ("small", "compacted", "known")]
            assert await own.sender.send(fine) == [0, 0, 0]
            for _ in range(2):
                with pytest.raises(SendError, match=r"small\[0\]: a message of 2000 bytes .*MessageSizeTooLargeError"):
                    await own.sender.send([OutMessage("small", b"x" * 2000, partition=0)])
                with pytest.raises(SendError, match=r"compacted\[0\]: .* takes no message without a key"):
                    await own.sender.send([OutMessage("compacted", b"v", partition=0)])
            assert await own.sender.send(fine) == [1, 1, 1]
            assert await own.sender.send(fine) == [2, 2, 2]
            await own.admin.delete_topics(["small", "compacted"])

    asyncio.run(main())


def test_a_topic_of_ours_that_is_away_for_a_while_is_waited_for_and_nothing_is_sent_twice(
    strict_broker: SharedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with plant(strict_broker) as own:
            assert await own.sender.send([OutMessage("OUT", b"v", partition=3)] * 3) == [0, 1, 2]
            await own.delete("OUT")
            sending = await own.sending(caplog, OutMessage("OUT", b"v", partition=3))
            assert (
                "OUT[3] is not there: what is to be sent to it waits up to 200 s (AGG_BROKER_PATIENCE)" in caplog.text
            )
            assert await own.sender.send([OutMessage("known", b"v", partition=1)]) == [0]
            await create(own.admin, OUT=4)
            assert await sending == [0]
            assert await own.sender.send([OutMessage("OUT", b"v", partition=3)]) == [1]
            assert await end_offsets(strict_broker.bootstrap, ["OUT"]) == {
                TopicPartition("OUT", number): 2 * (number == 3) for number in range(4)
            }
            assert "OUT[3]: the topic is there after" in caplog.text

    asyncio.run(main())


def test_a_partition_that_is_gone_is_an_error_at_once_and_what_was_not_bound_to_it_goes_elsewhere(
    strict_broker: SharedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with plant(strict_broker) as own:
            keyed = [OutMessage("OUT", b"v", key=b"%d" % number) for number in range(8)]
            assert sorted(set(await own.sender.send(keyed))) == [0, 1, 2]
            await own.delete("OUT")
            bound = await own.sending(caplog, OutMessage("OUT", b"v", partition=3))
            free = asyncio.create_task(own.sender.send(keyed))
            await create(own.admin, OUT=1)
            with pytest.raises(PlaceGoneError, match="there is no partition 3 of OUT: it has 1 partition now") as gone:
                await bound
            assert (gone.value.topic, gone.value.partitions) == ("OUT", 1)
            assert sorted(await free) == list(range(8))
            with pytest.raises(PlaceGoneError) as gone:
                await own.sender.send(
                    [
                        OutMessage("OUT", b"v", partition=3),
                        OutMessage("OUT", b"v", partition=0),
                        OutMessage("nowhere", b"v", partition=0),
                        OutMessage("known", b"v", partition=0),
                    ]
                )
            assert gone.value.counts == {"OUT": 1, "nowhere": 0}
            assert await end_offsets(strict_broker.bootstrap, ["OUT", "known"]) == {
                TopicPartition("OUT", 0): 9,
                TopicPartition("known", 0): 1,
                TopicPartition("known", 1): 0,
            }
            assert own.held() == 0, "what the producer had for them would appear when they came back"
            assert await own.sender.send([OutMessage("OUT", b"v", partition=0)]) == [9]

    asyncio.run(main())
    assert "never retrieved" not in caplog.text


def test_a_topic_of_ours_that_stays_away_is_an_error_that_names_it_when_patience_ends(
    strict_broker: SharedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with plant(strict_broker, patience=UNKNOWN_SECONDS + 1) as own:
            await own.sender.send([OutMessage("OUT", b"v", partition=3)])
            await own.delete("OUT")
            bound, free = await asyncio.gather(
                await own.sending(caplog, OutMessage("OUT", b"v", partition=3)),
                own.sender.send([OutMessage("OUT", b"v", key=b"k")]),
                return_exceptions=True,
            )
            for error in (bound, free):
                assert isinstance(error, SendError)
                assert not isinstance(error, PlaceGoneError)
                assert "there is no topic OUT; a start of the worker creates it" in str(error)
                assert "AGG_BROKER_PATIENCE" in str(error)
            assert "OUT[3]" in str(bound)

    asyncio.run(main())
