"""From a source message to its output: payload, deadline, supplements."""

from __future__ import annotations

import json

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, START, TOPIC, answering, message, record, slow

ABC = {"A": {"result": 123}, "B": {"result": 456}, "C": {"result": 789}}


def test_three_stations_come_out_as_one_message_exactly_as_the_contract_says() -> None:
    with TopologyTestDriver(answering(ABC)) as driver:
        assert driver.send(message("A", "B", "C")) == (0, 0)
        (output,) = driver.outputs
        assert output.raw == (
            b'{"batch_id":"SCHEDULE-STATION-REALTIME-DATA_1763085600","module":"load_prediction",'
            b'"timestamp":1763085600.0,"stations":[{"station_id":"A","result":123},{"station_id":"B","result":456},'
            b'{"station_id":"C","result":789}],"station_count":3,"meta":{"status":"complete","completed_by":"all",'
            b'"revision":1,"expected_count":3,"arrived_count":3,"missing":[],"failed":[],"empty":[],'
            b'"opened_at":1763085600.0,"deadline":1763085605.0,"closed_at":1763085600.0,"part":1,"parts":1}}'
        )
        assert output.key == BATCH
        assert output.headers == {"completed-by": "all", "revision": "1", "part": "1", "parts": "1"}
        assert output.topic == "MODULE-OUTPUT-LOAD_PREDICTION"


def test_without_meta_only_the_payload_comes_out() -> None:
    with TopologyTestDriver(answering(ABC), output_meta=False) as driver:
        driver.send(message("A", "C"))
        assert driver.outputs[0].raw == (
            b'{"batch_id":"SCHEDULE-STATION-REALTIME-DATA_1763085600","module":"load_prediction",'
            b'"timestamp":1763085600.0,"stations":[{"station_id":"A","result":123},{"station_id":"C","result":789}],'
            b'"station_count":2}'
        )


def test_the_module_names_the_output_topic_and_stands_in_the_payload() -> None:
    with TopologyTestDriver(answering(ABC), module="price_forecast") as driver:
        driver.send(message("A"))
        (output,) = driver.messages("MODULE-OUTPUT-PRICE_FORECAST")
        assert output.value["module"] == "price_forecast"


def test_stations_stand_in_the_order_of_the_message_whatever_the_order_of_their_arrival() -> None:
    with TopologyTestDriver(slow({"C": 3.0, "A": 1.0, "D": 2.0})) as driver:
        driver.send(message("C", "A", "D", "B"))
        driver.advance(4.0)
        stations = driver.outputs[0].value["stations"]
        assert [station["station_id"] for station in stations] == ["C", "A", "D", "B"]


def test_a_batch_is_out_as_soon_as_its_last_station_has_arrived() -> None:
    with TopologyTestDriver(slow({"B": 2.0})) as driver:
        driver.send(message("A", "B"))
        driver.advance(1.9)
        assert driver.outputs == []
        driver.advance(0.2)
        assert driver.outputs[0].value["meta"]["closed_at"] == pytest.approx(START + 2.0, abs=0.001)


def test_at_the_deadline_what_has_arrived_comes_out_and_the_missing_are_named() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(4.9)
        assert driver.outputs == []
        assert driver.open_batches == [BATCH]
        driver.advance(0.2)
        (output,) = driver.outputs
        meta = output.value["meta"]
        assert [station["station_id"] for station in output.value["stations"]] == ["A", "C"]
        assert output.value["station_count"] == 2
        assert (meta["status"], meta["completed_by"]) == ("partial", "timeout")
        assert (meta["missing"], meta["expected_count"], meta["arrived_count"]) == (["B"], 3, 2)
        assert meta["closed_at"] == pytest.approx(START + 5.0, abs=0.1)
        assert output.headers["completed-by"] == "timeout"
        assert driver.open_batches == []
        assert driver.closed_batches == [BATCH]


def test_a_batch_times_out_on_an_idle_topic_with_nothing_at_all_arrived() -> None:
    with TopologyTestDriver(slow({"A": 60.0}), batch_timeout=2.5) as driver:
        driver.send(message("A"))
        driver.advance(2.6)
        assert driver.outputs[0].value["stations"] == []
        assert driver.outputs[0].value["meta"]["missing"] == ["A"]


def test_many_batches_each_come_out_once_under_their_own_id() -> None:
    with TopologyTestDriver(slow({})) as driver:
        for second in range(20):
            driver.send(message("A", "B", time=START + second))
        assert [output.key for output in driver.outputs] == [f"{TOPIC}_{int(START) + second}" for second in range(20)]
        assert {output.value["station_count"] for output in driver.outputs} == {2}


def test_a_batch_of_a_thousand_stations_comes_out_whole() -> None:
    names = [f"station-{number}" for number in range(1000)]
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message(*names))
        assert [station["of"] for station in driver.outputs[0].value["stations"]] == names


def test_the_batch_timeout_header_moves_the_deadline() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"), headers={"batch-timeout": "2.5"})
        driver.advance(2.6)
        assert driver.outputs[0].value["meta"]["deadline"] == START + 2.5


