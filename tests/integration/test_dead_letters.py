"""`faust -A app dead-letters` on a real Kafka: how letters are listed and shown."""

from __future__ import annotations

import json

import pytest

from tests.integration.support.letters import PAYLOAD, ByHand

pytestmark = pytest.mark.kafka


def test_an_empty_topic_has_no_letters_and_a_missing_one_is_said(by_hand: ByHand) -> None:
    done = by_hand.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "no dead letters\n", "")
    done = by_hand.run("--replay")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 letters replayed\n", "")

    done = by_hand.run(app_id="another-app")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("there is no topic another-app-dead-letter: ")
    assert "Traceback" not in done.stderr


def test_letters_are_listed_in_the_order_of_their_times_and_filtered(filled: ByHand) -> None:
    assert filled.rows() == ["0@0", "3@2", "0@2", "3@0"]
    assert filled.rows("--reason", "bad-message", "--reason", "station-failed") == ["0@0", "3@0"]
    assert filled.rows("--batch", "b1", "--limit", "1") == ["0@2"]
    assert filled.rows("--station", "A") == ["0@0"]
    assert filled.rows("--since", "1h") == ["3@2", "0@2", "3@0"]
    assert filled.rows("--since", "2100-01-01") == []
    done = filled.run("--batch", "b2")
    row = done.stdout.splitlines()[1]
    assert "  discarded  b2     -        -       3@2     -         ValueError: no" in row


def test_letters_are_given_to_machines_whole(filled: ByHand) -> None:
    done = filled.run("--json")
    letters = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["partition"], one["offset"]) for one in letters] == [(0, 0), (3, 2), (0, 2), (3, 0)]
    assert letters[0]["source"] == {"topic": filled.cluster.source, "partition": 2, "offset": 17}
    assert letters[0]["error"] == "Traceback\n  x\nValueError: no"
    assert json.loads(letters[1]["value"]) == PAYLOAD
    assert letters[3]["value_base64"] == "/w=="
    assert {one["replayed_at"] for one in letters} == {None}


def test_one_letter_is_shown_in_full_and_one_that_is_not_there_is_said(filled: ByHand) -> None:
    done = filled.run("--show", "0@2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "reason:   bad-record\n" in done.stdout
    assert done.stdout.endswith('error:\n    Traceback\n      x\n    ValueError: no\nvalue (7 bytes):\n{"x":1}\n')
    for place in ("0@1", "0@9", "9@0"):  # the transaction's marker, behind the end, no such partition
        done = filled.run("--show", place)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"there is no letter {place} in {filled.cluster.dead_letters}" in done.stderr
