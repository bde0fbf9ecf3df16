"""What a function of the user gets is its own: whatever it edits changes no letter, no retry, no other call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import DIRECT, TOPIC, ModuleInput, record, unacknowledged

CONTEXT = "WEATHER"
NESTED = {
    "meters": {"kwh": "3.5", "phases": [[1, 2], {"l": [3]}]},
    "tags": ["a", {"b": "c"}],
    "gunPower": {"gunNo": ["01", "02"], "outputPowerPerGunAvg": [1.0, 2.0], "plan": [{"from": [1]}, [2, [3]]]},
}
RECORD = record("A", **NESTED)
Edit = Callable[[Any], None]


def spoil(value: Any, put: Any) -> None:
    """Put something into every list and object that can be reached."""
    inner = list(value.values()) if isinstance(value, dict) else list(value)
    for item in inner:
        if isinstance(item, dict | list):
            spoil(item, put)
    if isinstance(value, dict):
        value["edited"] = put
    else:
        value.append(put)


EDITS: list[Edit] = [
    lambda value: spoil(value, {1}),  # JSON can't hold it
    lambda value: spoil(value, "edited"),
    lambda value: spoil(value, value),  # it contains itself
    lambda value: value.clear(),
]


class Model:
    """A model that remembers what it got, edits it, and fails the first times for each station."""

    def __init__(self, edit: Edit, *, fails: int = 10**6) -> None:
        self.got: list[tuple[str, ModuleInput]] = []
        self._edit = edit
        self._left = fails

    async def one(self, station_id: str, module_input: ModuleInput) -> Any:
        self.got.append((station_id, copy.deepcopy(module_input)))
        self._edit(module_input)
        return self._end({"ok": True})

    def one_in_a_thread(self, station_id: str, module_input: ModuleInput) -> Any:
        self.got.append((station_id, copy.deepcopy(module_input)))
        self._edit(module_input)
        return self._end({"ok": True})

    async def many(self, inputs: dict[str, ModuleInput]) -> Any:
        stations = list(inputs)
        self.got += copy.deepcopy(list(inputs.items()))
        self._edit(inputs)
        return self._end({station: {"ok": True} for station in stations})

    def _end(self, result: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            message = "soc"
            raise KeyError(message)
        return result


def functions(model: Model, kind: str) -> dict[str, Any]:
    return {"batch_callback": model.many} if kind == "many" else {"callback": getattr(model, kind)}


@pytest.mark.parametrize("edit", EDITS, ids=["no-json", "json", "circle", "clear"])
@pytest.mark.parametrize("kind", ["one", "one_in_a_thread", "many"])
@pytest.mark.parametrize("topic", [TOPIC, DIRECT])
def test_the_letter_of_a_failed_station_has_what_came_and_each_try_gets_the_same(
    topic: str, kind: str, edit: Edit
) -> None:
    model = Model(edit)
    options: dict[str, Any] = {"passthrough_topics": [DIRECT], "context_topics": [CONTEXT], "retries": 2}
    with TopologyTestDriver(**functions(model, kind), **options) as driver:
        driver.send(record("A", weather={"sky": ["clear"]}), CONTEXT)
        driver.send([RECORD, record("A", "2025-11-14 09:00:00", meters={"kwh": []})], topic)
        driver.advance(1.0)
        (letter,) = driver.dead_letters
        assert letter.value == {topic: [RECORD, record("A", "2025-11-14 09:00:00", meters={"kwh": []})]}
        assert "\nKeyError: 'soc'" in letter.headers["error"]
        assert len(model.got) == 3
        assert model.got[0] == model.got[1] == model.got[2]
        assert unacknowledged(driver) == {}


@pytest.mark.parametrize("edit", EDITS, ids=["no-json", "json", "circle", "clear"])
@pytest.mark.parametrize("kind", ["one", "many"])
def test_context_of_everyone_is_each_calls_own(kind: str, edit: Edit) -> None:
    model = Model(edit, fails=0)
    with TopologyTestDriver(**functions(model, kind), context_topics=[CONTEXT], partitions=1) as driver:
        driver.send({"sendTime": "2025-11-14 09:00:00", "weather": {"sky": ["clear"]}}, CONTEXT)
        driver.send([record("A"), record("B")])
        driver.send([record("A", "2025-11-14 11:00:00"), record("B", "2025-11-14 11:00:00")])
        expected = {"sendTime": ["2025-11-14 09:00:00"], "weather": [{"sky": ["clear"]}]}
        assert [module_input[CONTEXT] for _, module_input in model.got] == [expected] * 4


@pytest.mark.parametrize("edit", EDITS, ids=["no-json", "json", "circle", "clear"])
def test_a_station_result_handler_gets_the_input_as_it_came_at_each_try(edit: Edit) -> None:
    got: list[tuple[str, ModuleInput, Any]] = []

    def handler(station_id: str, module_input: ModuleInput, result: Any) -> None:
        got.append(copy.deepcopy((station_id, module_input, result)))
        edit(module_input)
        edit(result)
        message = "no upload"
        raise OSError(message)

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        edit(module_input)
        return {"ok": [1]}

    options: dict[str, Any] = {"passthrough_topics": [DIRECT], "context_topics": [CONTEXT], "handler_retries": 2}
    with TopologyTestDriver(model, station_result_handler=handler, **options) as driver:
        driver.send(record("A", weather={"sky": ["clear"]}), CONTEXT)
        driver.send(RECORD, DIRECT)
        driver.advance(5.0)
        (letter,) = driver.dead_letters
        assert letter.value == {"station_id": "A", "module": "load_prediction", "result": {"ok": [1]}}
        assert len(got) == 3
        assert got[0] == got[1] == got[2]
        assert got[0][1][DIRECT]["meters"] == [NESTED["meters"]]
        assert got[0][1][CONTEXT]["weather"] == [{"sky": ["clear"]}]
        assert unacknowledged(driver) == {}


@pytest.mark.parametrize("edit", EDITS, ids=["no-json", "json", "circle", "clear"])
def test_a_result_handler_gets_the_results_as_they_came_at_each_try(edit: Edit) -> None:
    got: list[tuple[Any, Any]] = []

    def handler(batch_id: str, batch_results_list: list[Any], context: Any) -> None:
        got.append(copy.deepcopy((batch_results_list, context.meta)))
        edit(batch_results_list)
        edit(context.meta)
        message = "no upload"
        raise OSError(message)

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        return {"ok": [1]}

    with TopologyTestDriver(model, handler, handler_retries=2) as driver:
        driver.send([record("A")])
        driver.advance(5.0)
        (letter,) = driver.dead_letters
        assert letter.value["stations"] == [{"station_id": "A", "ok": [1]}]
        assert letter.value["meta"]["arrived_count"] == 1
        assert len(got) == 3
        assert got[0] == got[1] == got[2]


def test_a_replay_of_the_letter_sends_what_the_plant_has_sent() -> None:
    def edit(value: Any) -> None:
        value[TOPIC]["meters"][0]["kwh"] = "0"

    model = Model(edit, fails=1)
    with TopologyTestDriver(model.one, batch_timeout=5) as driver:
        driver.send([record("A", meters={"kwh": "3.5"})])
        (letter,) = driver.dead_letters
        driver.send(letter.raw, headers={"batch-id": letter.headers["batch-id"]})
        assert model.got[0] == model.got[1]
