"""Functions and settings that a program gives to `create_app`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.callbacks.given import load_given, name_of
from app.callbacks.loading import FunctionError, find_functions
from app.settings import SettingsError
from app.settings.fingerprint import fingerprint

HERE = __name__


def predict(station_id: str, module_input: object) -> int:
    return 1


def anonymous() -> Callable[..., Any]:
    return lambda station_id, module_input: (station_id, module_input)


def other(station_id: str, module_input: object) -> int:
    return 2


def short(station_id: str) -> None: ...


class Model:
    def __call__(self, station_id: str, module_input: object) -> object:
        return station_id, module_input

    def predict(self, station_id: str, module_input: object) -> object:
        return station_id, module_input


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def problems_of(**arguments: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_given(arguments)
    return caught.value.problems


def test_a_function_is_given_as_an_object_and_has_its_name_in_the_settings() -> None:
    settings, given = load_given({"callback": predict, "result_handler": None, "batch_timeout": 10})
    assert (settings.callback, settings.batch_timeout, given) == (f"{HERE}:predict", 10.0, {"callback": predict})
    functions = find_functions(settings, given)
    assert (functions.callback, functions.result_handler, functions.many) == (predict, None, False)
    assert functions.importable_path == f"{HERE}:predict"


def test_a_function_is_given_by_its_name() -> None:
    settings, given = load_given({"batch_callback": f"{HERE}:short", "source_topics": ["A", "B"]})
    assert (settings.batch_callback, settings.source_topics, given) == (f"{HERE}:short", ("A", "B"), {})
    assert find_functions(settings, given).callback is short


def test_workers_with_the_same_function_have_the_same_fingerprint_whether_it_is_an_object_or_a_name() -> None:
    by_object, by_name = load_given({"callback": predict})[0], load_given({"callback": f"{HERE}:predict"})[0]
    assert fingerprint(by_object) == fingerprint(by_name)
    assert fingerprint(by_object) != fingerprint(load_given({"callback": other})[0])


@pytest.mark.parametrize("place", ["environment", "file"])
def test_the_environment_is_over_the_arguments(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if place == "environment":
        monkeypatch.setenv("AGG_CALLBACK", f"{HERE}:other")
        monkeypatch.setenv("AGG_BATCH_TIMEOUT", "7")
    else:
        (tmp_path / ".env").write_text(f"AGG_CALLBACK={HERE}:other\nAGG_BATCH_TIMEOUT=7\n")
    settings, given = load_given({"callback": predict, "batch_timeout": 10, "retries": 1})
    assert (settings.batch_timeout, settings.retries, given) == (7.0, 1, {})
    assert find_functions(settings, given).callback is other


def test_a_callback_of_the_environment_takes_the_place_of_a_batch_callback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGG_CALLBACK", f"{HERE}:other")
    settings, given = load_given({"batch_callback": short})
    assert (settings.callback, settings.batch_callback, given) == (f"{HERE}:other", None, {})


def test_all_problems_are_told_at_once_and_name_the_keyword(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGG_RETRIES", "many")
    functions = {"callback": short, "result_handler": 5}
    secret = {"web_token": "a b"}
    found = problems_of(batch_timout=3, batch_timeout=-1, fill="none", AGG_MODULE="x", **functions, **secret)
    assert "a b" not in str(found)
    assert any(problem.startswith("batch_timout: unknown keyword; did you mean batch_timeout") for problem in found)
    assert any(problem.startswith("AGG_MODULE: unknown keyword; did you mean module") for problem in found)
    assert "fill='none': must be 'zero', 'missing', 'forward' or 'linear'" in found
    assert "batch_timeout=-1: must be greater than 0" in found
    assert any(problem.startswith("AGG_RETRIES='many': must be a valid integer") for problem in found)
    assert any(problem.startswith("web_token=(hidden): must be printable ASCII") for problem in found)
    assert "result_handler=5: must be a function, or its name as package.module:function" in found
    called = f"callback={HERE}:short: it is called as callback(station_id, module_input), but is short(station_id)"
    assert any(problem.startswith(called) for problem in found)


def test_two_callbacks_contradict_each_other() -> None:
    (problem,) = problems_of(callback=predict, batch_callback=short)
    assert problem.endswith("must not be given with AGG_CALLBACK: it takes its place")


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(*args: Any) -> Any:
        return function(*args)

    return around


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (predict, f"{HERE}:predict"),
        (Model(), f"{HERE}:Model"),
        (Model().predict, f"{HERE}:Model.predict"),
        (functools.partial(predict), f"{HERE}:predict"),
        (anonymous(), f"{HERE}:anonymous._locals_._lambda_"),
        (decorated(predict), f"{HERE}:predict"),
    ],
)
def test_every_function_has_a_name_and_only_what_that_leads_to_can_be_imported(
    function: Callable[..., Any], name: str
) -> None:
    settings, given = load_given({"callback": function})
    assert settings.callback == name_of(function) == name
    path = find_functions(settings, given).importable_path
    assert path == (name if function is predict else None)


def test_the_main_module_counts_as_the_name_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(station_id: str, module_input: object) -> None: ...

    main: Any = __import__("__main__")
    monkeypatch.setattr(model, "__module__", "__main__")
    monkeypatch.setattr(model, "__qualname__", "model")
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", "/srv/plant/my-module.py", raising=False)
    assert name_of(model) == "my_module:model"
    settings, given = load_given({"callback": model})
    assert find_functions(settings, given).importable_path is None


async def waiting() -> None: ...


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"callback": "nowhere:predict"}, "callback='nowhere:predict': there is no module nowhere"),
        ({"callback": predict, "result_handler": f"{HERE}:gone"}, f"result_handler='{HERE}:gone': {HERE} has no attr"),
        ({"callback": anonymous(), "executor": "process"}, "callback=.*<lambda>: can't be imported by another process"),
    ],
)
def test_what_a_keyword_does_not_lead_to_is_told_by_its_name(arguments: dict[str, Any], said: str) -> None:
    settings, functions = load_given(arguments, env_file=None)
    with pytest.raises(FunctionError, match=said):
        find_functions(settings, functions, arguments)


def test_a_call_in_the_place_of_a_function_is_told() -> None:
    with pytest.raises(SettingsError, match=r"^callback=\.\.\.: this is a call of waiting; give the function itself"):
        load_given({"callback": waiting()}, env_file=None)


def test_each_problem_is_told_once() -> None:
    with pytest.raises(SettingsError) as raised:
        load_given({"source_topics": [1, None]}, env_file=None)
    assert str(raised.value) == "source_topics=[1, None]: must be a valid string"
