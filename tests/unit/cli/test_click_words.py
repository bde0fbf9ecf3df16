"""Click's own words in Chinese: all that it has, with the fields of the English ones."""

from __future__ import annotations

import ast
import gettext
import importlib
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from app.cli import click_words
from app.settings.enums import Language

LOOK_UPS = ("_", "ngettext")


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    click_words.use(Language.EN)


def texts_of_click() -> set[str]:
    """The texts that its modules look up, both forms of those with a number."""
    found = set()
    for name in click_words.MODULES:
        file = importlib.import_module(name).__file__
        assert file is not None
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOOK_UPS:
                found |= {
                    one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


def fields(text: str) -> set[str]:
    named = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return named | set(re.findall(r"%\((\w+)\)", text))


def look_ups(name: str) -> list[Callable[..., str]]:
    module = importlib.import_module(name)
    return [getattr(module, one) for one in LOOK_UPS if hasattr(module, one)]


def test_every_text_of_click_is_known_in_chinese() -> None:
    texts = texts_of_click()
    assert len(texts) > 40
    click_words.use(Language.ZH)
    click_core: Any = importlib.import_module("click.core")
    for text in texts:
        chinese = click_core._(text)
        assert not chinese.isascii() or fields(text) == fields(chinese) == {"text", "deprecated_message"}, text
        assert fields(chinese) <= fields(text), text


def test_english_is_as_click_has_it() -> None:
    before = {name: look_ups(name) for name in click_words.MODULES}
    click_words.use(Language.ZH)
    assert all(one not in (gettext.gettext, gettext.ngettext) for name in before for one in look_ups(name))
    click_words.use(Language.EN)
    assert {name: look_ups(name) for name in click_words.MODULES} == before
    assert click.core._ is gettext.gettext  # type: ignore[attr-defined]


def test_a_text_that_is_not_known_stays_english() -> None:
    click_words.use(Language.ZH)
    click_types: Any = importlib.import_module("click.types")
    assert click_types._("{value!r} is no colour.") == "{value!r} is no colour."
    assert click_types.ngettext("{n} colour", "{n} colours", 2) == "{n} colours"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope"], "没有选项：--nope"),
        (["--counts", "3"], "没有选项：--counts 是否想写 --count？"),
        (["--count"], "选项 '--count' 需要一个值。"),
        (["--count", "x"], "'--count' 的值无效：'x' 不是有效的数字。"),
        (["--count", "9"], "'--count' 的值无效：9 不在范围 1<=x<=5 内。"),
        (["--all=1"], "选项 '--all' 不带值。"),
        ([], "缺少参数 'KIND'. 可选：\n\ta,\n\tb"),
        (["c"], "'KIND' 的值无效：'c' 不是 'a', 'b' 之一。"),
        (["a", "x", "y"], "多余的参数（x y）"),
    ],
)
def test_what_is_wrong_with_arguments_is_told_in_chinese(arguments: list[str], said: str) -> None:
    @click.command()
    @click.option("--count", type=click.IntRange(1, 5))
    @click.option("--all", is_flag=True)
    @click.argument("kind", type=click.Choice(["a", "b"]), metavar="KIND")
    def command(**_: object) -> None: ...

    click_words.use(Language.ZH)
    with pytest.raises(click.UsageError) as refused:
        command.make_context("command", arguments)
    assert refused.value.format_message() == said
