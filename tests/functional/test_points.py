"""The checker of `make chaos POINTS=30` on what the application does in memory: with revisions, parts, a handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.messages.message import OutMessage
from app.messages.output import OutputId
from app.pipeline.aggregation import publisher
from app.testing import TopologyTestDriver
from tests.chaos.killer.check import Seen, Sent, Verdict
from tests.chaos.killer.expected import message_of
from tests.chaos.killer.model import callback
from tests.chaos.killer.site import skipped_in
from tests.chaos.points.check import judge, shared
from tests.chaos.points.model import handler
from tests.chaos.points.points import KINDS, POINTS, SIDE_TOPIC, points_of
from tests.chaos.points.report import Kills, Measured, rows_of, with_table
from tests.chaos.points.trap import Trap, set_trap
from tests.functional.test_killer import received
from tests.integration.support.reading import Received

SOURCE, SIDE = "in", "side"
BATCHES = range(12)
SENT = Sent(SOURCE, set(BATCHES), set(BATCHES))
SETTINGS: dict[str, dict[str, Any]] = {
    "closing": {},
    "handler": {"result_handler": handler},
    "parts": {"max_message_bytes": 2048},
    "revisions": {"batch_timeout": 1, "late_policy": "revise", "revise_delay": 0.2},
}


def all_of(driver: TopologyTestDriver) -> tuple[Seen, list[Received]]:
    """Return what stands in the topics, and what handlers have sent."""
    outputs, late, letters, log, side = (
        [received(message) for message in messages]
        for messages in (
            driver.outputs,
            driver.late,
            driver.dead_letters,
            driver.messages(driver.settings.batch_events_topic),
            driver.messages(SIDE),
        )
    )
    return Seen(outputs, late, letters, skipped_in(log)), side


def work(kind: str, crash: Callable[[OutMessage], bool] | None = None) -> tuple[Seen, list[Received] | None]:
    """Send the batches, crashing now and then; returns what is there in the end."""
    with TopologyTestDriver(callback, source_topics=[SOURCE], partitions=4, **SETTINGS[kind]) as driver:
        driver.crash_before(crash)
        for number in BATCHES:
            driver.send(message_of(SOURCE, number))
            driver.advance(0.3)
            if driver.crashed:
                driver.restart()
        driver.crash_before(None)
        driver.advance(10)
        seen, side = all_of(driver)
    return seen, side if kind == "handler" else None


@pytest.fixture(autouse=True)
def side_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the handler sends to."""
    monkeypatch.setenv(SIDE_TOPIC, SIDE)


def findings(verdict: Verdict) -> tuple[int, int, int, int]:
    """Return how many are lost, copies, different and wrong."""
    return len(verdict.lost), verdict.copies, len(verdict.different), len(verdict.wrong)


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_the_application_does_is_found_to_be_right(kind: str) -> None:
    seen, side = work(kind)
    verdict = judge(SENT, seen, side)
    assert findings(verdict) == (0, 0, 0, 0), [*verdict.lost, *verdict.different, *verdict.wrong][:5]
    assert verdict.out == len(BATCHES)
    more = {"parts": "parts", "revisions": "revision"}.get(kind)
    assert more is None or any(one.header(more) > "1" for one in seen.outputs)


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_outbox_that_does_not_look_for_its_output_is_seen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash_once_out() -> Callable[[OutMessage], bool]:
        times = iter(range(1000))
        return lambda message: b'"state":"closed"' in (message.value or b"") and next(times) % 4 == 0

    assert findings(judge(SENT, *work(kind, crash_once_out()))) == (0, 0, 0, 0)

    recover = publisher.Publisher._publish_all

    async def without_looking(self: publisher.Publisher, releases: Any, found: set[OutputId] | None = None) -> None:
        await recover(self, releases, found and set())

    monkeypatch.setattr(publisher.Publisher, "_publish_all", without_looking)
    lost, copies, different, wrong = findings(judge(SENT, *work(kind, crash_once_out())))
    assert copies > 0
    assert (lost, different, wrong) == (0, 0, 0)


def without(records: Sequence[Received], which: Callable[[Received], bool]) -> list[Received]:
    """Return the records but the first of that kind."""
    gone = next(one for one in records if which(one))
    return [one for one in records if one is not gone]


def test_a_part_a_revision_a_message_of_the_handlers_that_is_not_there_and_another_copy_are_seen() -> None:
    seen, _ = work("parts")
    verdict = judge(SENT, replace(seen, outputs=without(seen.outputs, lambda one: one.header("part") == "2")), None)
    assert verdict.wrong

    seen, _ = work("revisions")
    verdict = judge(SENT, replace(seen, outputs=without(seen.outputs, lambda one: one.header("revision") == "2")), None)
    assert verdict.wrong

    seen, side = work("handler")
    assert side is not None
    assert judge(SENT, seen, side[1:]).lost
    assert judge(SENT, seen, [*side, replace(side[0], value=b"{}")]).wrong

    first, letter = seen.outputs[0], seen.letters[0]
    assert judge(SENT, replace(seen, outputs=[*seen.outputs, replace(first, offset=99)]), side).copies == 1
    assert judge(SENT, replace(seen, outputs=[*seen.outputs, replace(first, value=b"{}")]), side).different
    assert judge(SENT, replace(seen, letters=[*seen.letters, replace(letter, offset=99)]), side).good
    assert judge(SENT, replace(seen, letters=[*seen.letters, replace(letter, value=b"{}")]), side).different


def test_what_is_found_belongs_to_the_share_of_its_batch() -> None:
    seen, side = work("handler")
    shares: dict[str, set[int]] = {"one": {0, 1}, "other": {2, 3, 4}}
    found = shared(SENT, replace(seen, outputs=[*seen.outputs[1:], replace(seen.outputs[3], offset=99)]), side, shares)
    assert {name: verdict.sent for name, verdict in found.items()} == {"one": 2, "other": 3, "": len(BATCHES) - 5}
    assert sum(len(verdict.lost) for verdict in found.values()) == 1
    assert sum(verdict.copies for verdict in found.values()) == 1
    assert not any(verdict.wrong for verdict in found.values())

    strange = replace(seen.outputs[0], key=b"never-sent")
    assert shared(SENT, replace(seen, outputs=[*seen.outputs, strange]), side, shares)[""].wrong


def test_a_trap_springs_at_the_nth_passing_of_its_point_once_it_is_set(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "trap")
    assert not trap.springs("closing-stored")
    set_trap(tmp_path / "trap", "closing-stored", 2)
    assert [trap.springs(point) for point in ("closing-stored", "closed-stored", "closing-stored")] == [
        False,
        False,
        True,
    ]


def test_each_point_is_of_a_kind_and_a_table_has_a_row_for_each() -> None:
    every = [point.name for point in POINTS]
    assert sorted(point.name for kind in KINDS for point in points_of(kind, every)) == sorted(every)
    measured = Measured({name: Kills([3, 5], [1.0, 2.0], {1}, Verdict(sent=1, out=1)) for name in every})
    assert len(rows_of(measured)) == len(every) + 2
    assert measured.good
    for chinese in (False, True):
        page = with_table("<!-- points:begin -->\n<!-- points:end -->\n", measured, chinese=chinese)
        assert all((point.chinese if chinese else point.english) in page for point in POINTS)
    measured.kills["output-confirmed"].verdict.copies = 1
    assert not measured.good
