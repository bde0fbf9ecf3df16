"""The families of a worker's metrics: their names, what they are, and the figures in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from app.messages.dead_letters import Reason
from app.observability.counters import Metrics
from app.observability.histogram import Histogram
from app.observability.statistics import OUTCOMES, StationCounters, Statistics
from tables.model.enums import CompletedBy

__all__ = ["PREFIX", "Now", "build_info", "counters", "gauges", "histograms", "stations"]

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


def counters(statistics: Statistics) -> Iterator[Metric]:
    """What the worker has counted, of all stations together."""
    metrics = statistics.metrics
    yield from _plain_counters(metrics, statistics)
    yield from _labelled_counters(metrics)
    yield from _traffic(metrics)


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


def gauges(now: Now) -> Iterator[Metric]:
    """What the worker has at the moment."""
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


def histograms(statistics: Statistics) -> Iterator[Metric]:
    """How long batches, callbacks and the event loop have taken, in seconds."""
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


def _histogram(
    name: str, what: str, histogram: Histogram, seconds: float, bounds: tuple[float, ...]
) -> HistogramMetricFamily:
    below = zip(bounds, histogram.up_to(bounds), strict=True)
    buckets = [(f"{bound:g}", count) for bound, count in below]
    return HistogramMetricFamily(PREFIX + name, what, buckets=[*buckets, ("+Inf", histogram.count)], sum_value=seconds)


def stations(statistics: Statistics, most: int) -> Iterator[Metric]:
    """The stations that are worst: that are missing now for the longest, then those with most misses and failures.

    Only so many have series, whatever ids come in. Which ones they are changes slowly.
    """
    troubled = [
        (counted.missed_in_a_row, counted.misses + counted.failures, station, counted)
        for station, counted in statistics.stations().items()
        if counted.misses or counted.failures
    ]
    worst = [(station, counted) for *_, station, counted in nlargest(most, troubled)]
    for name, what, of in _STATION_COUNTERS:
        family = _counter(name, what, "station_id")
        for station, counted in worst:
            family.add_metric([station], of(counted))
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


def build_info(build: Mapping[str, str]) -> Metric:
    """The series that tells by its labels which program this is."""
    family = _gauge("build_info", "Which program this is: always 1", *build)
    family.add_metric(list(build.values()), 1)
    return family


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, what, labels=labels)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, what, labels=labels)