def test_the_batch_timeout_header_is_capped_by_the_largest_age() -> None:
    with TopologyTestDriver(slow({"B": 600.0}), batch_timeout=5, max_batch_age=20, station_timeout=600) as driver:
        driver.send(message("A", "B"), headers={"batch-timeout": "500"})
        driver.advance(20.1)
        assert driver.outputs[0].value["meta"]["deadline"] == START + 20


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "inf", ""])
def test_a_bad_batch_timeout_header_is_logged_and_the_default_used(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"), headers={"batch-timeout": text})
        driver.advance(5.1)
        assert driver.outputs[0].value["meta"]["deadline"] == START + 5
        assert driver.dead_letters == []
    assert "batch-timeout" in caplog.text


def test_the_batch_id_header_names_the_batch() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A"), headers={"batch-id": "plan:2025-11-14.1"})
        assert driver.outputs[0].key == driver.outputs[0].value["batch_id"] == "plan:2025-11-14.1"


def test_a_bad_batch_id_header_is_logged_and_the_default_used(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A"), headers={"batch-id": "no spaces"})
        assert driver.outputs[0].key == BATCH
    assert "batch-id" in caplog.text


def test_the_batch_id_header_makes_a_batch_of_a_message_without_a_time() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([{"stationId": "A"}], headers={"batch-id": "by-hand"})
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "of": "A"}]


def test_equal_ids_from_two_topics_are_one_batch() -> None:
    with TopologyTestDriver(slow({"A": 1.0}), source_topics=("one", "two")) as driver:
        driver.send([record("A")], "one", headers={"batch-id": "both"})
        driver.send([record("B")], "two", headers={"batch-id": "both"})
        driver.advance(1.1)
        (output,) = driver.outputs
        assert [station["station_id"] for station in output.value["stations"]] == ["A", "B"]


def test_another_message_with_the_same_batch_id_unites_the_expected_stations_and_moves_the_deadline() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(3.0)
        driver.send(message("C"))
        driver.advance(4.9)
        assert driver.outputs == []
        driver.advance(0.2)
        meta = driver.outputs[0].value["meta"]
        assert [station["station_id"] for station in driver.outputs[0].value["stations"]] == ["A", "C"]
        assert (meta["expected_count"], meta["missing"]) == (3, ["B"])
        assert meta["opened_at"] == START
        assert meta["deadline"] == pytest.approx(START + 8.004, abs=0.001)


def test_supplements_never_move_the_deadline_beyond_the_largest_age() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5, max_batch_age=12) as driver:
        driver.send(message("A", "B"))
        for number in range(4):
            driver.advance(3.0)
            driver.send(message(f"C{number}"))
        driver.advance(0.2)
        meta = driver.outputs[0].value["meta"]
        assert meta["deadline"] == START + 12
        assert meta["closed_at"] == pytest.approx(START + 12, abs=0.1)


def test_a_station_that_a_supplement_names_again_gives_its_newer_result() -> None:
    async def model(station_id: str, module_input: dict[str, dict[str, list[object]]]) -> dict[str, object]:
        return {"load": module_input[TOPIC]["load"][0]}

    with TopologyTestDriver(model, batch_timeout=5) as driver:
        driver.crash_before(lambda sent: b'"arrived"' in (sent.value or b""))  # the first one's outcome is on its way
        driver.send([record("A", load=1)])
        driver.send([record("A", load=2)])
        driver.restart()
        assert [output.value["stations"] for output in driver.outputs] == [[{"station_id": "A", "load": 2}]]


def test_the_same_message_read_again_changes_nothing() -> None:
    with TopologyTestDriver(slow({"B": 1.0})) as driver:
        driver.send(message("A", "B"))
        driver.restart(lose_commits=True)
        driver.advance(2.0)
        (output,) = driver.outputs
        driver.restart(lose_commits=True)
        driver.advance(60.0)
        assert driver.outputs == [output]
        assert driver.closed_batches == [BATCH]


def test_the_same_message_sent_again_after_closing_is_late_and_makes_no_second_output() -> None:
    with TopologyTestDriver(answering(ABC)) as driver:
        driver.send(message("A"))
        driver.send(message("A"))
        assert len(driver.outputs) == 1
        (late,) = driver.late
        assert (late.value["status"], late.value["reason"]) == ("result", "late-message")


def test_an_overdue_batch_closes_right_after_a_restart_though_no_message_comes() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.kill()
        driver.advance(100.0)
        assert driver.outputs == []
        driver.restart()
        driver.advance(0.1)
        (output,) = driver.outputs
        assert output.value["stations"] == [{"station_id": "A", "of": "A"}]
        assert output.value["meta"]["deadline"] == START + 5
        assert output.value["meta"]["closed_at"] == pytest.approx(START + 100, abs=0.1)


def test_what_was_sent_while_no_worker_ran_is_worked_off_with_fresh_deadlines() -> None:
    with TopologyTestDriver(slow({}), batch_timeout=5) as driver:
        driver.kill()
        driver.send(message("A", "B"))
        driver.advance(1000.0)
        driver.restart()
        assert driver.outputs[0].value["meta"]["completed_by"] == "all"
        assert driver.outputs[0].value["meta"]["opened_at"] == START + 1000


def test_the_payload_is_the_same_json_whoever_reads_it() -> None:
    with TopologyTestDriver(answering({"场站": {"名": "值"}})) as driver:
        driver.send(message("场站"))
        raw = driver.outputs[0].raw or b""
        assert json.loads(raw)["stations"] == [{"station_id": "场站", "名": "值"}]
