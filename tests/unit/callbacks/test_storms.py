"""The callback runner: exactly one outcome for each call, with everything going on at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from tables.model.enums import Code
from tests.callback_bench import Bench, value_of
from tests.virtual_time import run_in_virtual_time, unix_now


class Storm:
    """Random callbacks: each finishes, suspends, raises, hangs, or ignores its cancellation, as its call says."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a storm that can be had again
        self.running: set[str] = set()
        self.order: dict[str, list[int]] = {}

    def kind(self) -> str:
        return self.random.choices(
            ["value", "wait", "raise", "exit", "hang", "stubborn"], weights=[20, 20, 5, 1, 2, 1]
        )[0]

    async def callback(self, station_id: str, module_input: ModuleInput) -> Any:
        self.order.setdefault(station_id, []).append(module_input["n"])
        kind, seconds = module_input["kind"], module_input["seconds"]
        if kind == "raise":
            raise ValueError(kind)
        if kind == "exit":
            raise SystemExit
        if kind == "wait":
            await asyncio.sleep(seconds)
        if kind == "hang":
            await asyncio.Event().wait()
        if kind == "stubborn":
            for _ in range(3):
                try:
                    await asyncio.sleep(50)
                except asyncio.CancelledError:
                    continue
        return {"n": module_input["n"]}


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_every_call_has_exactly_one_outcome_whatever_happens(seed: int, by_group: bool) -> None:
    storm = Storm(seed)

    async def main() -> None:
        options = {"concurrency": storm.random.choice([1, 3, 64]), "overtime_max": storm.random.choice([0, 2, 64])}
        bench = Bench(storm.callback, module_input=lambda call: call.context, **options)
        row: list[tuple[str, Any]] = []
        async with bench:
            dropped = 0
            for n in range(600):
                context = {"n": n, "kind": storm.kind(), "seconds": storm.random.uniform(0, 8)}
                deadline = storm.random.choice([None, unix_now() + storm.random.uniform(0, 20)])
                station = f"S{storm.random.randrange(40)}"
                row.append((station, context))
                if by_group and storm.random.random() < 0.8:
                    continue
                if by_group:
                    last = storm.random.choice([row[-1:], []])  # which then is a call by itself
                    until = asyncio.get_running_loop().time() + storm.random.uniform(0, 20)
                    bench.submit_group(*row[: len(row) - len(last)], deadline=until)
                    row = last
                for name, about in row:
                    bench.runner.submit(Call(name, deadline, about))
                row = []
                if storm.random.random() < 0.2:
                    await asyncio.sleep(storm.random.uniform(0, 3))
                if storm.random.random() < 0.005:
                    dropped += bench.runner.pending
                    await bench.runner.cancel_all()
                assert bench.runner.running - bench.overtime() <= options["concurrency"]
                assert bench.overtime() <= options["overtime_max"]
            bench.submit_group(*row)
            await bench.until(600 - dropped)
            await asyncio.sleep(200)
            assert bench.runner.pending == bench.runner.running == bench.overtime() == bench.zombies() == 0
        counts = Counter(call.context["n"] for call, _ in bench.outcomes)
        assert len(bench.outcomes) == 600 - dropped
        assert set(counts.values()) <= {1}
        for call, outcome in bench.outcomes:
            if outcome.code is Code.RESULT:
                assert value_of(outcome) == {"station_id": call.station_id, "n": call.context["n"]}
        assert all(order == sorted(order) for order in storm.order.values())

    run_in_virtual_time(main())


def test_every_call_of_a_def_has_exactly_one_outcome() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> int:
        if module_input["n"] % 10 == 0:
            raise ValueError(station_id)
        n: int = module_input["n"]
        return n

    async def main() -> None:
        bench = Bench(callback, module_input=lambda call: {"n": call.context}, concurrency=8)
        async with bench:
            for n in range(3_000):
                bench.runner.submit(Call(f"S{n % 50}", None, n))
            await bench.until(3_000)
            assert bench.busy() == 0
        assert sorted(call.context for call, _ in bench.outcomes) == list(range(3_000))
        assert sum(outcome.code is Code.FAILED for _, outcome in bench.outcomes) == 300

    asyncio.run(main())
