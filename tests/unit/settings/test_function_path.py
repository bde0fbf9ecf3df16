"""The setting of a function: the forms that people write, and what they are told to write."""

from __future__ import annotations

import pytest

from app.settings.types import is_function_path, spelling_hint


@pytest.mark.parametrize("path", ["load:callback", "models.load:callback", "a.b.c:Models.load.predict", "站.load:模型"])
def test_a_module_a_colon_and_a_function_is_the_form(path: str) -> None:
    assert is_function_path(path)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("load.py:callback", "load:callback"),
        ("models/load.py:callback", "models.load:callback"),
        ("./models/load.py:predict", "models.load:predict"),
        ("models\\load.py:callback", "models.load:callback"),
        ("models/load:callback", "models.load:callback"),
        ("models.load.py:callback", "models.load:callback"),
        ("load.py:Model.predict", "load:Model.predict"),
        ("models.load.callback", "models.load:callback"),
        ("models.load.callback()", "models.load:callback"),
        ("models.load:callback()", "models.load:callback"),
        ("models.load::callback", "models.load:callback"),
        ("models.load：callback", "models.load:callback"),
        ("models.load: callback", "models.load:callback"),
        ('"models.load:callback"', "models.load:callback"),
        ("load.py", "load:callback, with your function's name behind the colon"),
        ("models/load.py", "models.load:callback, with your function's name behind the colon"),
        ("models.load:", "models.load:callback, with your function's name behind the colon"),
        ("/srv/models/load.py:callback", "load:callback, and put /srv/models on PYTHONPATH"),
        ("../models/load.py:callback", "load:callback, and put ../models on PYTHONPATH"),
        ("~/load.py:callback", "load:callback, and put ~ on PYTHONPATH"),
        ("C:\\models\\load.py:callback", "load:callback, and put C:/models on PYTHONPATH"),
        ("/load.py:f", "load:f, and put / on PYTHONPATH"),
    ],
)
def test_another_form_is_answered_with_what_to_write(path: str, written: str) -> None:
    assert not is_function_path(path)
    assert spelling_hint(path) == f"write {written}"
    assert is_function_path(written.partition(",")[0])


@pytest.mark.parametrize(
    "path", ["", ":", "callback", ":callback", "a:b:c", "..load:callback", "a b", "1:2", "--x", "/"]
)
def test_where_nothing_can_be_guessed_the_form_is_shown(path: str) -> None:
    assert not is_function_path(path)
    assert spelling_hint(path) == "write the module, a colon and the function's name, such as models.load:callback"
