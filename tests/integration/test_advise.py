"""`faust -A app advise` as a user runs it, on the log of the batches of a worker on a real Kafka."""

from __future__ import annotations

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.data import EMPTY, FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka


def test_what_other_timeouts_would_have_done_is_read_from_the_log_whatever_the_payload(cluster: Cluster) -> None:
    advise = command_of(cluster, "advise")
    nothing = advise()
    assert nothing.returncode == 1
    assert nothing.stderr.startswith(f"there is no topic {cluster.app_id}-batch-events: ")

    gate = cluster.folder / "gate"
    cluster.start({"output_meta": "false"}, {GATE: str(gate)}).wait_ready()
    assert advise().returncode == 1
    cluster.send(cluster.batch(0, stations_of(FINE, [1, 2])))
    cluster.wait_out()
    mixed = [*stations_of(FINE, [1]), *stations_of(EMPTY, [1]), *stations_of(GATED, [1])]
    cluster.send(cluster.batch(1, mixed, headers={"batch-timeout": "5"}))
    cluster.wait_out()
    gate.touch()
    wait_for(cluster.late_records, lambda: f"the late result\n{cluster.logs()}")

    cluster.wait_settled()
    given = ["--timeout", "0.001"]
    advice = orjson.loads(advise("--json", *given).stdout)
    assert advice["batches"] == 2
    was, short = advice["prospects"]
    assert (was["complete"], was["partial"], was["missing"]) == (1, 1, 1)
    assert (short["timeout"], short["complete"]) == (0.001, 0)
    assert advice["incomplete"] == 0
    slowest = advice["stations"][0]
    assert (slowest["station_id"], slowest["batches"], slowest["missed"], slowest["never"]) == ("W-1", 1, 1, 0)
    told = advise(*given)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("2 batches, opened from ")
    assert "as it was  1 (50.0%)" in told.stdout
    assert advise("--since", "2000-01-01", "--timeout", "0").returncode == 2
