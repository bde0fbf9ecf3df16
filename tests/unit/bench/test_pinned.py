"""The yardstick's pinned copy of the application: the same outputs, and nothing of the application in it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inputs.alignment import Alignment
from app.inputs.alignment import align as own_align
from app.testing import TopologyTestDriver
from tests.bench import pinned
from tests.bench.loads import Kind, Load, time_of
from tests.bench.model import callback
from tests.bench.peers.job import encode_output, result_of
from tests.bench.yardstick import merged

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
LOADS = [Load(Kind.PLAIN, 7), Load(Kind.GUNS, 250), Load(Kind.WINDOW, 3)]


async def columns(_station_id: str, module_input: dict[str, Any]) -> dict[str, Any]:
    """Give back what the callback got."""
    return {"columns": module_input[TOPIC]}


@pytest.mark.parametrize("module", ["tests.bench.yardstick", "tests.bench.peers.job"])
def test_the_yardstick_and_the_peers_import_nothing_of_the_application(module: str) -> None:
    code = f"import sys, {module}; print([name for name in sys.modules if name.split('.')[0] in ('app', 'tables')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.kind)
def test_the_yardsticks_outputs_are_the_applications(load: Load) -> None:
    messages = [load.message(number) for number in range(2)]
    with TopologyTestDriver(callback) as driver:
        for message in messages:
            driver.send(message)
        own = [(output.key, output.value["stations"], output.value["station_count"]) for output in driver.outputs]
    outputs = [asyncio.run(merged(TOPIC, message)) for message in messages]
    payloads = [orjson.loads(value) for _, value in outputs]
    yardsticks = [
        (key.decode(), payload["stations"], payload["station_count"])
        for (key, _), payload in zip(outputs, payloads, strict=True)
    ]
    assert yardsticks == own


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.kind)
def test_the_pinned_copy_gives_the_callback_the_applications_columns(load: Load) -> None:
    message = load.message(5)
    with TopologyTestDriver(columns) as driver:
        driver.send(message)
        (output,) = driver.outputs
    batch = pinned.parse(TOPIC, message)
    results = [
        pinned.encode_result(station, {"columns": pinned.align(records)}).value
        for station, records in batch.stations.items()
    ]
    assert batch.batch_id == output.key == f"{TOPIC}_{time_of(5)}"
    assert [orjson.loads(result or "null") for result in results] == output.value["stations"]


NUMBERS = st.none() | st.integers(0, 9) | st.floats(0, 9)
GUNS = st.integers(0, 3).flatmap(
    lambda count: st.fixed_dictionaries(
        {"gunNo": st.permutations(["01", "02", "03"]).map(lambda guns: guns[:count])},
        optional={
            "outputPowerPerGunAvg": st.lists(NUMBERS, min_size=count, max_size=count),
            "outputPowerPerGunMax": st.lists(NUMBERS, min_size=count, max_size=count),
        },
    )
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"stationId": st.just("A"), "sendTime": st.integers(0, 5).map(lambda hour: f"2025-11-04 {hour:02}:00:00")},
        optional={
            "hostCode": st.sampled_from(["1", "2", None]),
            "gunPower": GUNS | st.none(),
            "outputPowerPerStationAvg": NUMBERS,
            "note": st.sampled_from(["a", None]),
        },
    ),
    min_size=1,
    max_size=6,
)


@given(RECORDS)
@settings(max_examples=300)
def test_columns_with_gaps_repeats_and_any_order_are_the_applications(records: list[dict[str, Any]]) -> None:
    assert pinned.align(records) == own_align(records, Alignment(pinned.TIMEZONE))


@pytest.mark.parametrize("message", [b"{", b'[{"sendTime": "2025-11-04 00:00:00"}]', b'[{"stationId": "A"}]'])
def test_a_message_with_a_fault_is_none_for_the_yardstick(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|JSON|unexpected"):
        pinned.parse(TOPIC, message)


def test_a_peers_output_names_what_is_missing_and_keeps_the_messages_order() -> None:
    record = {"stationId": "B", "sendTime": "2025-11-04 00:00:00", "power": 1}
    results = {"B": result_of(TOPIC, "B", [record]), "A": '{"station_id":"A","result":1}'}
    output = orjson.loads(encode_output("batch", 5.0, ["A", "C", "B"], results, now=lambda: 6.0))
    assert output == {
        "batch_id": "batch",
        "timestamp": 6.0,
        "station_count": 2,
        "stations": [{"station_id": "A", "result": 1}, {"station_id": "B", "result": 2.5}],
        "meta": {"opened_at": 5.0, "expected_count": 3, "missing": ["C"]},
    }
