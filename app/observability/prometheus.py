"""A worker's figures as Prometheus takes them, by its official client; they are looked up when it asks.

Nothing is kept here: counting is cheap because it is done in plain integers (counters.py, statistics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.observability.metric_families import PREFIX, Now, build_info, counters, gauges, histograms, stations
from app.observability.statistics import Statistics

__all__ = ["PREFIX", "Now", "StatisticsCollector", "expose", "metrics_registry"]


class StatisticsCollector(Collector):
    """Makes metric families of a worker's statistics, anew each time it is asked.

    Args:
        statistics: what has been counted.
        now: how the worker stands.
        most_stations: that have series of their own, at most (`AGG_METRICS_STATIONS`).
        build: labels of the series that tells which program this is.
    """

    def __init__(
        self,
        statistics: Statistics,
        now: Callable[[], Now],
        *,
        most_stations: int,
        build: Mapping[str, str],
    ) -> None:
        self._statistics = statistics
        self._now = now
        self._most_stations = most_stations
        self._build = build

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not look for names that are taken twice."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from counters(self._statistics)
        yield from gauges(self._now())
        yield from histograms(self._statistics)
        yield from stations(self._statistics, self._most_stations)
        yield build_info(self._build)


def metrics_registry(
    statistics: Statistics,
    now: Callable[[], Now],
    *,
    most_stations: int,
    build: Mapping[str, str],
) -> CollectorRegistry:
    """A registry of our own, with what the process itself uses, by the same prefix, beside the worker's figures."""
    registry = CollectorRegistry()
    registry.register(
        StatisticsCollector(
            statistics,
            now,
            most_stations=most_stations,
            build={"version": _version(), **build},
        )
    )
    ProcessCollector(namespace=PREFIX.rstrip("_"), registry=registry)
    return registry


def _version() -> str:
    try:
        return version("station-batch-aggregator")
    except PackageNotFoundError:  # run from a checkout that nobody has installed
        return "unknown"


def expose(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """All metrics in the format that the `Accept` header of a request asks for, and its content type."""
    try:
        encode, content_type = choose_encoder(accept or "")
    except (TypeError, ValueError):  # the client's, for a version that is none
        encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return encode(registry), content_type
