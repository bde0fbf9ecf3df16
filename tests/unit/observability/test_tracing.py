"""Trace contexts, and the spans that are made of what the pipeline tells."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.messages.message import Headers, InMessage
from app.messages.trace_context import (
    batch_trace,
    child,
    handler_trace,
    is_sampled,
    is_trace,
    publish_trace,
    trace_headers,
)
from app.observability.opentelemetry import OpenTelemetryTraces, exporting_traces
from app.observability.tracing import Traces
from app.settings import Settings, SettingsError, checks, load_settings
from app.worker.startup import make_traces
from tables.model.enums import Code, CompletedBy, Status
from tables.model.events import Decision

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-00"


def source_message(*, offset: int = 7, timestamp: float = 1763085600.5, headers: Headers = ()) -> InMessage:
    return InMessage("T", 1, offset, timestamp, None, b"{}", headers)


def decision_of(*traces: str, revision: int = 1) -> Decision:
    return Decision(
        "T_1", revision, CompletedBy.TIMEOUT, Status.PARTIAL, 100.0, 105.0, 105.5, ("A", "B"), ("{}",), missing=("B",),
        failed=(), empty=(), traces=traces,
    )  # fmt: skip


class Recorded:
    """Traces whose spans are kept, with a clock that stands at 200."""

    def __init__(self, service: str = "app") -> None:
        self._exporter = InMemorySpanExporter()
        self.traces = OpenTelemetryTraces(service, SimpleSpanProcessor(self._exporter), lambda: 200.0)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def context_of(self, headers: Headers = (), **fields: Any) -> str:
        """What a source message with these headers hands on."""
        context = self.traces.begin(source_message(headers=headers, **fields)).context
        assert context is not None
        return context


def ids(span: ReadableSpan) -> tuple[int, int, int | None]:
    """Its trace, its own id and its parent's."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id, span.parent.span_id if span.parent else None


def id_of(context: str) -> int:
    return int(context.split("-")[2], 16)


# -- contexts ------------------------------------------------------------------------------------------------------


def test_headers_hand_on_what_a_context_says_and_nothing_without_one() -> None:
    assert trace_headers(None) == []
    assert trace_headers(PARENT) == [("traceparent", PARENT.encode())]
    assert trace_headers(f"{PARENT} a=1,b=2 3") == [("traceparent", PARENT.encode()), ("tracestate", b"a=1,b=2 3")]


def test_a_child_stays_in_its_trace_and_has_an_id_of_its_own_that_only_facts_decide() -> None:
    context = child(f"{PARENT} a=1-2", "station", "A")
    assert context == child(f"{PARENT} a=1-2", "station", "A")
    assert is_trace(context)
    assert context.startswith(f"00-{TRACE_ID}-")
    assert context.endswith("-01 a=1-2")
    others = {
        child(PARENT, "station", "A"), child(PARENT, "station", "B"), child(PARENT, "batch", "A"),
        child(PARENT, "stationA"), child(child(PARENT, "x"), "station", "A"), PARENT,
    }  # fmt: skip
    assert len({id_of(one) for one in others}) == 6


def test_contexts_of_a_decision_hang_from_its_first_message_and_none_hangs_from_nothing() -> None:
    for of in (batch_trace, handler_trace, publish_trace):
        assert of(decision_of()) is None
        assert of(decision_of(PARENT)) == of(decision_of(PARENT, UNSAMPLED)) != of(decision_of(UNSAMPLED))
    assert publish_trace(decision_of(PARENT)) != publish_trace(decision_of(PARENT, revision=2))
    assert batch_trace(decision_of(PARENT)) == batch_trace(decision_of(PARENT, revision=2))


@pytest.mark.parametrize(
    "text", [None, 5, "", "x", PARENT[:-1], PARENT.upper(), f"{PARENT} ", f"{PARENT}\n", f"{PARENT} ä"]
)
def test_anything_else_is_no_context(text: object) -> None:
    assert not is_trace(text)


# -- source messages -----------------------------------------------------------------------------------------------


def test_a_message_goes_on_with_the_trace_that_it_comes_with() -> None:
    recorded = Recorded()
    context = recorded.context_of([("traceparent", PARENT.encode()), ("tracestate", b"plant=1,x=2")])
    assert context.startswith(f"00-{TRACE_ID}-")
    assert context.endswith("-01 plant=1,x=2")
    assert id_of(context) != int(PARENT_ID, 16)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", b"nonsense")],
        [("traceparent", b"\xff\xfe")],
        [("traceparent", f"ff-{TRACE_ID}-{PARENT_ID}-01".encode())],
        [("traceparent", f"00-{'0' * 32}-{PARENT_ID}-01".encode())],
        [("traceparent", None)],
        [("tracestate", b"plant=1")],
    ],
    ids=["none", "nonsense", "no text", "a version that there is not", "zeros", "no value", "only a state"],
)
def test_a_message_without_a_usable_parent_begins_a_trace_of_its_own(headers: Any) -> None:
    recorded = Recorded()
    context = recorded.context_of(headers)
    assert is_trace(context)
    assert context.endswith("-01")
    assert TRACE_ID not in context
    assert context == recorded.context_of()


