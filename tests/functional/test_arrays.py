"""AGG_INPUT=numpy: callbacks get arrays wherever they run, and all else is as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import create_app
from app.settings import SettingsError, checks
from app.settings.enums import Language
from app.settings.loading import load_settings
from app.testing import TopologyTestDriver
from app.words import told
from tests.functional.documents import ROOT
from tests.functional.plant import DIRECT, TOPIC, ModuleInput, record
from tests.process_models import add_up, add_up_many

METER = "METER"
RECORD = record(
    "A", "2025-11-14 10:00:00", gunPower={"gunNo": ["1", "2"], "outputPowerPerGunAvg": [1, 2.5]}, kw=5, note="x"
)
OPTIONS: dict[str, Any] = {
    "input": "numpy",
    "context_topics": f"{METER}:40,WEATHER",
    "passthrough_topics": [DIRECT],
    "retries": 1,
}


def meters(count: int = 50) -> list[dict[str, Any]]:
    return [{"stationId": "A", "sendTime": 1_763_000_000 + 300 * n, "kwh": n} for n in range(count)]


class Model:
    """Remembers what it got, then spoils it; its first call fails."""

    def __init__(self) -> None:
        self.got: list[dict[str, dict[str, Any]]] = []

    def one(self, _: str, module_input: ModuleInput) -> Any:
        self.got.append(
            {
                topic: {name: (array.dtype, array.tolist()) for name, array in columns.items()}
                for topic, columns in module_input.items()
            }
        )
        realtime, meter = next(iter(module_input.values())), module_input[METER]
        busiest = realtime["gunNo"][realtime["outputPowerPerGunAvg"][-1].argmax()]
        result = {"kw": realtime["kw"].copy(), "kwh": meter["kwh"].sum(), "busiest": busiest}
        for columns in module_input.values():
            for array in columns.values():
                array[...] = array.ravel()[0]
            columns["kw"] = columns["kwh"] = None
        if len(self.got) == 1:
            message = "first"
            raise KeyError(message)
        return result

    async def on_the_loop(self, station_id: str, module_input: ModuleInput) -> Any:
        return self.one(station_id, module_input)

    async def many(self, inputs: dict[str, ModuleInput]) -> Any:
        return {station: self.one(station, module_input) for station, module_input in inputs.items()}


@pytest.mark.parametrize("topic", [TOPIC, DIRECT])
@pytest.mark.parametrize("kind", ["one", "on_the_loop", "many"])
def test_each_call_gets_arrays_of_its_own(kind: str, topic: str) -> None:
    models = Model()
    function = {"batch_callback": models.many} if kind == "many" else {"callback": getattr(models, kind)}
    with TopologyTestDriver(**function, **OPTIONS) as driver:
        driver.context(METER, meters())
        driver.context("WEATHER", {"stationId": "A", "temp": 21, "sky": "clear"})
        for batch in ("one", "two"):
            driver.send([RECORD], topic, headers={"batch-id": batch})
            driver.advance(1)
        results = [one.value["result"] if topic == DIRECT else one.value["stations"][0] for one in driver.outputs]
        assert [(one["kw"], one["kwh"], one["busiest"]) for one in results] == [([5.0], sum(range(10, 50)), "2")] * 2
    first, *others = models.got
    assert (len(models.got), others) == (3, [first] * 2)
    assert first[topic]["outputPowerPerGunAvg"] == (np.float64, [[1.0, 2.5]])
    assert first[topic]["note"] == (np.dtype(object), ["x"])
    assert first[METER]["kwh"] == (np.float64, [float(n) for n in range(10, 50)])
    assert first["WEATHER"]["temp"] == (np.float64, [21.0])


@pytest.mark.parametrize("many", [False, True])
def test_arrays_reach_a_process(many: bool) -> None:
    function: dict[str, Any] = {"batch_callback": add_up_many} if many else {"callback": add_up}
    with TopologyTestDriver(
        **function, **OPTIONS, executor="process", executor_workers=1, thread_patience=60.0
    ) as driver:
        driver.context(METER, meters())
        driver.send([RECORD])
        (result,) = driver.outputs[0].value["stations"]
    assert result == {"station_id": "A", METER: "float64 1180.0", TOPIC: "float64 5.0"}


def test_letters_and_the_web_have_what_came_and_handlers_get_arrays() -> None:
    handled: list[Any] = []

    def fails(_: str, module_input: ModuleInput) -> Any:
        if METER in module_input and not module_input[METER]:
            return {"kw": module_input[DIRECT]["kw"]}
        raise ValueError(module_input[METER]["kwh"].dtype)

    def handler(_: str, module_input: ModuleInput, result: Any) -> None:
        handled.append((module_input[DIRECT]["kw"].dtype, result))

    with TopologyTestDriver(fails, station_result_handler=handler, **OPTIONS) as driver:
        driver.send([RECORD], DIRECT)
        driver.context(METER, meters(2))
        driver.send([RECORD])
        driver.advance(10)
        (letter,) = driver.dead_letters
        assert (letter.headers["error"] or "").rstrip().endswith("ValueError: float64")
        assert json.loads(letter.raw or b"") == {TOPIC: [RECORD]}
        assert driver.window("A", METER)["kwh"].dtype == np.float64
        known = driver._alive().pipeline.stations.context_of("A")
        assert isinstance(columns := known[METER], dict)
        assert columns["kwh"] == [0, 1]
    assert handled == [(np.float64, {"kw": [5.0]})]


def test_an_application_of_a_program_gets_arrays() -> None:
    app = create_app(callback=Model().on_the_loop, input="numpy", source_topics=[TOPIC])
    with TopologyTestDriver.of(app) as driver:
        assert driver.settings.input == "numpy"
        assert driver._alive().pipeline.stations.aligner.records.__qualname__ == "ArrayMaker.align"


def test_without_numpy_the_setting_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_NUMPY", "no_such_package")
    with pytest.raises(SettingsError) as caught:
        load_settings({"AGG_INPUT": "numpy"}, env_file=None)
    (problem,) = caught.value.problems
    assert problem == "AGG_INPUT='numpy': must be lists unless the extra `numpy` is installed: pip install numpy"
    assert told(problem, Language.ZH) == "AGG_INPUT='numpy'：未安装附加依赖 `numpy` 时必须为 lists：pip install numpy"
    assert load_settings({}, env_file=None).input == "lists"


def test_a_command_ends_with_the_exit_code_of_settings_where_numpy_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['numpy'] = None\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "AGG_INPUT": "numpy",
        "AGG_LOG_LANGUAGE": "zh",
        "AGG_CALLBACK": "app.demo.model:callback",
    }
    command = [sys.executable, "-m", "faust", "-A", "app", "check"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 2
    assert "AGG_INPUT='numpy'：未安装附加依赖 `numpy`" in done.stderr
    assert "pip install numpy" in done.stderr


def test_without_the_setting_numpy_is_not_imported() -> None:
    code = (
        "import sys, app.application, app.worker.app\n"
        "from app.testing import TopologyTestDriver\n"
        "with TopologyTestDriver(lambda *_: 1) as driver:\n"
        "    driver.send([{'stationId': 'A', 'sendTime': 1763085600}])\n"
        "    assert len(driver.outputs) == 1\n"
        "sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
