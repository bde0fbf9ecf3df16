"""`faust -A app dead-letters --replay` on a real Kafka: letters made by hand, and those of a worker."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.letters import PAYLOAD, ByHand
from tests.integration.support.reading import Received, end_offsets
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import CLOCK_AHEAD, LATER

pytestmark = pytest.mark.kafka


def outputs_of(cluster: Cluster) -> list[Received]:
    """All that stands in the output topic, whose partitions begin at 0 and have no holes."""
    count = sum(asyncio.run(end_offsets(cluster.broker.bootstrap, [cluster.output])).values())
    wait_for(lambda: len(cluster.outputs()) == count, "the outputs are read to their end")
    return cluster.outputs()


def test_a_discarded_batch_is_published_once_and_again_when_that_is_asked_for(filled: ByHand) -> None:
    cluster = filled.cluster
    only = ("--reason", "discarded", "--replay")

    done = filled.run(*only, "--dry-run")
    assert done.stdout == f"3@2 discarded, batch b2: would be sent to {cluster.output}\n1 letter would be replayed\n"
    assert outputs_of(cluster) == []

    done = filled.run(*only)
    assert (done.returncode, done.stderr) == (0, "")
    (output,) = outputs_of(cluster)
    sent = f"3@2 discarded, batch b2: sent to {cluster.output}[{output.partition}]@0\n"
    assert done.stdout == sent + "1 letter replayed\n"
    assert output.key == b"b2"
    assert output.json == PAYLOAD | {"meta": PAYLOAD["meta"] | {"status": "partial", "completed_by": "operator"}}
    assert dict(output.headers) == {"completed-by": b"operator", "revision": b"1", "part": b"1", "parts": b"1"}

    done = filled.run(*only)
    assert done.stdout == "0 letters replayed, 1 replayed earlier (--again sends them once more)\n"
    assert len(outputs_of(cluster)) == 1
    listed = [json.loads(line) for line in filled.run("--json", "--batch", "b2").stdout.splitlines()]
    assert filled.now <= listed[0]["replayed_at"] <= time.time()

    assert filled.run(*only, "--again", output_meta="false").returncode == 0
    again = outputs_of(cluster)[1]
    assert again.json == {name: value for name, value in PAYLOAD.items() if name != "meta"}


def test_a_reader_that_goes_away_ends_a_listing_and_no_replay(filled: ByHand) -> None:
    for arguments, code in ((["--json"], 1), (["--replay"], 0)):
        ends = os.pipe()
        os.close(ends[0])
        with os.fdopen(ends[1], "wb") as nobody:
            done = filled.run(*arguments, stdout=nobody)
        assert (done.returncode, done.stderr) == (code, "")
    assert filled.run("--replay").stdout.startswith("0 letters replayed, 4 replayed earlier")


def test_what_can_not_be_sent_is_named_and_the_rest_is_sent(filled: ByHand) -> None:
    gone = {"source-topic": "gone", "source-partition": "0", "source-offset": "0"}
    filled.put(1, b"x", {"reason": "too-large", "batch-id": "b1"})
    filled.put(1, b"x", {"reason": "bad-message"} | gone)
    filled.put(1, json.dumps(PAYLOAD).encode(), {"reason": "handler-failed", "batch-id": "b3"})

    done = filled.run("--replay")

    assert done.returncode == 1
    assert done.stdout.endswith("\n4 letters replayed, 2 skipped, 1 failed\n")
    assert sorted(done.stderr.splitlines()) == [
        "1@0 too-large, batch b1: not sent: only its first 1 bytes have been kept",
        "1@2 bad-message: not sent: there is no topic gone",
        "1@4 handler-failed, batch b3: not sent: its payload is the default one, which --reason handler-failed "
        "publishes",
    ]
    done = filled.run("--replay", "--reason", "too-large", "--reason", "handler-failed")
    assert done.returncode == 0
    assert done.stdout.endswith("\n1 letter replayed, 1 skipped\n")


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    """The file that mends the model."""
    return tmp_path / "mended"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that lets waiting stations go."""
    return tmp_path / "gate"


@pytest.fixture
def worked(cluster: Cluster, gate: Path, mended: Path) -> Iterator[Cluster]:
    """A cluster with a worker whose model fails for some stations until it is mended."""
    environment = {"MODEL_GATE": str(gate), "MODEL_MENDED": str(mended)}
    cluster.start({"callback": "tests.integration.support.model:mendable"}, environment).wait_ready()
    yield cluster
    cluster.assert_clean_logs()


def letters_of(cluster: Cluster, count: int) -> list[Received]:
    wait_for(lambda: len(cluster.letters()) >= count, lambda: f"{count} letters\n{cluster.logs()}")
    letters = cluster.letters()
    assert len(letters) == count
    return letters