def test_a_message_gets_the_same_ids_whoever_reads_it_and_no_other_message_gets_them() -> None:
    for headers in ([], [("traceparent", PARENT.encode())]):
        context = Recorded().context_of(headers)
        assert context == Recorded().context_of(headers)
        assert context != Recorded("another app").context_of(headers)
        assert context != Recorded().context_of(headers, offset=8)
    assert Recorded().context_of()[:36] != Recorded().context_of(timestamp=1763085600.501)[:36]


def test_a_state_that_is_too_long_is_not_handed_on() -> None:
    parent = ("traceparent", PARENT.encode())
    fits, does_not = b"a=" + b"x" * 254, b"a=" + b"x" * 254 + b",b=" + b"x" * 254
    assert Recorded().context_of([parent, ("tracestate", fits)]).endswith(fits.decode())
    assert Recorded().context_of([parent, ("tracestate", does_not)]).endswith("-01")


def test_the_span_of_a_message_says_what_it_was() -> None:
    recorded = Recorded()
    trace = recorded.traces.begin(source_message(headers=[("traceparent", PARENT.encode())]))
    trace.stations("T_1", 3)
    assert not recorded.spans
    trace.end()
    (span,) = recorded.spans
    assert ids(span) == (int(TRACE_ID, 16), id_of(trace.context or ""), int(PARENT_ID, 16))
    assert (span.name, span.kind.name, span.status.status_code.name) == ("split", "CONSUMER", "UNSET")
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": "T",
        "messaging.destination.partition.id": "1",
        "messaging.kafka.offset": 7,
        "stations": 3,
        "batch.id": "T_1",
    }


def test_a_message_that_cannot_be_read_is_an_error() -> None:
    recorded = Recorded()
    trace = recorded.traces.begin(source_message())
    trace.failed("not JSON")
    trace.end()
    assert (recorded.spans[0].status.status_code.name, recorded.spans[0].status.description) == ("ERROR", "not JSON")


# -- spans ---------------------------------------------------------------------------------------------------------


def test_a_station_has_a_span_under_its_message_from_the_start_of_its_callback_on() -> None:
    recorded = Recorded()
    recorded.traces.station(PARENT, "A", Code.RESULT, '{"x":1}', 198.5)
    recorded.traces.station(PARENT, "B", Code.FAILED, "ValueError: no", 199.0)
    fine, failed = recorded.spans
    assert ids(fine) == (int(TRACE_ID, 16), id_of(child(PARENT, "station", "A")), int(PARENT_ID, 16))
    assert (fine.start_time, fine.end_time) == (198_500_000_000, 200_000_000_000)
    assert dict(fine.attributes or {}) == {"station.id": "A", "station.outcome": "result"}
    assert fine.status.status_code.name == "UNSET"
    assert (failed.status.status_code.name, failed.status.description) == ("ERROR", "ValueError: no")


def test_a_batch_has_a_span_from_its_opening_to_its_closing_and_links_to_its_supplements() -> None:
    recorded = Recorded()
    supplement = PARENT.replace("b7-", "b8-")
    recorded.traces.published(decision_of(PARENT, supplement), 1, 199.0)
    batch, publish = recorded.spans
    assert (batch.name, batch.start_time, batch.end_time) == ("batch", 100_000_000_000, 105_500_000_000)
    assert [link.context.span_id for link in batch.links] == [id_of(supplement)]
    assert ids(batch)[2] == int(PARENT_ID, 16)
    assert dict(batch.attributes or {}) == {
        "batch.id": "T_1",
        "batch.revision": 1,
        "batch.status": "partial",
        "batch.completed_by": "timeout",
        "batch.expected": 2,
        "batch.arrived": 1,
        "batch.missing": 1,
    }
    assert (publish.name, publish.kind.name) == ("publish", "PRODUCER")
    assert ids(publish)[1:] == (id_of(publish_trace(decision_of(PARENT)) or ""), ids(batch)[1])


def test_a_later_revision_has_a_publication_only() -> None:
    recorded = Recorded()
    recorded.traces.published(decision_of(PARENT, PARENT, revision=2), 1, 199.0)
    (publish,) = recorded.spans
    assert (publish.name, len(publish.links)) == ("publish", 1)


