"""Traces of a worker on a real Kafka, as a collector gets them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.further import further
from tests.integration.support.cluster import Cluster
from tests.integration.support.collector import SpanCollector
from tests.integration.support.data import EMPTY, FAILS, FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import PATIENT

pytestmark = pytest.mark.kafka

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
STATIONS = [*stations_of(FINE, range(3)), *stations_of(EMPTY, range(1)), *stations_of(FAILS, range(1))]


def test_a_collector_gets_a_batch_as_one_trace_from_its_source_message_to_its_output(cluster: Cluster) -> None:
    with SpanCollector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        worker = cluster.start({"traces": "true"}, environment, PATIENT).wait_ready()
        traced = cluster.batch(0, STATIONS, headers={"traceparent": PARENT, "tracestate": "plant=7"})
        cluster.send(traced, cluster.batch(1, stations_of(FINE, range(1))))
        cluster.wait_out()
        cluster.wait_settled()
        assert collector.requests == 0
        # What has not been sent is sent at the end.
        worker.terminate()
        assert collector.requests == 1

        spans = {span.own: span for span in collector.spans(TRACE_ID)}
        assert {span.service for span in spans.values()} == {cluster.app_id}
        paths = Counter(
            (span.name, spans[span.parent].name if span.parent in spans else span.parent) for span in spans.values()
        )
        assert paths == {
            ("split", PARENT_ID): 1,
            ("station", "split"): 5,
            ("batch", "split"): 1,
            ("publish", "batch"): 1,
        }
        batch = next(span for span in spans.values() if span.name == "batch")
        assert batch.attributes | {"batch.id": "", "batch.revision": 0} == {
            "batch.id": "",
            "batch.revision": 0,
            "batch.status": "complete",
            "batch.completed_by": "all",
            "batch.expected": 5,
            "batch.arrived": 5,
            "batch.missing": 0,
        }
        assert batch.attributes["batch.id"] == traced.batch_id
        outcomes = Counter(span.attributes["station.outcome"] for span in spans.values() if span.name == "station")
        assert outcomes == {"result": 3, "empty": 1, "failed": 1}
        failed = next(span for span in spans.values() if span.error)
        assert failed.attributes["station.id"] == "F-0"

        output = next(one for one in cluster.outputs() if one.name == traced.batch_id)
        assert [name for name, _ in output.headers] == [
            "completed-by", "revision", "part", "parts", "traceparent", "tracestate",
        ]  # fmt: skip
        assert output.header("tracestate") == "plant=7"
        assert spans[output.header("traceparent").split("-")[2]].name == "publish"
        wait_for(cluster.letters, "the dead letter")
        (letter,) = cluster.letters()
        assert letter.header("traceparent").split("-")[2] == failed.own


@pytest.mark.chaos
def test_a_batch_keeps_its_trace_when_its_worker_is_killed(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    with SpanCollector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, GATE: str(gate)}
        worker = cluster.start({"traces": "true"}, environment).wait_ready()
        batch = cluster.batch(
            0, [*stations_of(FINE, range(2)), *stations_of(GATED, range(1))], headers={"traceparent": PARENT}
        )
        cluster.send(batch)
        wait_for(
            lambda: [row["arrived_count"] for row in worker.ask("/batches?local=true")["batches"]] == [2],
            "two of three",
        )
        worker.kill()
        gate.touch()
        # The next one makes no traces: what the log says goes on all the same.
        cluster.start(environment=environment).wait_ready()
        cluster.wait_out()
        (output,) = cluster.outputs()
        assert output.json["station_count"] == 3
        assert output.header("traceparent").startswith(f"00-{TRACE_ID}-")
        assert str(cluster.finish()) == "1 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.parametrize(
    "silent",
    [*further(True), False],
    ids=["a collector that does not answer", "no collector"],
)
def test_a_collector_that_is_away_holds_up_no_batch_and_no_shutdown(cluster: Cluster, silent: bool) -> None:
    with SpanCollector(silent=True) as collector:
        endpoint = collector.endpoint if silent else "http://127.0.0.1:9"
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        environment |= {"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}  # seconds: whoever waits for it waits too long
        worker = cluster.start({"traces": "true"}, environment).wait_ready()
        cluster.send(*(cluster.batch(number, stations_of(FINE, range(100))) for number in range(50)))
        cluster.wait_out()
        if silent:
            wait_for(lambda: collector.requests > 0, "the exporter waits")
        worker.terminate()
        assert str(cluster.finish()) == "50 complete, 0 partial, 0 copies, 0 late"
