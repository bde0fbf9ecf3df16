"""Callbacks in processes, in the whole application."""

from __future__ import annotations

import pytest

from app.callbacks.loading import FunctionError
from app.testing import TopologyTestDriver
from tests.functional.plant import ModuleInput, message
from tests.process_models import behave, behave_many


def test_stations_that_die_or_hang_in_their_process_delay_no_other_and_no_end() -> None:
    with TopologyTestDriver(
        behave, executor="process", executor_workers=1, batch_timeout=5, station_timeout=20, thread_patience=5.0
    ) as driver:
        driver.send(message("A", "die", "B"), headers={"batch-id": "one"})
        meta = driver.outputs[0].value["meta"]
        assert (meta["completed_by"], [failed["station_id"] for failed in meta["failed"]]) == ("all", ["die"])
        assert "ended with exit code 3" in (driver.dead_letters[0].headers["error"] or "")

        driver.advance(0.01)  # so that the deadline is not in the moment in which the worker looks for deadlines
        driver.send(message("hang", "A"), headers={"batch-id": "two"})
        driver.advance(4)
        driver.send(message("B"), headers={"batch-id": "three"})  # behind the one that hangs, until its deadline
        driver.advance(2)
        assert {output.key: output.value["meta"]["missing"] for output in driver.outputs[1:]} == {
            "two": ["hang", "A"],
            "three": [],
        }
        driver.advance(20)
        assert [(late.value["station_id"], late.value["status"]) for late in driver.late] == [("hang", "failed")]
        error = driver.dead_letters[1].headers["error"] or ""
        assert "in _hang" in error
        assert error.endswith("TimeoutError: the callback did not finish within 20 s (AGG_STATION_TIMEOUT)")

        driver.send(message("hang", "A"), headers={"batch-id": "four"})
    # That ended, though it hangs for ever.


def test_a_callback_without_a_name_that_a_process_can_import_is_refused() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> None: ...

    with pytest.raises(FunctionError, match="can't be imported by another process, as AGG_EXECUTOR=process needs it"):
        TopologyTestDriver(callback, executor="process")


@pytest.mark.parametrize("many", [False, True])
def test_results_of_single_stations_are_as_the_callback_returned_them_beside_those_of_batches(many: bool) -> None:
    model = {"batch_callback": behave_many} if many else {"callback": behave}
    with TopologyTestDriver(
        **model, executor="process", executor_workers=1, partitions=1, passthrough_topics=("DIRECT",)
    ) as driver:
        driver.kill()
        driver.send([{"stationId": "A"}, {"stationId": "none"}], "DIRECT")
        driver.send(message("B"))
        driver.restart()
        single, batch = sorted(driver.outputs, key=lambda output: str(output.key))
        assert single.value["result"].keys() == {"pid", "of"}
        assert batch.value["stations"][0].keys() == {"station_id", "pid", "of"}
