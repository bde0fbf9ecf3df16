"""One trace for each batch: from the headers of its source message to those of all that comes out of it."""

from __future__ import annotations

from typing import Any

import pytest

from app.testing import Message, TopologyTestDriver
from tests.functional.plant import BATCH, ModuleInput, answering, message, record, slow
from tests.functional.test_crashes import HOW, SENDS, Crashes, model, only, outputs_by_batch, play, uploads

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-00"
STATE = "plant=7"


class Tree:
    """The spans of a driver, by the names that lead to each from the root: `split/batch/publish`."""

    def __init__(self, driver: TopologyTestDriver) -> None:
        self.spans = {f"{span.context.span_id:016x}": span for span in driver.spans}

    def path(self, span_id: str) -> str:
        span = self.spans[span_id]
        parent = f"{span.parent.span_id:016x}" if span.parent else ""
        return f"{self.path(parent)}/{span.name}" if parent in self.spans else str(span.name)

    @property
    def paths(self) -> list[str]:
        return sorted(self.path(span_id) for span_id in self.spans)

    def of(self, sent: Message) -> Any:
        """The span that a message names as its parent."""
        return self.spans[sent.headers["traceparent"].split("-")[2]]

    def path_of(self, sent: Message) -> str:
        return self.path(sent.headers["traceparent"].split("-")[2])


def test_a_batch_is_one_trace_from_its_source_message_to_its_output() -> None:
    with TopologyTestDriver(slow({"B": 1.5}), traces=True) as driver:
        driver.send(message("A", "B"), headers={"traceparent": PARENT, "tracestate": STATE})
        driver.advance(2.0)
        tree, (output,) = Tree(driver), driver.outputs
        assert tree.paths == ["split", "split/batch", "split/batch/publish", "split/station", "split/station"]
        assert {f"{span.context.trace_id:032x}" for span in driver.spans} == {TRACE_ID}
        assert [f"{span.parent.span_id:016x}" for span in driver.spans if span.name == "split"] == [PARENT_ID]
        assert list(output.headers) == ["completed-by", "revision", "part", "parts", "traceparent", "tracestate"]
        assert tree.path_of(output) == "split/batch/publish"
        assert output.headers["tracestate"] == STATE
        ran = {
            span.attributes["station.id"]: span.end_time - span.start_time
            for span in driver.spans
            if span.name == "station"
        }
        assert {station: round(took / 1e9, 2) for station, took in ran.items()} == {"A": 0.0, "B": 1.5}
        meta = output.value["meta"]
        batch = next(span for span in driver.spans if span.name == "batch")
        assert (batch.start_time / 1e9, batch.end_time / 1e9) == (meta["opened_at"], meta["closed_at"])


def test_a_batch_without_a_parent_begins_a_trace() -> None:
    with TopologyTestDriver(slow({}), traces=True) as driver:
        driver.send(message("A"))
        assert Tree(driver).path_of(driver.outputs[0]) == "split/batch/publish"
        assert "tracestate" not in driver.outputs[0].headers


def test_a_trace_that_is_not_sampled_is_handed_on_and_has_no_spans() -> None:
    with TopologyTestDriver(slow({}), traces=True) as driver:
        driver.send(message("A"), headers={"traceparent": UNSAMPLED})
        version, trace_id, span_id, flags = driver.outputs[0].headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE_ID, "00")
        assert span_id != PARENT_ID
        assert driver.spans == []


def test_without_the_setting_no_message_carries_a_trace() -> None:
    with TopologyTestDriver(answering({"A": 1, "F": ValueError("no")}), batch_timeout=5) as driver:
        driver.send([record("A"), record("F")], headers={"traceparent": PARENT, "tracestate": STATE})
        driver.send(b"nonsense", headers={"traceparent": PARENT})
        assert list(driver.outputs[0].headers) == ["completed-by", "revision", "part", "parts"]
        names = driver.settings
        topics = (names.station_events_topic, names.batch_events_topic, names.dead_letter_topic, names.output_topic)
        every = [one for topic in topics for one in driver.messages(topic)]
        assert len(every) == 6
        assert not [one for one in every if TRACE_ID in f"{one.raw!r}{one.headers}"]
        assert driver.spans == []


def test_dead_letters_and_late_records_name_the_span_that_they_are_about() -> None:
    async def some(station_id: str, module_input: ModuleInput) -> Any:
        if station_id == "F":
            text = "no model"
            raise ValueError(text)
        return await slow({"L": 7.0})(station_id, module_input)

    with TopologyTestDriver(some, batch_timeout=5, traces=True) as driver:
        driver.send(b"nonsense", headers={"traceparent": PARENT})
        driver.send([record("L"), record("F"), {"sendTime": "2025-11-14 10:00:00"}])
        driver.advance(8.0)
        tree = Tree(driver)
        bad_message, bad_record, failed = driver.dead_letters
        assert [tree.path_of(one) for one in driver.dead_letters] == ["split", "split", "split/station"]
        assert tree.of(bad_message).status.status_code.name == "ERROR"
        assert tree.of(bad_record).status.status_code.name == "UNSET"
        assert dict(tree.of(failed).attributes) == {"station.id": "F", "station.outcome": "failed"}
        assert tree.of(failed).status.description == "ValueError: no model"
        (late,) = driver.late
        assert tree.of(late).attributes["station.id"] == "L"
        assert list(late.headers) == ["batch-id", "station-id", "reason", "traceparent"]