def test_a_failing_handler_is_an_error_with_the_last_line_of_its_traceback() -> None:
    recorded = Recorded()
    recorded.traces.handled(decision_of(PARENT), "Traceback\n  line\nOSError: no upload", 199.0)
    (span,) = recorded.spans
    assert (span.name, span.status.description) == ("handler", "OSError: no upload")


def test_a_trace_that_is_not_sampled_has_no_spans_and_is_handed_on_all_the_same() -> None:
    recorded = Recorded()
    trace = recorded.traces.begin(source_message(headers=[("traceparent", UNSAMPLED.encode())]))
    context = trace.context or ""
    trace.end()
    assert context.startswith(f"00-{TRACE_ID}-")
    assert context.endswith("-00")
    assert not recorded.traces.wants(context)
    recorded.traces.station(context, "A", Code.RESULT, "{}", 199.0)
    recorded.traces.handled(decision_of(context), None, 199.0)
    recorded.traces.published(decision_of(context), 1, 199.0)
    assert not recorded.spans


def test_what_no_trace_is_known_of_has_no_spans() -> None:
    recorded = Recorded()
    recorded.traces.station(None, "A", Code.RESULT, "{}", 199.0)
    recorded.traces.handled(decision_of(), None, 199.0)
    recorded.traces.published(decision_of(), 1, 199.0)
    assert not recorded.spans


# -- OTEL_* --------------------------------------------------------------------------------------------------------


def test_the_sampler_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    recorded = Recorded()
    sampled = sum(is_sampled(recorded.context_of(offset=offset)) for offset in range(2000))
    assert 400 < sampled < 600  # the ids are spread evenly
    assert is_sampled(recorded.context_of([("traceparent", PARENT.encode())]))


def test_a_sdk_that_is_disabled_hands_on_what_comes_and_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    recorded = Recorded()
    assert recorded.traces.begin(source_message()).context is None
    assert recorded.context_of([("traceparent", PARENT.encode())]) == PARENT


def test_the_service_is_the_application_unless_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("app", "plant"):
        recorded = Recorded()
        recorded.traces.station(PARENT, "A", Code.EMPTY, None, 199.0)
        assert recorded.spans[0].resource.attributes["service.name"] == name
        monkeypatch.setenv("OTEL_SERVICE_NAME", "plant")


@pytest.mark.parametrize("key", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_another_protocol_is_refused_by_name(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key, "grpc")
    with pytest.raises(SettingsError) as caught:
        exporting_traces("app", lambda: 0.0)
    assert caught.value.problems == (f"{key}=grpc: must be http/protobuf with AGG_TRACES",)


def test_a_queue_without_places_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(SettingsError, match="max_queue_size must be a positive integer"):
        exporting_traces("app", lambda: 0.0)


class Away(SpanExporter):
    """A collector that never answers."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        threading.Event().wait(60)
        return SpanExportResult.FAILURE


def test_a_collector_that_does_not_answer_holds_up_neither_the_work_nor_the_end() -> None:
    async def work() -> float:
        traces = OpenTelemetryTraces("app", BatchSpanProcessor(Away(), 10, 1.0, 10), lambda: 200.0)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(1000):
            traces.station(PARENT, str(number), Code.RESULT, "{}", 199.0)
        await traces.close()
        return loop.time() - started

    assert asyncio.run(work()) < 25.0  # OpenTelemetry's own end would wait for 30


# -- settings ------------------------------------------------------------------------------------------------------


def test_without_the_extra_turning_traces_on_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("opentelemetry.sdk.no_such_module", "no_such_package.sdk"):
        monkeypatch.setattr(checks, "_OPENTELEMETRY", (module,))
        with pytest.raises(SettingsError) as caught:
            load_settings({"AGG_TRACES": "true"}, env_file=None)
        assert caught.value.problems == (
            "AGG_TRACES='true': must be false unless the extra `traces` is installed: "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        )
        assert load_settings({}, env_file=None).traces is False


def test_without_the_setting_the_sdk_is_not_imported() -> None:
    code = (
        "import sys, app.application, app.worker.app, app.testing\n"
        "from app.worker.startup import make_traces\nfrom app.settings import Settings\n"
        "make_traces(Settings(), lambda: 0.0)\n"
        "app.testing.TopologyTestDriver(lambda *_: None).close()\n"
        "sys.exit('opentelemetry.sdk' in sys.modules or 'app.observability.opentelemetry' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_traces_that_are_off_begin_and_want_nothing() -> None:
    traces = make_traces(Settings(), lambda: 200.0)
    assert type(traces) is Traces
    trace = traces.begin(source_message(headers=[("traceparent", PARENT.encode())]))
    trace.stations("b", 1)
    trace.failed("x")
    trace.end()
    assert trace.context is None
    assert not traces.wants(PARENT)
