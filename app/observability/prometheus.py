"""A worker's metrics for Prometheus, by its official client: their names, help texts and values.

Nothing is kept here: counting is cheap because it is done in plain integers (counters.py), which are read for each
scrape. The values of the gauges come from app/worker/status.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import nlargest
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.messages.dead_letters import Reason
from app.observability.counters import OUTCOMES, ContextSize, Histogram, Metrics, StationCounters, Statistics
from tables.model.enums import CompletedBy

Gauges = Mapping[str, Callable[[], float]]  # values at the moment, by names of `GAUGES`

_NAMESPACE: Final = "batch_aggregator"
PREFIX: Final = f"{_NAMESPACE}_"

BATCH_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
LAG_SECONDS: Final = (1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CALLBACK_SECONDS: Final = (1e-4, 1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

GAUGES: Final = {  # help texts
    "live": "1 when the worker works, as /healthz",
    "ready": "1 when it is in the group and recovered, as /readyz",
    "partitions": "Partitions of the batches' log that it owns",
    "open_batches": "Open batches",
    "oldest_open_age_seconds": "Age of the oldest open batch; 0 when there is none",
    "max_batch_age_seconds": "AGG_MAX_BATCH_AGE: no batch should get older",
    "unclosed_batches": "Batches that its splitter has opened, not known to be closed",
    "max_open_batches": "AGG_MAX_OPEN_BATCHES: with as many of these reading waits",
    "reading_waits": "1 when source messages wait until batches close or callbacks can begin",
    "closed_records": "Closed batches that are remembered",
    "heartbeat_age_seconds": "Since the group's coordinator last answered",
    "callbacks_pending": "Stations that wait for their callback or for its end",
    "callbacks_running": "Callbacks that have started and not ended",
    "settings_differ": "Settings whose values differ from those of another worker of the app id; its log names them",
    "clock_offset_seconds": "By which the clock that differs most, of all workers', is surely ahead of this one's; "
    "negative: behind",
}

_CLOSING: Final = tuple(rule for rule in CompletedBy if rule is not CompletedBy.REVISION)


def metrics_registry(
    statistics: Statistics,
    gauges: Gauges,
    group_lag: Callable[[], Mapping[str, int]],
    *,
    most_stations: int,
    build: Mapping[str, str],
    context: Callable[[], Mapping[str, ContextSize]] = dict,
) -> CollectorRegistry:
    """Return a registry of a worker's metrics, and of what its process uses, all with our prefix.

    Args:
        statistics: what has been counted.
        gauges: how the worker stands.
        group_lag: gives the messages that are not done yet, by topic.
        most_stations: stations with series of their own, at most (`AGG_METRICS_STATIONS`).
        build: labels of the series that says which program this is, beside its version.
        context: gives what is known of each context topic.
    """
    registry = CollectorRegistry()
    registry.register(_StatisticsCollector(statistics, group_lag, most_stations, context))
    for name, value in gauges.items():
        Gauge(name, GAUGES[name], namespace=_NAMESPACE, registry=registry).set_function(value)
    labels = {"version": program_version(), **build}
    info = Gauge("build_info", "Which program this is: always 1", labels, namespace=_NAMESPACE, registry=registry)
    info.labels(**labels).set(1)
    ProcessCollector(namespace=_NAMESPACE, registry=registry)
    return registry


def program_version() -> str:
    """Return the installed distribution's version; "unknown" where there is none."""
    try:
        return version("station-batch-aggregator")
    except PackageNotFoundError:  # run from a checkout that nobody has installed
        return "unknown"


def expose(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Return all metrics in the format that the `Accept` header of a request asks for, and its content type."""
    try:
        encode, content_type = choose_encoder(accept or "")
    except (TypeError, ValueError):  # the client's, for a version that is none
        encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return encode(registry), content_type


class _StatisticsCollector(Collector):
    """Makes metric families of a worker's statistics, anew for each scrape."""

    def __init__(
        self,
        statistics: Statistics,
        group_lag: Callable[[], Mapping[str, int]],
        most_stations: int,
        context: Callable[[], Mapping[str, ContextSize]],
    ) -> None:
        self._statistics = statistics
        self._context = context
        self._group_lag = group_lag
        self._most_stations = most_stations

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._statistics)
        yield _lag(self._group_lag())
        yield from _context(self._context(), self._statistics)
        yield from _histograms(self._statistics)
        yield from _stations(self._statistics, self._most_stations)


# -- counters ----------------------------------------------------------------------------------------------------------


def _counters(statistics: Statistics) -> Iterator[Metric]:
    """Make the counters, of all stations together."""
    metrics = statistics.metrics
    yield from _plain_counters(metrics, statistics.stations_left_out)
    yield from _labelled_counters(metrics)
    yield from _traffic(metrics)


