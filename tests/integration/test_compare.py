"""Old and new side by side on a real Kafka, and `faust -A app compare` on what they have made."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka


def compare(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command_of(cluster, "compare")(*arguments)


def test_both_ways_have_the_same_results_and_every_difference_is_named(cluster: Cluster) -> None:
    old, new = f"{cluster.output}-old", cluster.output
    cluster.create_topic(old, 3)
    empty = compare(cluster, old, old)
    assert (empty.returncode, empty.stdout) == (1, "there are no results to compare\n")

    passing = {"app_id": f"{cluster.app_id}-old", "output_topic": old, "passthrough_topics": cluster.source}
    for settings in ({}, passing):
        cluster.start(settings).wait_ready()
    batches = [cluster.batch(number, ["R-1", "R-2", "E-3", "F-4"]) for number in range(0, 20, 5)]
    cluster.send(*batches)
    cluster.wait_out(batches)
    # Its result has the batch's time in the field `at`.
    joined = (old, new, "--time", "at", "--within", "2", "--since", "1h")
    wait_for(lambda: compare(cluster, *joined).returncode == 0, lambda: compare(cluster, *joined).stdout)
    done = compare(cluster, *joined)
    assert (done.stdout, done.stderr) == (f"8 the same, 0 different, 0 only in {old}, 0 only in {new}\n", "")

    other = batches[0].time.replace(":00", ":30")
    for at, power in ((other, 1.0), (batches[2].time, 5.5)):
        single = {"station_id": "R-9", "module": "m", "result": {"power": power, "at": at}}
        cluster.send_raw(old, json.dumps(single).encode())
    result = {"station_id": "R-9", "power": 6.5, "at": batches[2].time}
    of_then = f"another_{batches[2].batch_id.rpartition('_')[2]}"
    cluster.send_raw(new, json.dumps({"batch_id": of_then, "stations": [result]}).encode())
    cluster.send_raw(old, b"no JSON")
    done = compare(cluster, *joined)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{batches[2].time}  R-9  differs"
    assert '  {"power":5.5,"at":' in lines[1]
    assert '  {"power":6.5,"at":' in lines[2]
    assert lines[3].startswith(f"{other}  R-9  only in {old}: {old}[")
    assert lines[4] == f"8 the same, 1 different, 1 only in {old}, 0 only in {new}, 1 unreadable"
    assert "no result of a station can be read in it" in done.stderr
    # All of it was written by now, and nothing an hour ago.
    done = compare(cluster, *joined[:-2], "--until", "1h")
    assert (done.returncode, done.stdout) == (1, "there are no results to compare\n")
    assert "10 results written outside of --since and --until left out" in done.stderr
    assert compare(cluster, old, new, "--since", "2100-01-01").stdout == "there are no results to compare\n"


def test_a_missing_topic_and_a_bad_option_are_said(cluster: Cluster) -> None:
    done = compare(cluster, cluster.source, "no-such-topic")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "there is no topic no-such-topic\n")
    done = compare(cluster, cluster.source, cluster.source, "--until", "soon")
    assert done.returncode == 2
    assert "'soon' is neither a time" in done.stderr
