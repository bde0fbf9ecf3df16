"""The tables of the benchmark (`make bench`): loads, medians, cells, pages."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from tests.bench.__main__ import arguments, loads_of
from tests.bench.loads import Kind, Load, numbered
from tests.bench.machine import command_of
from tests.bench.peers.catalogue import FAUST, JAVA_PROJECT, KAFKA_STREAMS, PEERS, REQUIREMENTS
from tests.bench.programs import APPLICATION, YARDSTICK, Promise
from tests.bench.report import Cost, Results, flatness, grids, median, promises, remarks, with_results

ROOT = Path(__file__).parents[3]
SMALL, LARGE, WINDOW = Load(Kind.GUNS, 10), Load(Kind.GUNS, 1_000), Load(Kind.WINDOW, 100)
MIB = 2.0**20


def results_of() -> Results:
    results = Results([APPLICATION, YARDSTICK, FAUST, KAFKA_STREAMS], [SMALL, LARGE, WINDOW])
    for cpu in (40.0, 20.0, 30.0):
        results.costs[APPLICATION.name, SMALL].append(Cost(cpu, 5.0, 1e4, 90 * MIB))
        results.costs[APPLICATION.name, LARGE].append(Cost(10.0, 4.0, 5e4, 95 * MIB))
        results.costs[YARDSTICK.name, SMALL].append(Cost(cpu / 2, 2.0, 2e4, 50 * MIB))
    results.costs[FAUST.name, SMALL].append(Cost(450.0, 20.0, 2e3, 100 * MIB))
    results.left_out[KAFKA_STREAMS.name] = "it needs a JDK"
    return results


def test_the_median_is_taken_of_each_figure_for_itself() -> None:
    costs = [Cost(1.0, 9.0, 5.0, 2.0), Cost(3.0, 7.0, 4.0, 2.0), Cost(2.0, 8.0, 6.0, 1.0)]
    assert median(costs) == Cost(2.0, 8.0, 5.0, 2.0)


def test_a_row_is_a_load_and_a_column_a_program_that_was_measured() -> None:
    cpu, broker, rate, resident = grids(results_of())
    assert cpu.heads == ["stations a batch", "application", "yardstick", "Faust"]
    assert cpu.rows == [
        ["10", "30.0", "15.0 (0.50)", "450.0 (15.00)"],
        ["1,000", "10.0", "–", "–"],
        ["100 × 168 records × 8 guns", "–", "–", "–"],
    ]
    assert broker.rows[0] == ["10", "5.0", "2.0", "20.0"]
    assert rate.rows[0] == ["10", "10,000", "20,000 (2.00)", "2,000 (0.20)"]
    assert resident.rows[0][1] == "90"


def test_flatness_is_the_median_of_the_rounds_ratios() -> None:
    assert flatness(results_of(), Kind.GUNS) == 3.0
    assert flatness(results_of(), Kind.PLAIN) is None


def test_what_is_left_out_or_was_given_less_says_so() -> None:
    lines = remarks(results_of())
    assert lines == [
        "The dearest size against the cheapest, CPU a record, with guns: 3.00",
        "Faust was given the first 5% of the messages.",
        "Kafka Streams is left out: it needs a JDK",
    ]
    assert remarks(results_of(), chinese=True)[-1] == "未测 Kafka Streams：it needs a JDK"


def test_the_application_promises_everything_and_each_promise_has_a_row() -> None:
    table = promises([APPLICATION, YARDSTICK, *PEERS.values()])
    assert len(table.rows) == len(Promise)
    assert {row[1] for row in table.rows} == {"✓"}
    assert {row[2] for row in table.rows} == {"–"}


def test_a_page_gets_the_tables_between_its_markers() -> None:
    page = with_results(
        "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter", results_of(), "today", chinese=True
    )
    assert page.startswith("before\n<!-- bench:begin -->\n| ")
    assert "| 10 | 30.0 | 15.0 (0.50) | 450.0 (15.00) |" in page
    assert "\n- today\n" in page
    assert "old" not in page
    assert page.endswith("\n<!-- bench:end -->\nafter")
    with pytest.raises(ValueError, match="one <!-- bench:begin -->"):
        with_results("none", results_of(), "today", chinese=False)


@pytest.mark.parametrize("name", ["performance.md", "performance.zh-CN.md"])
def test_the_pages_of_performance_have_a_place_for_the_tables(name: str) -> None:
    assert with_results((ROOT / "docs" / name).read_text(), results_of(), "today", chinese=".zh" in name)


def test_all_messages_of_a_run_have_times_of_their_own() -> None:
    loads = [SMALL, LARGE, WINDOW]
    ranges = [numbers for _, numbers in numbered(loads, 100_000, 8)]
    assert ranges == [range(96, 10_096), range(10_096, 10_196), range(10_196, 10_204)]


def test_messages_of_guns_are_real_records_with_a_station_and_a_time_each() -> None:
    first, second = (orjson.loads(Load(Kind.GUNS, 300).message(number))["realTimeData"] for number in (0, 1))
    assert len({record["stationId"] for record in first}) == 300
    assert {record["sendTime"] for record in first} == {"2025-11-04 01:00:00"}
    assert {record["sendTime"] for record in second} == {"2025-11-04 01:00:01"}
    counts = {len(record["gunPower"]["gunNo"]) for record in first}
    assert len(counts) > 1, "charge points have different numbers of guns"
    assert [record["gunPower"] for record in first[1:]] == [record["gunPower"] for record in second[:-1]]


def test_a_program_with_a_share_gets_the_first_messages_and_at_least_one() -> None:
    assert FAUST.share_of(range(100, 300)) == range(100, 110)
    assert FAUST.share_of(range(100, 104)) == range(100, 101)
    assert YARDSTICK.share_of(range(5)) == range(5)


def test_the_loads_are_guns_windows_and_plain_records() -> None:
    loads = loads_of([10, 100], [100])
    assert [(load.kind, load.stations) for load in loads] == [
        (Kind.GUNS, 10), (Kind.GUNS, 100), (Kind.WINDOW, 100), (Kind.PLAIN, 10), (Kind.PLAIN, 100),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], "make bench"),
        (["--peers"], "make bench PEERS=1"),
        (["--peers", "--rounds", "1"], 'make bench PEERS=1 ARGS="--rounds 1"'),
        (["--peers", "bytewax"], 'make bench ARGS="--peers bytewax"'),
        (["--sizes", "10", "100"], 'make bench ARGS="--sizes 10 100"'),
    ],
)
def test_the_command_of_a_run_can_be_typed_again(given: list[str], command: str) -> None:
    assert command_of(given) == command


def test_peers_are_chosen_by_name_or_all_at_once() -> None:
    assert arguments().parse_args([]).peers is None
    assert arguments().parse_args(["--peers", "--rounds", "1"]).peers == []
    assert arguments().parse_args(["--peers", "bytewax", "faust"]).peers == ["bytewax", "faust"]
    with pytest.raises(SystemExit):
        arguments().parse_args(["--peers", "spark"])


def test_what_peers_are_made_of_is_pinned_and_no_dependency_of_the_project() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", line) for line in lines)
    own = (ROOT / "pyproject.toml").read_text().split("[tool.ruff]")[0] + (ROOT / "requirements.lock").read_text()
    assert [
        name for name in ("bytewax", "quixstreams", "confluent-kafka") if f'"{name}' in own or f"\n{name}==" in own
    ] == []
    assert "<version>" in (JAVA_PROJECT / "pom.xml").read_text()