def _plain_counters(metrics: Metrics, stations_left_out: int) -> Iterator[Metric]:
    discarded = "Closed batches that were not published, by the rules or by an operator"
    left_out = "Times a station was not counted by itself, as there are too many"
    lost = "Offsets that were gone from the broker before they were read: retention, or deleted records"
    restarts = "Partitions read from their beginning again: log truncated or restored, topic made again"
    for name, text, count in (
        ("source_messages", "Source messages that were split", metrics.source_messages),
        ("context_messages", "Messages of context topics that were split", metrics.context_messages),
        ("empty_messages", "Source or context messages that were an empty list", metrics.empty_messages),
        ("stations_split", "Stations in them", metrics.stations_split),
        ("passthrough_stations", "Of these, stations on the pass-through path", metrics.passthrough_stations),
        ("source_gaps", "Offsets of source topics that held no message", metrics.source_gaps),
        ("lost_offsets", lost, metrics.lost_offsets),
        ("log_restarts", restarts, metrics.log_restarts),
        ("batches_opened", "Batches that were opened", metrics.batches_opened),
        ("batches_discarded", discarded, metrics.discarded),
        ("late_dropped", "Late outcomes that AGG_LATE_POLICY=drop dropped", metrics.late_dropped),
        ("revisions", "Outputs of batches after their first", metrics.revisions),
        ("stations_left_out", left_out, stations_left_out),
    ):
        yield CounterMetricFamily(PREFIX + name, text, count)


def _labelled_counters(metrics: Metrics) -> Iterator[Metric]:
    arrivals = "Stations of closed batches, by what became of them"
    recoveries = "Outputs a predecessor had left: found in place, or sent"
    for name, text, label, known, counted in (
        ("batches_closed", "First closings, by the rule that closed", "completed_by", _CLOSING, metrics.batches_closed),
        ("station_arrivals", arrivals, "outcome", OUTCOMES, metrics.arrivals),
        ("dead_letters", "Dead letters", "reason", tuple(Reason), metrics.dead_letters),
        ("late_outcomes", "Outcomes that came after their batch had closed", "reason", (), metrics.late_outcomes),
        ("outbox_recoveries", recoveries, "result", ("found", "sent"), metrics.outbox_recoveries),
    ):
        family = _counter(name, text, label)
        # Those that have not happened are there as 0: the first one is a change that a rate can see.
        for value in dict.fromkeys((*known, *counted)):
            family.add_metric([str(value)], counted[value])
        yield family


def _traffic(metrics: Metrics) -> Iterator[Metric]:
    for name, text, counted in (
        ("frames", "Kafka messages read and written, by the kind of their topic", metrics.frames),
        ("bytes", "Bytes of the values of messages read, and of batches of messages written", metrics.bytes),
    ):
        family = _counter(name, text, "kind", "direction")
        for (kind, direction), count in counted.items():
            family.add_metric([kind, direction], count)
        yield family


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


# -- the group's lag, and durations ------------------------------------------------------------------------------------


def _lag(messages: Mapping[str, int]) -> Metric:
    family = _gauge("group_lag", "Messages in this worker's partitions of a topic that are not done yet", "topic")
    for topic, count in messages.items():
        family.add_metric([topic], count)
    return family


def _context(sizes: Mapping[str, ContextSize], statistics: Statistics) -> Iterator[Metric]:
    """Make the gauges of what is known on each context topic, and the counter of what came too late for it."""
    records = _gauge("context_records", "Records of a context topic that are kept for this worker's stations", "topic")
    size = _gauge("context_bytes", "Bytes that they take in memory, about", "topic")
    age = _gauge("context_newest_age_seconds", "Age of the newest of them by its own time", "topic")
    for topic, known in sizes.items():
        records.add_metric([topic], known.records)
        size.add_metric([topic], known.bytes)
        if known.newest is not None:
            age.add_metric([topic], statistics.now() - known.newest)
    too_old = _counter("context_too_old", "Records of a context topic that were older than their window", "topic")
    for topic in dict.fromkeys((*sizes, *statistics.metrics.context_too_old)):
        too_old.add_metric([topic], statistics.metrics.context_too_old[topic])
    yield from (records, size, age, too_old)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _histograms(statistics: Statistics) -> Iterator[Metric]:
    """Make the histograms of the durations of batches and callbacks, and of the event loop's lag, in seconds."""
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


def _histogram(name: str, text: str, durations: Histogram, seconds: float, bounds: tuple[float, ...]) -> Metric:
    below = zip(bounds, durations.up_to(bounds), strict=True)
    buckets = [*((f"{bound:g}", count) for bound, count in below), ("+Inf", durations.count)]
    return HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=seconds)


# -- stations ----------------------------------------------------------------------------------------------------------


def _stations(statistics: Statistics, most: int) -> Iterator[Metric]:
    """Make series of the worst stations: those that are missing now for the longest, then by misses and failures.

    Only so many have series, whatever ids come in. Which ones they are changes slowly.
    """
    troubled = [
        (counted.missed_in_a_row, counted.misses + counted.failures, station, counted)
        for station, counted in statistics.batches_of_stations().items()
        if counted.misses or counted.failures
    ]
    worst = [(station, counted) for *_, station, counted in nlargest(most, troubled)]
    for name, text, count_of in _STATION_COUNTERS:
        family = _counter(name, text, "station_id")
        for station, counted in worst:
            family.add_metric([station], count_of(counted))
        yield family
    row = _gauge(
        "station_missed_in_a_row", "The station's latest batches here that it missed, all of them", "station_id"
    )
    for station, counted in worst:
        row.add_metric([station], counted.missed_in_a_row)
    yield row


_STATION_COUNTERS: Final[tuple[tuple[str, str, Callable[[StationCounters], int]], ...]] = (
    ("station_expected", "Closed batches that expected the station", lambda counted: counted.expected),
    ("station_misses", "Closed batches that it missed", lambda counted: counted.misses),
    ("station_failures", "Closed batches in which it failed", lambda counted: counted.failures),
)
