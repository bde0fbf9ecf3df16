"""A worker's figures as Prometheus takes them, by its official client; they are looked up when it asks.

Nothing is kept here: counting is cheap because it is done in plain integers (app/metrics.py, app/statistics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.dead_letters import Reason
from app.histogram import Histogram
from app.metrics import Metrics
from app.statistics import OUTCOMES, StationCounters, Statistics
from tables.codes import CompletedBy

__all__ = ["PREFIX", "Now", "StatisticsCollector", "expose", "metrics_registry"]

PREFIX: Final = "batch_aggregator_"

BATCH_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
LAG_SECONDS: Final = (1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CALLBACK_SECONDS: Final = (1e-4, 1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Now:
    """How a worker stands at the moment: what it has, not what it has counted.

    Attributes:
        live: as `/healthz` says.
        ready: as `/readyz` says.
        partitions: of the batches' log that are this worker's.
        open_batches: in these.
        oldest_open_age: seconds; 0.0 when none is open.
        max_batch_age: seconds; `AGG_MAX_BATCH_AGE`, for alerts on the oldest batch.
        unclosed_batches: that its splitter has opened and that are not known to be closed, in whatever partitions.
        max_open_batches: `AGG_MAX_OPEN_BATCHES`: with as many of these it reads no source message.
        reading_waits: whether that is so now.
        closed_records: closed batches that are remembered.
        heartbeat_age: seconds since the group's coordinator last answered.
        callbacks_pending: stations that wait for their callback or for its end.
        callbacks_running: of these, those whose callback has started.
        group_lag: topic -> messages in this worker's partitions that are not done yet.
    """

    live: bool = True
    ready: bool = False
    partitions: int = 0
    open_batches: int = 0
    oldest_open_age: float = 0.0
    max_batch_age: float = 0.0
    unclosed_batches: int = 0
    max_open_batches: int = 0
    reading_waits: bool = False
    closed_records: int = 0
    heartbeat_age: float = 0.0
    callbacks_pending: int = 0
    callbacks_running: int = 0
    group_lag: Mapping[str, int] = field(default_factory=dict)


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
        metrics = self._statistics.metrics
        yield from _plain_counters(metrics, self._statistics)
        yield from _labelled_counters(metrics)
        yield from _traffic(metrics)
        yield from _gauges(self._now())
        statistics = self._statistics
        yield _histogram(
            "batch_duration_seconds",
            "From the opening of a batch to its first closing",
            statistics.batch_durations,
            statistics.batch_seconds,
            BATCH_SECONDS,
        )
        yield _histogram(
            "callback_duration_seconds",
            "How long callbacks ran, with their retries",
            statistics.callback_durations,
            statistics.callback_seconds,
            CALLBACK_SECONDS,
        )
        yield _histogram(
            "loop_lag_seconds",
            "How long what was ready waited for the event loop; asked a few times a second",
            statistics.loop_lags,
            statistics.loop_lag_seconds,
            LAG_SECONDS,
        )
        yield from self._stations()
        build = GaugeMetricFamily(f"{PREFIX}build_info", "Which program this is: always 1", labels=list(self._build))
        build.add_metric(list(self._build.values()), 1)
        yield build

    def _stations(self) -> Iterator[Metric]:
        """The stations that are worst: that are missing now for the longest, then those with most misses and failures.

        Only this many have series, whatever ids come in. Which ones they are changes slowly.
        """
        troubled = [
            (counters.missed_in_a_row, counters.misses + counters.failures, station, counters)
            for station, counters in self._statistics.stations().items()
            if counters.misses or counters.failures
        ]
        worst = [(station, counters) for *_, station, counters in nlargest(self._most_stations, troubled)]
        for name, what, of in _STATION_COUNTERS:
            family = _counter(name, what, "station_id")
            for station, counters in worst:
                family.add_metric([station], of(counters))
            yield family
        row = _gauge(
            "station_missed_in_a_row", "The station's latest batches here that it missed, all of them", "station_id"
        )
        for station, counters in worst:
            row.add_metric([station], counters.missed_in_a_row)
        yield row


_STATION_COUNTERS: Final[tuple[tuple[str, str, Callable[[StationCounters], int]], ...]] = (
    ("station_expected", "Closed batches that expected the station", lambda counters: counters.expected),
    ("station_misses", "Closed batches that it missed", lambda counters: counters.misses),
    ("station_failures", "Closed batches in which it failed", lambda counters: counters.failures),
)


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, what, labels=labels)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, what, labels=labels)


def _plain_counters(metrics: Metrics, statistics: Statistics) -> Iterator[Metric]:
    for name, what, count in (
        ("source_messages", "Source messages that were split", metrics.source_messages),
        ("context_messages", "Messages of context topics that were split", metrics.context_messages),
        ("empty_messages", "Source or context messages that were an empty list", metrics.empty_messages),
        ("stations_split", "Stations in them", metrics.stations_split),
        ("passthrough_stations", "Of these, stations on the pass-through path", metrics.passthrough_stations),
        ("source_gaps", "Offsets of source topics that held no message", metrics.source_gaps),
        ("batches_opened", "Batches that were opened", metrics.batches_opened),
        (
            "batches_discarded",
            "Closed batches that were not published, by the rules or by an operator",
            metrics.discarded,
        ),
        ("revisions", "Outputs of batches after their first", metrics.revisions),
        (
            "stations_left_out",
            "Times a station was not counted by itself, as there are too many",
            statistics.stations_left_out,
        ),
    ):
        family = _counter(name, what)
        family.add_metric([], count)
        yield family


def _labelled_counters(metrics: Metrics) -> Iterator[Metric]:
    for name, what, label, known, counted in (
        ("batches_closed", "First closings, by the rule that closed", "completed_by", _CLOSING, metrics.batches_closed),
        (
            "station_arrivals",
            "Stations of closed batches, by what became of them",
            "outcome",
            OUTCOMES,
            metrics.arrivals,
        ),
        ("dead_letters", "Dead letters", "reason", tuple(Reason), metrics.dead_letters),
        ("late_outcomes", "Outcomes that came after their batch had closed", "reason", (), metrics.late_outcomes),
        (
            "outbox_recoveries",
            "Outputs a predecessor had left: found in place, or sent",
            "result",
            ("found", "sent"),
            metrics.outbox_recoveries,
        ),
    ):
        family = _counter(name, what, label)
        # Those that have not happened are there as 0: the first one is a change that a rate can see.
        for value in dict.fromkeys((*known, *counted)):
            family.add_metric([str(value)], counted[value])
        yield family


_CLOSING: Final = tuple(rule for rule in CompletedBy if rule != "revision")


def _traffic(metrics: Metrics) -> Iterator[Metric]:
    for name, what, counted in (
        ("frames", "Kafka messages read and written, by the kind of their topic", metrics.frames),
        ("bytes", "Bytes of the values of messages read, and of batches of messages written", metrics.bytes),
    ):
        family = _counter(name, what, "kind", "direction")
        for (kind, direction), count in counted.items():
            family.add_metric([kind, direction], count)
        yield family


def _gauges(now: Now) -> Iterator[Metric]:
    for name, what, value in (
        ("live", "1 when the worker works, as /healthz", float(now.live)),
        ("ready", "1 when it is in the group and recovered, as /readyz", float(now.ready)),
        ("partitions", "Partitions of the batches' log that it owns", now.partitions),
        ("open_batches", "Open batches", now.open_batches),
        ("oldest_open_age_seconds", "Age of the oldest open batch; 0 when there is none", now.oldest_open_age),
        ("max_batch_age_seconds", "AGG_MAX_BATCH_AGE: no batch should get older", now.max_batch_age),
        ("unclosed_batches", "Batches that its splitter has opened, not known to be closed", now.unclosed_batches),
        ("max_open_batches", "AGG_MAX_OPEN_BATCHES: with as many of these reading waits", now.max_open_batches),
        ("reading_waits", "1 when source messages wait until batches close", float(now.reading_waits)),
        ("closed_records", "Closed batches that are remembered", now.closed_records),
        ("heartbeat_age_seconds", "Since the group's coordinator last answered", now.heartbeat_age),
        ("callbacks_pending", "Stations that wait for their callback or for its end", now.callbacks_pending),
        ("callbacks_running", "Callbacks that have started and not ended", now.callbacks_running),
    ):
        family = _gauge(name, what)
        family.add_metric([], value)
        yield family
    lag = _gauge("group_lag", "Messages in this worker's partitions of a topic that are not done yet", "topic")
    for topic, messages in now.group_lag.items():
        lag.add_metric([topic], messages)
    yield lag


def _histogram(
    name: str, what: str, histogram: Histogram, seconds: float, bounds: tuple[float, ...]
) -> HistogramMetricFamily:
    below = zip(bounds, histogram.up_to(bounds), strict=True)
    buckets = [(f"{bound:g}", count) for bound, count in below]
    return HistogramMetricFamily(PREFIX + name, what, buckets=[*buckets, ("+Inf", histogram.count)], sum_value=seconds)


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
