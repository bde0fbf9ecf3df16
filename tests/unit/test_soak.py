"""The long run (`make soak`): its table by quarters, its rows and its plot."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

from tests.chaos.soak.samples import MEASURES, Sample, csv_of, percentile, rows_of, svg_of


def samples(count: int) -> list[Sample]:
    """A memory that grows by one MiB a sample; the first has no latency yet."""
    return [
        Sample(
            minutes=number / 12,
            resident=100.0 + number,
            largest=150.0,
            files=40.0,
            changelogs=5.0,
            rate=20.0,
            p50=math.nan if number == 0 else 0.05,
            p99=math.nan if number == 0 else 0.2,
        )
        for number in range(count)
    ]


def test_the_table_has_the_median_of_each_quarter() -> None:
    rows = rows_of(samples(40))
    assert rows[1] == ("memory of the worker that stays, MiB", "104", "114", "124", "134")
    assert rows[6] == ("latency, median, s", "0.05", "0.05", "0.05", "0.05")
    assert rows_of([])[1][1:] == ("–",) * 4
    assert len(rows_of(samples(3), chinese=True)) == len(MEASURES) + 1


def test_the_percentile_is_one_of_the_values() -> None:
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    assert math.isnan(percentile([], 0.5))


def test_each_sample_is_a_row_of_figures() -> None:
    head, first, *_ = csv_of(samples(3)).splitlines()
    assert head == "minutes,resident,largest,files,changelogs,rate,p50,p99"
    assert first == "0,100,150,40,5,20,nan,nan"


def test_the_plot_has_a_line_for_each_measure_without_what_was_not_measured() -> None:
    plot = ET.fromstring(svg_of(samples(5)))  # noqa: S314 - ours
    lines = [line.attrib["points"].split() for line in plot.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(line) for line in lines] == [5, 5, 5, 5, 5, 4, 4]
    assert list(ET.fromstring(svg_of([])))  # noqa: S314 - ours
