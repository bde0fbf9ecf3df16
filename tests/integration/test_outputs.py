"""`faust -A app outputs` and `late` as a user runs them, on what a worker has published on a real Kafka."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest

from app.cli.outputs import Request, tell_late, tell_outputs
from app.settings import Settings
from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.data import EMPTY, FAILS, FINE, GATED, stations_of
from tests.integration.support.letters import settings_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import clean_environment

pytestmark = pytest.mark.kafka


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What a command prints and returns; without a process of its own, which takes seconds on a busy machine."""

    def ask(tell: Callable[[Settings, Request], Coroutine[Any, Any, int]], **asked: Any) -> tuple[int, str, str]:
        code = asyncio.run(tell(settings_of(cluster), Request(**asked)))
        return code, *capsys.readouterr()

    return ask


def test_what_came_out_is_told_by_batch_by_station_and_as_json(cluster: Cluster, ask: Ask) -> None:
    gate = cluster.folder / "gate"
    cluster.start(None, {GATE: str(gate)}).wait_ready()
    assert ask(tell_outputs) == (0, "", f"nothing in {cluster.output}\n")
    fine = cluster.batch(0, stations_of(FINE, [1, 2, 3]))
    cluster.send(fine)
    cluster.wait_out()
    mixed = [station for kind in (FINE, EMPTY, FAILS, GATED) for station in stations_of(kind, [1])]
    partial = cluster.batch(1, mixed, headers={"batch-timeout": "10"})
    cluster.send(partial)
    cluster.wait_out()
    gate.touch()
    wait_for(cluster.late_records, lambda: f"the late result\n{cluster.logs()}")

    code, said, complaints = ask(tell_outputs)
    assert (code, complaints) == (0, "")
    first, second = said.splitlines()
    assert f"  {fine.batch_id}  complete  3/3 stations  " in first
    assert f"  {partial.batch_id}  partial   3/4 stations  " in second
    assert second.endswith("missing: W-1  failed: F-1  empty: E-1")
    code, said, complaints = ask(tell_outputs, limit=1)
    assert (said, complaints) == (second + "\n", "only the newest 1 message told; --limit takes more\n")
    assert ask(tell_outputs, since=4e9)[1] == ""

    code, said, _ = ask(tell_outputs, batch=(partial.batch_id,))
    line, *table = said.splitlines()
    assert (code, line) == (0, second)
    assert [row.split()[:2] for row in table] == [
        ["STATION", "STATUS"],
        ["R-1", "result"],
        ["F-1", "failed"],
        ["E-1", "empty"],
        ["W-1", "missing"],
    ]
    assert "ValueError: F-1 fails" in table[2]
    assert ask(tell_outputs, batch=("no-such-batch",)) == (1, "", f"nothing like that in {cluster.output}\n")

    said = ask(tell_outputs, station=("R-1",))[1]
    assert [line.split()[4:6] for line in said.splitlines()] == [["R-1", "result"], ["R-1", "result"]]
    told = orjson.loads(ask(tell_outputs, batch=(fine.batch_id,), as_json=True)[1])
    assert (told["batch_id"], told["station_count"], told["meta"]["status"]) == (fine.batch_id, 3, "complete")
    assert (told["kafka"]["topic"], told["kafka"]["headers"]["completed-by"]) == (cluster.output, "all")

    code, said, complaints = ask(tell_late)
    assert (code, complaints) == (0, "")
    assert f"  {partial.batch_id}  W-1  result, too late (" in said
    assert ask(tell_late, station=("R-1",))[1] == ""
    (told,) = map(orjson.loads, ask(tell_late, as_json=True)[1].splitlines())
    assert (told["batch_id"], told["station_id"], told["status"]) == (partial.batch_id, "W-1", "result")


def test_a_topic_that_is_not_there_is_named(cluster: Cluster) -> None:
    done = command_of(cluster, "late")("--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"there is no topic {cluster.late}: ")


def test_who_follows_is_told_each_batch_as_it_comes(cluster: Cluster) -> None:
    cluster.start().wait_ready()
    batches = [cluster.batch(number, stations_of(FINE, [1, 2])) for number in range(3)]
    cluster.send(batches[0])
    cluster.wait_out()
    command = [sys.executable, "-m", "faust", "-A", "app", "outputs", "--follow"]
    with subprocess.Popen(
        command,
        env=clean_environment(**cluster.settings),
        cwd=cluster.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        try:
            for batch in batches:
                if batch is not batches[0]:
                    cluster.send(batch)
                assert f"  {batch.batch_id}  complete  2/2 stations" in follower.stdout.readline()
            follower.send_signal(signal.SIGINT)
            said, complaints = follower.communicate(timeout=60)
        finally:
            follower.kill()
    assert (follower.returncode, said, complaints) == (130, "", "")
