"""What a scrape shows."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from app.observability.counters import Metrics, Statistics
from app.observability.prometheus import Gauges, expose, metrics_registry
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def closed(statistics: Statistics, *expected: str, missing: tuple[str, ...] = (), seconds: float = 1.0) -> None:
    statistics.released(
        Decision(
            batch_id="b",
            revision=1,
            completed_by=CompletedBy.TIMEOUT if missing else CompletedBy.ALL,
            status=Status.PARTIAL if missing else Status.COMPLETE,
            opened_at=0.0,
            deadline=5.0,
            closed_at=seconds,
            expected=expected,
            results=("{}",) * (len(expected) - len(missing)),
            missing=missing,
            failed=(),
            empty=(),
        )
    )


def scrape(
    statistics: Statistics, gauges: Gauges | None = None, lag: dict[str, int] | None = None, *, most_stations: int = 10
) -> dict[str, float]:
    """Value by series, such as `batch_aggregator_batches_closed_total{completed_by=all}`."""
    registry = metrics_registry(
        statistics, gauges or {}, lambda: lag or {}, most_stations=most_stations, build={"module": "m"}
    )
    body, content_type = expose(registry, None)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    series = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            series[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return series


@pytest.fixture
def statistics() -> Statistics:
    return Statistics(Metrics(), lambda: 0.0)


def test_closings_are_counted_by_their_rule_and_rules_that_have_closed_none_are_there_as_0(
    statistics: Statistics,
) -> None:
    closed(statistics, "A", "B")
    closed(statistics, "A", "B", missing=("B",))
    shown = scrape(statistics)
    assert shown["batch_aggregator_batches_closed_total{completed_by=all}"] == 1
    assert shown["batch_aggregator_batches_closed_total{completed_by=timeout}"] == 1
    assert shown["batch_aggregator_station_arrivals_total{outcome=result}"] == 3
    assert shown["batch_aggregator_station_arrivals_total{outcome=missing}"] == 1
    assert shown["batch_aggregator_dead_letters_total{reason=bad-message}"] == 0


def test_durations_are_histograms_with_their_sums(statistics: Statistics) -> None:
    for seconds in (0.02, 0.3, 0.3, 7.0):
        closed(statistics, "A", seconds=seconds)
    statistics.callback("A", 0.004)
    shown = scrape(statistics)
    name = "batch_aggregator_batch_duration_seconds"
    assert shown[f"{name}_bucket{{le=0.025}}"] == 1
    assert shown[f"{name}_bucket{{le=0.5}}"] == 3
    assert shown[f"{name}_bucket{{le=+Inf}}"] == shown[f"{name}_count"] == 4
    assert shown[f"{name}_sum"] == pytest.approx(7.62)
    assert shown["batch_aggregator_callback_duration_seconds_bucket{le=0.005}"] == 1


def test_how_the_worker_stands_is_shown(statistics: Statistics) -> None:
    statistics.metrics.moved("batch-events", "in", 3, 4711)
    gauges: Gauges = {
        "ready": lambda: True,
        "open_batches": lambda: 2,
        "oldest_open_age_seconds": lambda: 3.5,
        "closed_records": lambda: 7,
    }
    shown = scrape(statistics, gauges, {"T": 12})
    assert shown["batch_aggregator_ready"] == 1
    assert shown["batch_aggregator_open_batches"] == 2
    assert shown["batch_aggregator_oldest_open_age_seconds"] == 3.5
    assert shown["batch_aggregator_closed_records"] == 7
    assert shown["batch_aggregator_group_lag{topic=T}"] == 12
    assert shown["batch_aggregator_frames_total{direction=in,kind=batch-events}"] == 3
    assert shown["batch_aggregator_bytes_total{direction=in,kind=batch-events}"] == 4711
    assert [value for name, value in shown.items() if name.startswith("batch_aggregator_build_info{module=m,")] == [1]
    assert shown["batch_aggregator_process_resident_memory_bytes"] > 0
    assert all(name.startswith("batch_aggregator_") for name in shown)


def test_only_so_many_stations_have_series_and_those_that_miss_now_come_first(statistics: Statistics) -> None:
    everyone = [f"S{number}" for number in range(100)]
    closed(statistics, *everyone, missing=("S1", "S2", "S3"))
    closed(statistics, *everyone, missing=("S1", "S4"))
    closed(statistics, *everyone, missing=("S9",))
    shown = scrape(statistics, most_stations=2)
    missed = {name: value for name, value in shown.items() if name.startswith("batch_aggregator_station_misses_total")}
    assert missed == {
        "batch_aggregator_station_misses_total{station_id=S9}": 1,
        "batch_aggregator_station_misses_total{station_id=S1}": 2,
    }
    assert shown["batch_aggregator_station_missed_in_a_row{station_id=S9}"] == 1
    assert shown["batch_aggregator_station_missed_in_a_row{station_id=S1}"] == 0
    assert shown["batch_aggregator_station_expected_total{station_id=S1}"] == 3
    assert not [name for name in scrape(statistics, most_stations=0) if "station_id" in name]


def test_misses_in_a_row_end_with_an_arrival(statistics: Statistics) -> None:
    rows = []
    for missing in (("A",), ("A",), (), ("A",), ("A",), ("A",)):
        closed(statistics, "A", "B", missing=missing)
        rows.append(statistics.stations()["A"].missed_in_a_row)
    assert rows == [1, 2, 0, 1, 2, 3]


def test_a_station_id_with_quotes_and_line_breaks_stays_one_label(statistics: Statistics) -> None:
    station = 'a"} 1\nbatch_aggregator_forged 1\\'
    closed(statistics, station, missing=(station,))
    shown = scrape(statistics)
    assert shown[f"batch_aggregator_station_misses_total{{station_id={station}}}"] == 1
    assert "batch_aggregator_forged" not in shown


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("text/html, */*;q=0.1", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain; version=none", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(statistics: Statistics, accept: str, content_type: str) -> None:
    body, given = expose(metrics_registry(statistics, {}, dict, most_stations=1, build={}), accept)
    assert given == content_type
    assert body.endswith(b"# EOF\n") == given.startswith("application/openmetrics")


def test_every_count_of_the_metrics_is_exposed() -> None:
    metrics = Metrics()
    for number, (name, value) in enumerate(vars(metrics).items(), 1001):
        if isinstance(value, int):
            setattr(metrics, name, number)
        else:
            value[("a kind", "in") if name in {"frames", "bytes"} else "a label"] = number
    shown = scrape(Statistics(metrics, lambda: 0.0)).values()
    assert [name for number, name in enumerate(vars(metrics), 1001) if number not in shown] == []