def stations(output: Received) -> list[str]:
    return [result["station_id"] for result in output.json["stations"]]


def test_a_failed_station_joins_its_batch_while_that_is_open(worked: Cluster, gate: Path, mended: Path) -> None:
    # Its id is given by a header: the records alone would make another.
    batch = worked.batch(1, ["R-1", "F-2", "W-3"], headers={"batch-id": "plant:7", "batch-timeout": "1000"})
    worked.send(batch)
    letters_of(worked, 1)
    mended.touch()

    done = command_of(worked, "dead-letters")("--replay", "--station", "F-2")

    assert done.returncode == 0, done.stderr
    assert "@0 station-failed, station F-2, batch plant:7: sent to " in done.stdout
    worker = worked.workers[0]
    wait_for(lambda: worker.ask("/batches/plant:7")["failed"] == [], worked.logs)
    worked.read_to_end()
    assert worked.outputs() == []
    gate.touch()
    worked.wait_out()
    (output,) = worked.outputs()
    assert sorted(stations(output)) == ["F-2", "R-1", "W-3"]
    assert output.json["meta"]["failed"] == []
    assert output.json["meta"]["completed_by"] == "all"
    worked.wait_settled()
    worked.read_to_end()
    assert worked.late_records() == []
    assert len(worked.letters()) == 1


def test_a_failed_station_is_late_when_its_batch_is_closed_and_a_bad_record_stays_bad(
    worked: Cluster, mended: Path
) -> None:
    run = command_of(worked, "dead-letters")
    batch = worked.batch(1, ["R-1", "F-2"])
    records = json.loads(batch.value)[worked.source]
    bad: dict[str, Any] = {"sendTime": batch.time, "outputPowerPerStationAvg": 1}
    worked.send_raw(worked.source, json.dumps([*records, bad]).encode(), key=b"plant")
    letters = letters_of(worked, 2)
    worked.wait_out_count(1)
    mended.touch()

    done = run("--replay")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2 letters replayed\n")
    wait_for(lambda: len(worked.late_records()) == 1, worked.logs)
    (late,) = worked.late_records()
    assert (late.json["station_id"], late.json["status"], late.json["reason"]) == ("F-2", "result", "late-message")
    assert late.json["batch_id"] == batch.batch_id
    # The record without a station id came back as a letter of its own, and can be replayed as such.
    again = letters_of(worked, 3)
    new = next(letter for letter in again if letter not in letters)
    old = next(letter for letter in letters if letter.header("reason") == "bad-record")
    assert (new.header("reason"), new.header("batch-id"), new.key) == ("bad-record", batch.batch_id, b"plant")
    assert new.json == old.json == bad
    assert new.header("source-offset") != old.header("source-offset")

    place = f"{new.partition}@{new.offset}"
    done = run("--replay", "--dry-run")
    assert done.stdout.startswith(f"{place} bad-record, ")
    assert done.stdout.endswith("1 letter would be replayed, 2 replayed earlier (--again sends them once more)\n")
    done = run("--replay", "--again", "--station", "F-2")
    assert done.returncode == 0
    wait_for(lambda: len(worked.late_records()) == 2, worked.logs)
    worked.wait_settled()
    worked.read_to_end()
    assert len(worked.outputs()) == 1


@pytest.mark.chaos
def test_a_batch_that_a_worker_discarded_is_published_with_all_that_had_arrived(cluster: Cluster, gate: Path) -> None:
    settings, environment = {"partial_min_ratio": "0.9"}, {"MODEL_GATE": str(gate)}
    worker = cluster.start(settings, environment).wait_ready()
    batch = cluster.batch(1, ["R-1", "E-2", "F-3", "W-4"])
    cluster.send(batch)
    wait_for(lambda: [row["arrived_count"] for row in worker.ask("/batches")["batches"]] == [3], worker.tail)
    letters_of(cluster, 1)
    worker.terminate()
    cluster.start(settings, environment | {CLOCK_AHEAD: "2000"}, LATER).wait_ready()  # by its clock the batch is due
    wait_for(lambda: any(one.header("reason") == "discarded" for one in cluster.letters()), cluster.logs)

    done = command_of(cluster, "dead-letters")("--replay", "--reason", "discarded")

    assert (done.returncode, done.stderr) == (0, "")
    cluster.wait_out()
    (output,) = cluster.outputs()
    assert stations(output) == ["R-1"]
    meta = output.json["meta"]
    assert (meta["status"], meta["completed_by"], meta["missing"]) == ("partial", "operator", ["W-4"])
    assert (meta["empty"], [one["station_id"] for one in meta["failed"]]) == (["E-2"], ["F-3"])
    letter = next(one for one in cluster.letters() if one.header("reason") == "discarded")
    discarded = letter.json["meta"] | {"status": "discarded", "completed_by": "timeout"}
    assert letter.json == output.json | {"meta": discarded}
