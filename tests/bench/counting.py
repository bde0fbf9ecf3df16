"""What counting costs a station: `python -m tests.bench.counting`; CONTRACT 10's figures must cost 1 us at most."""

from __future__ import annotations

from time import process_time, time

from app.observability.counters import Metrics, Statistics
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision

STATIONS = 1_000
ROUNDS = 200


def counting_cost() -> tuple[float, float]:
    """Microseconds of CPU a station: for its batch's closing, and for its callback's duration."""
    statistics = Statistics(Metrics(), time)
    expected = tuple(str(1881540927845654529 + number) for number in range(STATIONS))
    failed = tuple((station, "ValueError: x") for station in expected[::50])
    decision = Decision(
        "batch", 1, CompletedBy.TIMEOUT, Status.PARTIAL, 0.0, 5.0, 5.0, expected, expected[100:], expected[1:100:2],
        failed, expected[2:100:2],
    )  # fmt: skip
    began = process_time()
    for _ in range(ROUNDS):
        statistics.released(decision)
    closing = process_time() - began
    began = process_time()
    for number in range(ROUNDS):
        seconds = 0.001 + number / 1e4
        for station in expected:
            statistics.callback(station, seconds)
    callback = process_time() - began
    return closing / ROUNDS / STATIONS * 1e6, callback / ROUNDS / STATIONS * 1e6


def main() -> None:
    """Print it."""
    closing, callback = counting_cost()
    print(  # noqa: T201
        f"Counting, CPU µs a station: {closing:.2f} at the batch's closing, {callback:.2f} at the callback's end, "
        f"{closing + callback:.2f} in all"
    )


if __name__ == "__main__":
    main()
