"""The user's functions: found by name, looked at."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.callbacks.loading import FunctionError, is_async, load_function
from app.callbacks.signatures import ContextBy, takes_context

USER_MODULE = """
import functools

class Model:
    def predict(self, station_id, module_input):
        return station_id

    async def __call__(self, station_id, module_input):
        return station_id

class Models:
    load = Model()

def callback(station_id, module_input):
    return {"id": station_id}

def short(station_id):
    return station_id

model = Model()
VERSION = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the module path with a user's package in it."""
    before = set(sys.modules)
    package = tmp_path / "user_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "load.py").write_text(USER_MODULE)
    (package / "broken.py").write_text("import json\nraise RuntimeError('no weights\\nfound')\n")
    (package / "leaving.py").write_text("import sys\nsys.exit('bye')\n")
    (package / "stopped.py").write_text("raise KeyboardInterrupt\n")
    (package / "closed.py").write_text("raise GeneratorExit\n")
    (package / "lazy.py").write_text("def __getattr__(name):\n    raise SystemExit('no weights')\n")
    (package / "needy.py").write_text("import a_library_that_is_not_there\n")
    (package / "wrong.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("user_models"):
            del sys.modules[name]


@pytest.mark.usefixtures("folder")
def test_a_function_is_found_by_module_and_name() -> None:
    assert load_function("user_models.load:callback", "AGG_CALLBACK")("A", {}) == {"id": "A"}
    assert load_function(" user_models.load:callback\n", "AGG_CALLBACK")("A", {}) == {"id": "A"}


@pytest.mark.usefixtures("folder")
def test_ctrl_c_while_a_model_is_loaded_is_no_fault_of_the_model() -> None:
    with pytest.raises(KeyboardInterrupt):
        load_function("user_models.stopped:callback", "AGG_CALLBACK")


@pytest.mark.usefixtures("folder")
def test_the_name_may_be_a_path_of_attributes() -> None:
    assert load_function("user_models.load:Models.load.predict", "AGG_CALLBACK")("A", {}) == "A"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("user_models.load", ["package.module:function"]),
        ("user_models.load.callback", ["package.module:function"]),
        ("", ["package.module:function"]),
        (":callback", ["package.module:function"]),
        ("user_models.load:", ["package.module:function"]),
        ("user_models..load:callback", ["package.module:function"]),
        (".load:callback", ["package.module:function"]),
        ("user_models.load:callback()", ["package.module:function"]),
        ("user_models.load:a:b", ["package.module:function"]),
        ("user_models.lod:callback", ["no module user_models.lod", "PYTHONPATH"]),
        ("nowhere_at_all.x:callback", ["no module nowhere_at_all", "PYTHONPATH"]),
        ("user_models.broken:callback", ["importing user_models.broken failed", "RuntimeError: no weights found"]),
        ("user_models.leaving:callback", ["importing user_models.leaving failed", "SystemExit: bye"]),
        ("user_models.closed:callback", ["importing user_models.closed failed", "GeneratorExit"]),
        ("user_models.lazy:callback", ["getting callback of user_models.lazy failed", "SystemExit: no weights"]),
        ("user_models.load:Model", ["called as callback(station_id, module_input)", "a class"]),
        ("user_models.load:short", ["called as callback(station_id, module_input), but is short(station_id)"]),
        ("user_models.needy:callback", ["importing user_models.needy failed", "a_library_that_is_not_there"]),
        ("user_models.wrong:callback", ["importing user_models.wrong failed", "SyntaxError"]),
        ("user_models.load:calback", ["user_models.load has no attribute calback", "did you mean callback"]),
        ("user_models.load:Models.lod", ["user_models.load:Models has no attribute lod", "did you mean load"]),
        ("user_models.load:zzz", ["no attribute zzz", "define it there"]),
        ("user_models.load:VERSION", ["no function", "int"]),
    ],
)
def test_an_error_names_the_setting_its_value_and_what_is_wrong(spec: str, words: list[str]) -> None:
    with pytest.raises(FunctionError) as caught:
        load_function(spec, "AGG_CALLBACK")
    text = str(caught.value)
    assert text.startswith(f"AGG_CALLBACK={spec}: ")
    assert "\n" not in text.removeprefix(f"AGG_CALLBACK={spec}")
    for word in words:
        assert word in text


def plain(station_id: str, module_input: object) -> None: ...


async def coroutine(station_id: str, module_input: object) -> None: ...


class Callable_:  # noqa: N801
    async def __call__(self, station_id: str, module_input: object) -> None: ...

    async def method(self, station_id: str, module_input: object) -> None: ...

    def plain(self, station_id: str, module_input: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, False),
        (coroutine, True),
        (functools.partial(coroutine, "A"), True),
        (functools.partial(functools.partial(coroutine), "A"), True),
        (functools.partial(plain, "A"), False),
        (Callable_(), True),
        (functools.partial(Callable_(), "A"), True),
        (Callable_().method, True),
        (Callable_().plain, False),
        (Callable_, False),
        (len, False),
        (lambda: None, False),
    ],
)
def test_what_makes_a_coroutine_is_known_beforehand(function: Callable[..., Any], expected: bool) -> None:
    assert is_async(function) is expected


class Handler:
    def three(self, batch_id: str, results: list[object], context: object) -> None: ...

    def two(self, batch_id: str, results: list[object]) -> None: ...


def two(batch_id: str, results: list[object]) -> None: ...
def three(batch_id: str, results: list[object], context: object) -> None: ...
async def async_three(batch_id: str, results: list[object], /, context: object = None) -> None: ...
def many(batch_id: str, results: list[object], *args: object) -> None: ...
def keyword(batch_id: str, results: list[object], *, context: object = None, **more: object) -> None: ...
def required_keyword(batch_id: str, results: list[object], *, context: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (two, ContextBy.NOTHING),
        (three, ContextBy.POSITION),
        (async_three, ContextBy.POSITION),
        (many, ContextBy.NOTHING),
        (keyword, ContextBy.KEYWORD),
        (required_keyword, ContextBy.KEYWORD),
        (functools.partial(keyword, "batch"), ContextBy.KEYWORD),
        (functools.partial(keyword, context=None), ContextBy.NOTHING),
        (Handler().three, ContextBy.POSITION),
        (Handler().two, ContextBy.NOTHING),
        (functools.partial(three, context=None), ContextBy.NOTHING),
        (print, ContextBy.NOTHING),
        (dict.get, ContextBy.NOTHING),
        (lambda batch_id, results, timeout=30: None, ContextBy.NOTHING),  # noqa: ARG005
        (lambda batch_id, results, timeout=30, context=None: None, ContextBy.KEYWORD),  # noqa: ARG005
        (lambda batch_id, results, ctx: None, ContextBy.POSITION),  # noqa: ARG005
    ],
)
def test_a_third_positional_parameter_without_a_default_or_one_of_that_name_is_the_context(
    function: Callable[..., Any], expected: ContextBy
) -> None:
    assert takes_context(function) is expected
