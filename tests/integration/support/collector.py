"""A collector of spans: what a worker with AGG_TRACES sends its spans to, over OTLP/HTTP on loopback."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

__all__ = ["CollectedSpan", "SpanCollector"]


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it has come."""

    service: str
    name: str
    trace: str
    own: str
    parent: str
    attributes: dict[str, str | int]
    error: str | None = field(default=None)


class SpanCollector:
    """Takes spans on a port of its own while it is entered; `silent` takes connections and never answers."""

    def __init__(self, *, silent: bool = False) -> None:
        self._spans: list[CollectedSpan] = []
        self._closing = threading.Event()
        self.requests = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self) -> None:
                """Take what the exporter sends."""
                collector.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if silent:
                    collector._closing.wait()
                    return
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                collector._take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def spans(self, trace: str) -> list[CollectedSpan]:
        """What has come of one trace."""
        return [span for span in self._spans if span.trace == trace]

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for of_resource in request.resource_spans:
            named = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                self._spans += [_collected(named["service.name"], span) for span in of_scope.spans]


def _collected(service: str, span: Span) -> CollectedSpan:
    attributes = {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in span.attributes
    }
    error = span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None
    return CollectedSpan(
        service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), attributes, error
    )
