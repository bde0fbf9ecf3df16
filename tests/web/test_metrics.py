"""`/metrics`."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as parse

from tests.web.asking import ask
from tests.web.fake_worker import FakeWorker


def test_metrics_come_as_text_that_prometheus_reads() -> None:
    worker = FakeWorker()
    worker.statistics.callback("A", 0.25)
    answer = ask(worker, "/metrics", headers={"accept": "text/plain;version=0.0.4"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    families = {family.name: family for family in parse(answer.text)}
    closed = {sample.labels["completed_by"] for sample in families["batch_aggregator_batches_closed"].samples}
    assert {"all", "timeout"} <= closed
    assert families["batch_aggregator_callback_duration_seconds"].type == "histogram"


def test_the_description_has_metrics_as_text() -> None:
    answer = ask(FakeWorker(), "/openapi.json").json()["paths"]["/metrics"]["get"]
    assert list(answer["responses"]["200"]["content"]) == ["text/plain"]
    assert "parameters" not in answer
