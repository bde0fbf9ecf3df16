"""The benchmark on a real Kafka, with a load of a moment: what it measures, and what becomes of a program that ends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from app.devbroker import DevBroker
from tests.bench.loads import Kind, Load
from tests.bench.peers.catalogue import FAUST
from tests.bench.programs import APPLICATION, YARDSTICK, Command, Program
from tests.bench.report import Results
from tests.bench.throughput import Turns
from tests.topic_creation import CREATES_TOPICS

pytestmark = pytest.mark.kafka

ENDS = Program("ends", lambda _report: lambda _place: Command([sys.executable, "-c", "raise SystemExit('no licence')"]))
PROGRAMS = [APPLICATION, YARDSTICK, FAUST, ENDS]  # those that need nothing to be installed
LOADS = [Load(Kind.GUNS, 10), Load(Kind.WINDOW, 2)]


@pytest.mark.chaos
def test_programs_are_measured_by_turns_and_one_that_ends_is_left_out(tmp_path: Path) -> None:
    results, lines = Results(PROGRAMS, LOADS), list[str]()
    with DevBroker(overrides=CREATES_TOPICS) as broker:
        turns = Turns(broker, tmp_path, {program: program.install(lines.append) for program in PROGRAMS}, 400)
        for number in range(2):
            asyncio.run(turns.round(number, results, lines.append))
    for program in (APPLICATION, YARDSTICK, FAUST):
        for load in LOADS:
            costs = results.costs[program.name, load]
            assert len(costs) == 2, lines
            assert all(cost.cpu > 0 and cost.broker >= 0 and cost.rate > 0 and cost.resident > 0 for cost in costs)
    assert "no licence" in results.left_out.pop("ends")
    assert results.left_out == {}
    assert sum(line.startswith("ends") for line in lines) == 1, "it is not tried again"
