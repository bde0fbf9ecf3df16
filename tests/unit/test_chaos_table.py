"""The table that `make chaos` prints."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.chaos.__main__ import table_of


@pytest.mark.parametrize(
    "name", ["any station is reached[/]", "a page[bold]", "a page[/#/late-zh-CN]", "[", "\\[x]", "a]"]
)
def test_a_name_is_shown_as_it_is_whatever_its_parameters(name: str) -> None:
    page = io.StringIO()
    Console(file=page, width=110).print(table_of([(name, "passed", 1.25)]))
    assert f" {name} " in page.getvalue()
    assert " 1.2 " in page.getvalue()
