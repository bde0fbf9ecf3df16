"""The command `batch-aggregator`: where `-A` may stand."""

from __future__ import annotations

import pytest

from batch_aggregator import divide


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("check", ""),
        ("-A mine check", "-A mine"),
        ("-Amine check", "-Amine"),
        ("--app=mine -l info worker", "--app=mine"),
        ("--quiet -A mine worker", "-A mine"),
        ("worker -A mine", "-A mine"),
        ("worker -l info --app mine:app", "--app mine:app"),
        ("outputs --app=mine", "--app=mine"),
        ("outputs --batch -A1", ""),
        ("outputs --batch -A --station --app=x", ""),
        ("batches show -A1", ""),
        ("batches show -- -A x", ""),
        ("send --key -A lines", ""),
        ("-A", "-A"),
    ],
)
def test_what_names_the_application_is_found_before_and_behind_the_command(line: str, named: str) -> None:
    arguments = line.split()
    found, others = divide(arguments)
    assert found == named.split()
    assert sorted([*found, *others]) == sorted(arguments)
    assert [argument for argument in arguments if argument in others] == others
