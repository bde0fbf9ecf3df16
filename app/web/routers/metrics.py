"""`/metrics`: the worker's figures for Prometheus."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Header, Response

__all__ = ["MetricsSource", "metrics_router"]


class MetricsSource(Protocol):
    """What has metrics."""

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The metrics, in the format that an `Accept` header asks for, and their content type."""


def metrics_router(source: MetricsSource) -> APIRouter:
    """The one path."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> Response:
        """This worker's metrics, named `batch_aggregator_*`, in Prometheus's text format or as OpenMetrics."""
        body, content_type = source.exposition(accept)
        return Response(body, headers={"content-type": content_type})

    return router
