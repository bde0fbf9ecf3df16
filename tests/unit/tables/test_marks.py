"""By which places a message is known as a repeat."""

from __future__ import annotations

import pytest

from tables.storage.exact_json import dumps
from tables.storage.marks import Mark, all_deleted, is_repeat, marked
from tables.window_segments import SegmentWriter, decode_segment

A = ("METER", "A")


def test_a_message_before_the_latest_of_its_partition_is_a_repeat_and_the_latest_may_go_on() -> None:
    marks = marked((), [Mark(0, 7, 50.0), Mark(1, 3, 40.0), Mark(0, 5, 50.0)])
    assert marks == (Mark(0, 7, 50.0), Mark(1, 3, 40.0))
    assert is_repeat(Mark(0, 6, 50.0), marks)
    assert not is_repeat(Mark(0, 7, 50.0), marks)
    assert not is_repeat(Mark(1, 5, 0.0), marks)
    assert not is_repeat(Mark(2, 0, 0.0), marks)


def test_a_topic_that_was_made_anew_is_later_whatever_its_offsets() -> None:
    marks = marked((Mark(0, 7, 50.0),), [Mark(0, 2, 60.0)])
    assert marks == (Mark(0, 2, 60.0),)
    assert marked(marks, [Mark(0, 3, 55.0)]) == (Mark(0, 3, 60.0),)


def test_a_deletion_makes_the_latest_messages_repeats_and_none_that_is_still_to_come() -> None:
    marks = all_deleted((Mark(0, 7, 50.0), Mark(1, 3, 40.0)))
    assert marks == (Mark(0, 8, 50.0, seen=False), Mark(1, 4, 40.0, seen=False))
    assert all_deleted(marks) == marks
    assert all_deleted(marked(marks, [Mark(1, 4, 40.0)])) == (Mark(0, 8, 50.0, False), Mark(1, 5, 40.0, False))
    assert marked((Mark(0, 8, 50.0),), [Mark(0, 8, 50.0, seen=False)]) == (Mark(0, 8, 50.0),)


@pytest.mark.parametrize("seen", [True, False])
def test_a_segment_keeps_whether_the_message_of_a_mark_has_come(seen: bool) -> None:
    marks = [Mark(0, 7, 50.0), Mark(1, 3, 40.5, seen)]
    segment = SegmentWriter(1)
    segment.add(A, marks, None, [10], [{"n": 1}])
    assert [part.marks for part in decode_segment(b":1.1", segment.encoded())] == [marks]


def test_a_place_of_which_earlier_versions_did_not_say_so_has_come() -> None:
    value = {"v": 1, "groups": [["METER", [[0, 7, 50.0], [1, 3, 40.5]], None, [["A", 10, {"n": 1}]]]]}
    assert [*decode_segment(b":1.1", dumps(value))[0].marks] == [Mark(0, 7, 50.0), Mark(1, 3, 40.5)]


def test_all_marks_of_a_deletion_are_of_messages_that_are_still_to_come() -> None:
    segment = SegmentWriter(1)
    segment.add_cut(A, [Mark(0, 7, 50.0, seen=False), Mark(1, 3, 40.5, seen=False)])
    (part,) = decode_segment(b":1.1", segment.encoded())
    assert (part.times, part.marks) == (None, [Mark(0, 7, 50.0, seen=False), Mark(1, 3, 40.5, seen=False)])
