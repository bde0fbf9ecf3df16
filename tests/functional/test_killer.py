"""The checker of `make chaos MINUTES=10` on what the application does in memory: what is lawful is found to be so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from app.messages.message import Delivery
from app.pipeline.aggregation.aggregator import DeferredAcks
from app.testing import Message, TopologyTestDriver
from tests.chaos.killer.check import Seen, Sent, Verdict, check
from tests.chaos.killer.expected import message_of
from tests.chaos.killer.model import callback
from tests.chaos.killer.site import skipped_in
from tests.further import further
from tests.integration.support.reading import Received

SOURCE = "in"
BATCHES = range(30)


def received(message: Message) -> Received:
    """A message as a consumer gives it."""
    headers = tuple((name, text.encode()) for name, text in message.headers.items())
    return Received(message.topic, message.partition, message.offset, 0, message.raw_key, message.raw, headers)


def judge(driver: TopologyTestDriver, sent: Sent) -> Verdict:
    """Check all that is there."""
    outputs, late, letters = (
        [received(message) for message in messages] for messages in (driver.outputs, driver.late, driver.dead_letters)
    )
    log = [received(message) for message in driver.messages(driver.settings.batch_events_topic)]
    return check(sent, Seen(outputs, late, letters, skipped_in(log)))


@pytest.mark.parametrize("seed", [*range(4), *further(of=range(4, 10))])
def test_crashes_overdue_batches_and_repeated_messages_lose_nothing_and_are_counted(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - plays, guards nothing
    repeated: set[int] = set()
    with TopologyTestDriver(callback, source_topics=[SOURCE], batch_timeout=5, partitions=4) as driver:
        for number in BATCHES:
            times = random.choice((1, 1, 2))
            repeated |= {number} if times > 1 else set()
            for _ in range(times):
                driver.crash_before(lambda _: random.random() < 0.02, unordered=random.random() < 0.5)
                driver.send(message_of(SOURCE, number))
                driver.advance(random.choice((0.0, 0.02, 0.1)))
                if driver.crashed:
                    driver.advance(random.choice((0.0, 4.99, 7.0)))
                    driver.restart(lose_commits=random.random() < 0.5)
        driver.crash_before(None)
        if driver.crashed:
            driver.restart()
        driver.advance(30)
        verdict = judge(driver, Sent(SOURCE, set(BATCHES), set(BATCHES), repeated))
    assert (verdict.lost, verdict.different, verdict.wrong) == ([], [], [])
    assert (verdict.out, verdict.copies) == (len(BATCHES), 0)


def test_an_application_that_acknowledges_before_it_stores_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    add = DeferredAcks.add

    def acknowledge_first(acks: DeferredAcks, deliveries: Sequence[Delivery], now: float) -> None:
        for delivery in deliveries:
            delivery.ack()
        add(acks, [replace(delivery, ack=lambda: None) for delivery in deliveries], now)

    monkeypatch.setattr(DeferredAcks, "add", acknowledge_first)
    with TopologyTestDriver(callback, source_topics=[SOURCE], batch_timeout=5, partitions=4) as driver:
        for number in BATCHES:
            driver.send(message_of(SOURCE, number))
            driver.advance(0.02)
            driver.restart()
        driver.advance(30)
        verdict = judge(driver, Sent(SOURCE, set(BATCHES), set(BATCHES)))
    assert not verdict.good


def test_a_partial_batch_is_accounted_for_by_what_is_late_or_skipped() -> None:
    with TopologyTestDriver(callback, source_topics=[SOURCE], batch_timeout=0.03, partitions=4) as driver:
        for number in BATCHES:
            driver.send(message_of(SOURCE, number))
        driver.advance(30)
        verdict = judge(driver, Sent(SOURCE, set(BATCHES), set(BATCHES)))
    assert verdict.good, verdict
    assert verdict.partial == len(BATCHES)
    assert verdict.missing > len(BATCHES)
