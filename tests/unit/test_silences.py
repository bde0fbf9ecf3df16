"""The measurement of silences (`make silences`): what counts as one, and the table on a page."""

from __future__ import annotations

import pytest

from tests.chaos.silences.__main__ import faults_of
from tests.chaos.silences.load import Out, is_steady, longest_silence
from tests.chaos.silences.report import Cell, Counts, Fault, Measured, rows_of, with_table

BEGIN, END = "<!-- silences:begin -->", "<!-- silences:end -->"


def outs(*times: float) -> list[Out]:
    """Complete batches that came out at these times."""
    return [Out(at, f"batch-{at}", complete=True) for at in times]


def test_a_silence_begins_with_the_last_complete_batch_before_the_fault_and_may_last_to_the_end() -> None:
    assert longest_silence(outs(1.0, 2.0, 5.5, 6.0), began=2.5, ended=6.1) == 3.5
    assert longest_silence(outs(1.0, 2.0), began=2.5, ended=6.0) == 4.0


def test_a_partial_batch_breaks_no_silence() -> None:
    partial = Out(4.0, "batch", complete=False)
    assert longest_silence([*outs(2.0, 6.0), partial], began=2.5, ended=6.0) == 4.0


def test_outputs_are_steady_when_all_that_was_sent_is_out_and_no_break_was_seen() -> None:
    flowing = outs(*[10.0 + number / 10 for number in range(16)])
    assert is_steady(flowing, [], since=10.0, now=11.5)
    assert not is_steady(flowing, [], since=10.8, now=11.5), "for too short a time"
    assert not is_steady(flowing, [10.3], since=10.0, now=11.5), "one is missing"
    assert is_steady(flowing, [11.4], since=10.0, now=11.5), "it may still come"
    assert not is_steady(flowing[:5] + flowing[10:], [], since=10.0, now=11.5), "a break"


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("chosen", [list(Fault), [Fault.JOIN], [Fault.AWAY], [Fault.LEAVE]])
def test_a_round_ends_with_as_many_workers_as_it_began_with(workers: int, chosen: list[Fault]) -> None:
    faults = faults_of(workers, chosen)
    assert len([fault for fault in faults if fault in (Fault.LEAVE, Fault.AWAY)]) == faults.count(Fault.JOIN)
    if workers > 1:
        assert set(chosen) <= set(faults)


def test_the_table_stands_between_the_markers_of_a_page() -> None:
    measured = Measured()
    measured.silences[Cell(Fault.BACK, 2, named=True)] = [2.0, 1.0, 2.4]
    measured.shares[2, True] = Counts(98, 100)
    assert rows_of(measured)[1:] == [
        ("it is killed (`kill -9`) and started again at once", "2", "2.0", "2.4", "–", "–")
    ]
    page = with_table(f"before\n{BEGIN}\nold\n{END}\nafter", measured, chinese=False)
    assert page.startswith(f"before\n{BEGIN}\n| what happens to one of them | workers |")
    assert "\n| it is killed (`kill -9`) and started again at once | 2 | 2.0 | 2.4 | – | – |\n" in page
    assert "with names: 98.0% of the batches were complete.\n" in page
    assert page.endswith(f"\n{END}\nafter")
    with pytest.raises(ValueError, match="one <!-- silences:begin -->"):
        with_table("no markers", measured, chinese=True)
