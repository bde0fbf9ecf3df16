"""Workers whose topics go away or come back smaller, as a user would see them, on a real Kafka."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from app.messages.partitioner import partition_of
from tests.chaos.points.trap import TRAP, set_trap
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, SentBatch, stations_of
from tests.integration.support.model import HANDLER_CALLS, HANDLER_GATE, SIDE_TOPIC
from tests.integration.support.reading import Received, end_offsets
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import Program
from tests.shared_brokers import SharedBroker

pytestmark = pytest.mark.kafka

WATCHED = Program(app="tests.chaos.points.worker", warm=True)

PARTITIONS = 4


@pytest.fixture
def strict(strict_broker: SharedBroker, tmp_path: Path) -> Iterator[Cluster]:
    """A share of it."""
    with Cluster(strict_broker, tmp_path, partitions=PARTITIONS) as cluster:
        yield cluster


def make_again(cluster: Cluster, topic: str, partitions: int) -> None:
    cluster.delete_topic(topic)
    cluster.create_topic(topic, partitions)


def batches(cluster: Cluster, numbers: range) -> list[SentBatch]:
    return [cluster.batch(number, stations_of(FINE, range(3))) for number in numbers]


def of_gone_partitions(cluster: Cluster, count: int) -> list[SentBatch]:
    """Batches that do not go to partition 0, which a topic of one partition has too."""
    found = (batch for batch in batches(cluster, range(100)) if partition_of(batch.batch_id.encode(), PARTITIONS))
    return list(islice(found, count))


def places(outputs: list[Received]) -> dict[str, int]:
    return {output.name: output.partition for output in outputs}


def count(cluster: Cluster, topic: str) -> int:
    return sum(asyncio.run(end_offsets(cluster.broker.bootstrap, [topic])).values())


def assert_out_once(cluster: Cluster, waiting: list[SentBatch]) -> None:
    """They come out, and what is sent then behind them, each once; nothing else is in the output topic."""
    wait_for(lambda: count(cluster, cluster.output) >= len(waiting), cluster.logs)
    more = batches(cluster, range(300, 304))
    cluster.send(*more)
    wait_for(lambda: count(cluster, cluster.output) >= len(waiting) + len(more), cluster.logs)
    cluster.wait_settled()
    due = sorted(batch.batch_id for batch in [*waiting, *more])
    assert sorted(one.name for one in cluster.read_topic(cluster.output)) == due
    cluster.assert_clean_logs()


@pytest.mark.chaos
def test_decisions_that_were_stored_for_partitions_that_are_gone_come_out_once(strict: Cluster, tmp_path: Path) -> None:
    gate, calls = tmp_path / "gate", tmp_path / "calls"
    strict.create_topic(f"side-{strict.app_id}")
    calls.touch()
    settings = {"result_handler": "tests.integration.support.model:sending_handler", "handler_timeout": "1000"}
    environment = {SIDE_TOPIC: f"side-{strict.app_id}", HANDLER_GATE: str(gate), HANDLER_CALLS: str(calls)}
    worker = strict.start(settings, environment).wait_ready()
    sent = batches(strict, range(6))
    strict.send(*sent)
    wait_for(lambda: len(calls.read_text().split()) == len(sent), worker.tail)
    worker.kill()  # all are decided and stored, with their partitions
    make_again(strict, strict.output, 1)
    gate.touch()

    worker = strict.start(settings, environment).wait_ready()
    strict.wait_out()
    strict.wait_settled()
    assert places(strict.outputs()) == dict.fromkeys(strict.sent, 0)
    gone = {batch.batch_id: partition_of(batch.batch_id.encode(), PARTITIONS) for batch in sent}
    gone = {batch_id: partition for batch_id, partition in gone.items() if partition}
    assert gone
    for batch_id, partition in gone.items():
        line = f"Batch {batch_id}: its stored place {strict.output}[{partition}] is gone, its output goes to "
        assert f"{line}{strict.output}[0]" in worker.log
    worker.kill()
    worker = strict.start(settings, environment).wait_ready()
    more = batches(strict, range(10, 12))
    strict.send(*more)
    strict.wait_out()
    strict.wait_settled()
    assert count(strict, strict.output) == len(sent) + len(more), "no crash makes a second output of it"
    strict.assert_clean_logs()


@pytest.mark.chaos
@pytest.mark.parametrize("point", ["closing-sent", "closing-stored", "output-sent", "output-confirmed"])
def test_a_worker_that_dies_while_it_moves_outputs_to_another_place_loses_none_and_sends_none_twice(
    strict: Cluster, tmp_path: Path, point: str
) -> None:
    """What is stored on the move is the decision (`closing`) with its new place, before anything is sent there."""
    settings, trap = {"broker_patience": "900"}, tmp_path / "trap"
    worker = strict.start(settings).wait_ready()
    strict.send(*batches(strict, range(200, 202)))
    strict.wait_out()
    strict.delete_topic(strict.output)
    moved = of_gone_partitions(strict, 6)
    strict.send(*moved)
    strict.wait_settled()  # all are decided and stored, with their partitions
    worker.kill()
    strict.create_topic(strict.output, 1)

    set_trap(trap, point, 1)
    dies = strict.start(settings, {TRAP: str(trap)}, WATCHED)
    assert dies.wait_exit() == -signal.SIGKILL
    trap.unlink()
    strict.start(settings).wait_ready()
    assert_out_once(strict, moved)


@pytest.mark.chaos
def test_outputs_that_wait_for_their_topic_come_out_once_though_their_partitions_change_hands(strict: Cluster) -> None:
    settings = {"broker_patience": "900"}
    stays, dies = (strict.start(settings).wait_ready() for _ in range(2))
    wait_for(lambda: stays.ready and dies.ready, strict.logs)
    strict.send(*batches(strict, range(200, 204)))
    strict.wait_out()
    strict.delete_topic(strict.output)
    waiting = batches(strict, range(12))
    for batch in waiting:  # the first is with the producer, those behind it are not yet
        strict.send(batch)
        strict.wait_settled()
    dies.kill()
    wait_for(lambda: not stays.ready, strict.logs)  # it gives up what is in flight, and has all to itself then
    strict.create_topic(strict.output, PARTITIONS)
    wait_for(lambda: stays.ready, strict.logs)
    assert_out_once(strict, waiting)


@pytest.mark.chaos
def test_an_output_topic_that_was_deleted_is_created_by_the_next_start(strict: Cluster) -> None:
    worker = strict.start().wait_ready()
    strict.send(*batches(strict, range(3)))
    strict.wait_out()
    worker.terminate()
    strict.delete_topic(strict.output)
    worker = strict.start().wait_ready()
    assert f"Topics created: {strict.output}" in worker.log
    strict.send(*batches(strict, range(10, 13)))
    wait_for(lambda: count(strict, strict.output) == 3, worker.tail)
    strict.assert_clean_logs()


def test_an_output_topic_that_is_made_again_smaller_while_the_worker_runs_is_used_as_it_is(strict: Cluster) -> None:
    worker = strict.start({"broker_patience": "900"}).wait_ready()
    strict.send(*batches(strict, range(6)))
    strict.wait_out()
    strict.delete_topic(strict.output)
    more = batches(strict, range(10, 18))
    strict.send(*more)
    wait_for(lambda: "is not there: what is to be sent to it waits up to 900 s" in worker.log, worker.tail)
    assert f" {strict.output}[" in worker.log
    strict.create_topic(strict.output, 2)
    wait_for(lambda: count(strict, strict.output) == len(more), worker.tail)
    strict.wait_settled()
    assert worker.running
    assert count(strict, strict.output) == len(more)
    strict.assert_clean_logs()


@pytest.mark.chaos
def test_a_topic_of_ours_that_stays_away_ends_the_worker_by_name_and_the_next_start_goes_on(strict: Cluster) -> None:
    worker = strict.start({"broker_patience": "5"}).wait_ready()
    strict.send(*batches(strict, range(2)))
    strict.wait_out()
    strict.delete_topic(strict.output)
    more = batches(strict, range(10, 13))
    strict.send(*more)
    assert worker.wait_exit() == 1
    assert f"there is no topic {strict.output}; a start of the worker creates it" in worker.log
    assert "KafkaTimeoutError" not in worker.log
    worker = strict.start().wait_ready()
    wait_for(lambda: count(strict, strict.output) == len(more), worker.tail)
    strict.wait_settled()
    assert count(strict, strict.output) == len(more)
    strict.assert_clean_logs()


@pytest.mark.chaos
def test_a_side_topic_that_is_not_there_is_the_handlers_failure_and_no_other_batch_suffers(
    strict: Cluster, tmp_path: Path
) -> None:
    gate, calls, side = tmp_path / "gate", tmp_path / "calls", f"side-{strict.app_id}"
    gate.touch()
    calls.touch()
    settings = {"result_handler": "tests.integration.support.model:sending_handler", "handler_retries": "0"}
    environment = {SIDE_TOPIC: side, HANDLER_GATE: str(gate), HANDLER_CALLS: str(calls)}
    worker = strict.start(settings, environment).wait_ready()
    (failing,) = batches(strict, range(1))
    strict.send_raw(strict.source, failing.value)
    wait_for(strict.letters, worker.tail)
    (letter,) = strict.letters()
    assert (letter.name, letter.header("reason")) == (failing.batch_id, "handler-failed")
    assert f"there is no topic {side}, and the broker does not create it" in letter.header("error")
    strict.create_topic(side)
    fine = batches(strict, range(10, 12))
    strict.send(*fine)
    strict.wait_out()
    assert count(strict, side) == len(fine)
    worker.terminate()
    strict.assert_clean_logs()
