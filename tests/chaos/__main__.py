"""Runs tests marked `chaos`, and `examples` with all of theirs, then a minute of random faults; prints the outcomes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.chaos.killer.__main__ import main as kill
from tests.examples import ALL_EXAMPLES

TESTS = Path(__file__).resolve().parents[1]
SIDE_BY_SIDE = 2  # files; more, and the load of one is the fault of another


class Outcomes:
    """Collects each test's outcome and duration; a pytest plugin."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that has run, or could not be set up."""
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
            self.rows.append((name, report.outcome, report.duration))


def table_of(rows: Iterable[tuple[str, str, float]]) -> Table:
    """The names, outcomes and seconds of tests; a name may have parameters that look like markup, such as `[/]`."""
    table = Table("what is done, and what must come of it", "result", "seconds")
    for name, outcome, seconds in rows:
        table.add_row(Text(name), outcome, f"{seconds:.1f}")
    return table


def main() -> int:
    """Run and print; what is given goes to pytest, and the random faults are left out then. 0: all is well."""
    outcomes = Outcomes()
    os.environ[ALL_EXAMPLES] = "1"
    options = ["-q", "-m", "chaos or examples", "-n", str(SIDE_BY_SIDE), "--dist", "loadfile"]
    code = pytest.main([str(TESTS), *options, *sys.argv[1:]], plugins=[outcomes])
    Console(width=max(110, Console().width)).print(table_of(outcomes.rows))
    return int(code) or (0 if sys.argv[1:] else kill(["--short"]))


if __name__ == "__main__":
    sys.exit(main())