def test_a_skipped_station_has_a_span_that_takes_no_time() -> None:
    with TopologyTestDriver(slow({"A": 6.0}), batch_timeout=5, concurrency=1, overtime_max=1, traces=True) as driver:
        driver.send([record("A")], headers={"batch-timeout": "20", "batch-id": "long"})
        driver.send([record("B")], headers={"batch-timeout": "2", "batch-id": "short"})
        driver.advance(8.0)
        (late,) = driver.late
        span = Tree(driver).of(late)
        assert dict(span.attributes) == {"station.id": "B", "station.outcome": "skipped"}
        assert span.start_time == span.end_time


def test_a_batch_that_is_not_published_hands_its_trace_to_its_letters() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5, partial_min_ratio=0.9, traces=True) as driver:
        driver.send(message("A", "B"))
        driver.advance(6.0)
        (letter,) = driver.dead_letters
        assert letter.headers["reason"] == "discarded"
        span = Tree(driver).of(letter)
        assert (span.name, span.attributes["batch.status"], span.attributes["batch.missing"]) == (
            "publish",
            "discarded",
            1,
        )


def test_a_result_handler_has_a_span_that_its_own_messages_name() -> None:
    with TopologyTestDriver(answering({"A": {"x": 1}}), uploads, traces=True) as driver:
        driver.send(message("A"))
        driver.advance(1.0)
        tree = Tree(driver)
        assert tree.path_of(driver.messages("uploads")[0]) == "split/batch/handler"
        assert tree.path_of(driver.outputs[0]) == "split/batch/publish"
        assert tree.of(driver.messages("uploads")[0]).status.status_code.name == "UNSET"


def test_a_station_that_passes_through_hands_its_trace_to_its_output() -> None:
    with TopologyTestDriver(
        answering({"A": 1, "F": ValueError("no")}), passthrough_topics=("P",), traces=True
    ) as driver:
        driver.send([record("A"), record("F")], "P", headers={"traceparent": PARENT})
        tree = Tree(driver)
        assert tree.paths == ["split", "split/station", "split/station"]
        assert tree.of(driver.outputs[0]).attributes["station.id"] == "A"
        assert tree.of(driver.dead_letters[0]).attributes["station.id"] == "F"


def test_a_supplement_has_a_trace_of_its_own_to_which_the_batch_is_linked() -> None:
    with TopologyTestDriver(slow({"A": 1.0}), traces=True) as driver:
        driver.send(message("A"), headers={"traceparent": PARENT})
        driver.send(message("B"), headers={"batch-id": BATCH})
        driver.advance(2.0)
        (batch,) = [span for span in driver.spans if span.name == "batch"]
        second = [span for span in driver.spans if span.name == "split"][1]
        assert f"{batch.context.trace_id:032x}" == TRACE_ID != f"{second.context.trace_id:032x}"
        assert [link.context.span_id for link in batch.links] == [second.context.span_id]
        assert driver.outputs[0].headers["traceparent"].split("-")[1] == TRACE_ID


def test_a_revision_goes_on_with_the_trace_of_its_batch() -> None:
    with TopologyTestDriver(slow({"B": 6.0}), batch_timeout=5, late_policy="revise", traces=True) as driver:
        driver.send(message("A", "B"), headers={"traceparent": PARENT})
        driver.advance(9.0)
        tree = Tree(driver)
        first, second = driver.outputs
        assert [tree.of(one).attributes["batch.revision"] for one in (first, second)] == [1, 2]
        assert tree.paths.count("split/batch") == 1
        assert tree.paths.count("split/batch/publish") == 2


@HOW
@pytest.mark.parametrize("number", range(SENDS))
def test_a_crash_before_any_send_changes_no_trace(number: int, lose_commits: bool, unordered: bool) -> None:
    parent = {"traceparent": PARENT, "tracestate": STATE}
    with TopologyTestDriver(model, partitions=2, batch_timeout=5, traces=True) as driver:
        play(driver, Crashes(), headers=parent)
        calm = {key: output.headers for key, output in outputs_by_batch(driver).items()}
        letters = {one.headers["traceparent"] for one in driver.dead_letters}
        late = {one.headers["traceparent"] for one in driver.late}
    crashes = Crashes(number)
    with TopologyTestDriver(model, partitions=2, batch_timeout=5, traces=True) as driver:
        play(driver, crashes, lose_commits=lose_commits, unordered=unordered, headers=parent)
        assert crashes.crashed == 1
        assert {key: output.headers for key, output in outputs_by_batch(driver).items()} == calm
        assert {one.headers["traceparent"] for one in driver.dead_letters} == letters
        assert {one.headers["traceparent"] for one in driver.late} <= late
        for reason in ("bad-record", "station-failed"):
            assert only([one for one in driver.dead_letters if one.headers["reason"] == reason])


def test_a_batch_keeps_its_trace_when_its_worker_dies_and_another_closes_it() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5, traces=True) as driver:
        driver.send(message("A", "B"), headers={"traceparent": PARENT, "tracestate": STATE})
        driver.advance(1.0)
        driver.restart()
        driver.advance(6.0)
        tree, (output,) = Tree(driver), driver.outputs
        assert output.value["meta"]["missing"] == ["B"]
        assert (output.headers["traceparent"].split("-")[1], output.headers["tracestate"]) == (TRACE_ID, STATE)
        assert tree.path_of(output) == "split/batch/publish"
