"""What plants send, on a real Kafka: wide integers, times in other forms, a clock that is ahead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.model import MENDED
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka

WIDE = 52000000000088123456789
FAR = "2099-01-01 00:00:00"


def text_of(station: str, time: str, power: int = WIDE) -> str:
    return (
        f'{{"stationId":"{station}","sendTime":{time},"hostCode":{WIDE},"outputPowerPerStationAvg":{power},'
        f'"gunPower":{{"gunNo":[{WIDE}]}}}}'
    )


def test_wide_integers_other_forms_of_time_and_a_clock_that_is_ahead(cluster: Cluster, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    settings = {"callback": "tests.integration.support.model:mendable"}
    worker = cluster.start(settings, {MENDED: str(mended)}).wait_ready()
    failing = text_of("F-2", '"2025-11-14t02:00:00z"')
    records = [
        text_of("R-1", '"2025/11/14 10:00:00"'),
        failing,
        text_of("R-3", "20251114100000"),
        text_of("R-4", f'"{FAR}"'),
        text_of("R-5", '"14/11/2025"'),
        text_of("R-6", "1763085600000000"),
        text_of("R-6", f'"{FAR}"', 7),
    ]
    cluster.send_raw(cluster.source, f"[{','.join(records)}]".encode(), key=b"plant")
    cluster.wait_out_count(1)
    wait_for(lambda: len(cluster.letters()) == 2, worker.tail)

    (output,) = cluster.outputs()
    batch_id = f"{cluster.source}_1763085600"
    assert output.key == batch_id.encode()
    local = "2025-11-14 10:00:00"
    times = {"R-1": local, "R-3": local, "R-4": None, "R-5": None, "R-6": local}
    stations = json.loads(output.value or b"")["stations"]
    assert stations == [{"station_id": one, "power": WIDE, "at": at} for one, at in times.items()]
    letters = {letter.header("reason"): letter for letter in cluster.letters()}
    assert letters["station-failed"].value == f'{{"{cluster.source}":[{failing}]}}'.encode()
    assert letters["bad-record"].value == records[-1].encode()
    log = worker.tail()
    assert f'station R-4: sendTime "{FAR}", station R-6: sendTime "{FAR}"' in log
    assert 'a time can\'t be read: sendTime "14/11/2025"' in log

    mended.touch()
    done = command_of(cluster, "dead-letters")("--replay", "--reason", "station-failed")
    assert (done.returncode, done.stderr) == (0, "")
    wait_for(lambda: len(cluster.late_records()) == 1, worker.tail)
    (late,) = cluster.late_records()
    assert json.loads(late.value or b"")["result"] == {"station_id": "F-2", "power": WIDE, "at": local}
