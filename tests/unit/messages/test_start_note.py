"""What is noted of starts, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.start_note import GROUP, StartNote, mark_of
from tables.model.events import Source

SOURCE = Source("T", 3, 17)
marks = st.lists(st.builds(mark_of, st.just(SOURCE), st.text()), max_size=GROUP).map(tuple)
A, B = (mark_of(SOURCE, station_id) for station_id in "AB")
MOST = 4096  # offset.metadata.max.bytes


@given(st.builds(StartNote, starts=st.integers(0, 10**6), running=marks, deaths=st.integers(0, 9), condemned=marks))
def test_a_note_is_read_as_it_was_written(note: StartNote) -> None:
    assert StartNote.read(note.text) == note


def test_the_longest_note_has_room_beside_an_offset() -> None:
    note = StartNote(10**6, (A,) * GROUP, 10, (B,) * 1_000)
    assert len(note.text) <= MOST
    assert StartNote.read(note.text).running == note.running


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "[1,2]", "[1,7,0,[]]", '[1,"a",0,[]]', '["a",[],0,[]]', "mirror@17", "[1,"]
)
def test_another_programs_note_is_none(text: str) -> None:
    assert StartNote.read(text) == StartNote()
    assert not StartNote.read(text).suspects


def test_a_start_is_suspicious_when_the_one_before_it_has_got_no_further_either() -> None:
    first = StartNote()
    second = first.next_start()
    assert (first.suspects, second.suspects) == (False, True)


def test_an_event_is_condemned_when_it_has_ended_two_workers_alone() -> None:
    note = StartNote(starts=1).begun((A, B))
    for group in [(A,), (A,)]:
        note = note.next_start()
        assert note.condemned == ()
        note = note.begun(group)
    note = note.next_start()
    assert note.condemned == (A,)
    # It is remembered while others are looked for.
    assert note.begun((B,)).next_start().condemned == (A,)


def test_deaths_in_which_others_ran_do_not_count() -> None:
    note = StartNote().begun((A,)).next_start().begun((B,)).next_start()
    assert (note.running, note.deaths, note.condemned) == ((B,), 0, ())


def test_deaths_before_it_has_begun_again_do_not_count() -> None:
    note = StartNote().begun((A,))
    for _ in range(3):  # killed while it recovers, or while another partition has its turn
        note = StartNote.read(note.text).next_start()
    assert note.condemned == ()
    assert note.begun((A,)).next_start().condemned == (A,)


def test_an_event_is_another_with_another_station_or_source() -> None:
    others = [mark_of(SOURCE, "B"), mark_of(Source("T", 3, 18), "A"), mark_of(Source("T2", 3, 17), "A")]
    assert A not in others
    assert mark_of(Source("T", 3, 17), "A") == A
