"""The outbox killed once at each point between two effects; `make chaos POINTS=30` does it as often as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.points.__main__ import Plan, run
from tests.chaos.points.points import POINTS
from tests.chaos.points.report import rows_of
from tests.shared_brokers import SharedBroker

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]


def test_a_worker_that_is_killed_at_any_point_of_the_outbox_loses_nothing_and_makes_no_copy(
    kafka_broker: SharedBroker, tmp_path: Path
) -> None:
    said: list[str] = []
    measured = run(kafka_broker.bootstrap, tmp_path, Plan(kills=1, rate=2.0), said.append)
    findings = {
        name: (one.lost, one.copies, one.different, one.wrong)
        for name, one in measured.verdicts.items()
        if not one.good or one.copies
    }
    assert measured.good, f"{findings}\n{measured.faulty}\n{said}"
    assert [len(kills.in_flight) for kills in measured.kills.values()] == [1] * len(POINTS), rows_of(measured)
