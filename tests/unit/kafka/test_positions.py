"""Where reading starts, given what is committed and what the log holds."""

from __future__ import annotations

import pytest

from app.kafka.positions import (
    Base,
    Cause,
    base_of,
    changelog_end_in,
    changelog_text,
    first_partitions_in,
    first_partitions_text,
    lost_before,
)


@pytest.mark.parametrize(
    ("committed", "first", "end", "base"),
    [
        (5, 0, 9, Base(5, Cause.COMMITTED)),
        (9, 0, 9, Base(9, Cause.COMMITTED)),  # all is read
        (5, 5, 9, Base(5, Cause.COMMITTED)),
        (5, 7, 9, Base(7, Cause.GONE)),
        (5, 9, 9, Base(9, Cause.GONE)),
        (100, 0, 3, Base(0, Cause.SHORTER)),
        (100, 2, 3, Base(2, Cause.SHORTER)),
        (1, 0, 0, Base(0, Cause.SHORTER)),
        (None, 2, 9, Base(2, Cause.FRESH)),
        (-1, 2, 9, Base(2, Cause.FRESH)),
        (0, 0, 0, Base(0, Cause.COMMITTED)),
    ],
)
def test_a_partition_is_read_from_what_is_committed_as_far_as_its_log_has_it(
    committed: int | None, first: int, end: int, base: Base
) -> None:
    assert base_of(committed, first, end, made_again=False, from_end=False) == base


def test_only_a_fresh_partition_is_read_from_its_end() -> None:
    ends = [base_of(committed, 2, 9, made_again=False, from_end=True).offset for committed in (None, 5, 1, 100)]
    assert ends == [9, 5, 2, 2]


@pytest.mark.parametrize("committed", [None, 0, 5, 100])
def test_a_topic_that_was_made_again_is_read_from_its_beginning_whatever_is_committed(committed: int | None) -> None:
    assert base_of(committed, 0, 9, made_again=True, from_end=True) == Base(0, Cause.MADE_AGAIN)


@pytest.mark.parametrize(
    ("log_start", "lost"),
    [(0, 3), (3, 3), (5, 5), (8, 8), (20, 8), (-1, 3)],
)
def test_of_a_hole_only_what_lies_before_the_log_was_a_message(log_start: int, lost: int) -> None:
    assert lost_before(3, 8, log_start) == lost


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        ([], 6),  # the group begins now: all partitions that there are
        ([first_partitions_text(4)], 4),
        ([first_partitions_text(0), first_partitions_text(4)], 0),
        ([""], 0),  # it has read the topic from its beginning
        ([first_partitions_text(4), ""], 0),
        (["somebody's"], 0),
    ],
)
def test_commits_say_which_partitions_were_there_when_the_group_began(texts: list[str], count: int) -> None:
    assert first_partitions_in(texts, 6) == count


def test_a_commit_says_how_far_its_changelog_was_written() -> None:
    assert [changelog_end_in(text) for text in (changelog_text(0), changelog_text(57), "", "else")] == [0, 57, 1, 1]
