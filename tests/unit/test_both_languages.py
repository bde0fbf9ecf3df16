"""What a user is told of an error, or by a command, is there in both languages."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "app" / name
    for name in (
        "__init__.py",
        "callbacks/given.py",
        "callbacks/loading.py",
        "callbacks/signatures.py",
        "inputs/grouping.py",
        "kafka/client.py",
        "kafka/diagnosis.py",
        "kafka/permissions.py",
        "kafka/replay.py",
        "kafka/topics.py",
        "settings/loading.py",
        "settings/model.py",
        "settings/types.py",
        "web/server.py",
        "worker/faust_command.py",
        "worker/users_parts.py",
        "worker/watchdog.py",
    )
] + sorted((ROOT / "app" / "cli").rglob("*.py"))
A_TEXT = re.compile(r"\b[a-z]{2,}[,:;]? [a-z]{2,}\b")
# Told in English only, by place: what is a bug, or never reaches a user.
ENGLISH: dict[str, set[str]] = {
    "app/__init__.py": {"module {} has no attribute {}"},  # Python's own words
    "app/inputs/grouping.py": {  # of a record, which becomes a dead letter
        "a station id of {} characters, more than {} (AGG_MAX_ID_LENGTH): {}",
        "{} is not a record",
        "no station id: {}; text or an integer is wanted in one of {}",
        "; some of its times are too late for the message's (AGG_MAX_AHEAD)",
        "no usable time in a record of station {}, which has records with one: {}{}",
        "none of {} is there",
    },
    "app/kafka/client.py": {"the connection was closed while the request was under way"},  # it is tried again
    "app/settings/model.py": {"opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"},
    "app/worker/watchdog.py": {  # the worker's health, as /healthz has it, and before exit code 70
        "the start",
        "{} has stood still for {} s",
        "the broker answers, but the group has not answered this worker's heartbeats since {}",
    },
    "app/cli/result_comparison.py": {"no station id"},  # caught where the message is named
    "app/worker/users_parts.py": {"{}: {} must be an `async def`; it returned {}"},  # in a traceback
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
CHINESE_TOO = {"words", "Words", "_shared", "_own"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Literals that look like a text, with their lines; docstrings and what has its Chinese left out."""
    if isinstance(node, ast.Call) and name_of(node) in CHINESE_TOO:
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.keyword) and node.arg == "zh":  # of a command, whose docstring is the English
        return
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        if A_TEXT.search(text):
            yield node.lineno, text
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and A_TEXT.search(node.value):
            yield node.lineno, node.value
        return
    for child in ast.iter_child_nodes(node):
        if child not in told_beside(node):
            yield from texts(child)


def told_beside(node: ast.AST) -> list[ast.expr | None]:
    """Keys of a catalogue, whose values are the Chinese."""
    if not isinstance(node, ast.Dict):
        return []
    pairs = zip(node.keys, node.values, strict=True)
    return [key for key, value in pairs if isinstance(value, ast.Constant) and CHINESE.search(str(value.value))]


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_a_text_for_users_is_in_both_languages(path: Path) -> None:
    found = list(texts(ast.parse(path.read_text(encoding="utf-8"))))
    assert [(line, text) for line, text in found if text not in ENGLISH.get(shown(path), set())] == []


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and name_of(node) == "words":
                yield f"{shown(path)}:{node.lineno}", node


def test_both_texts_are_made_of_the_same_fields() -> None:
    different, count = [], 0
    for place, call in calls():
        if any(not isinstance(argument, ast.Constant) for argument in call.args):
            continue  # computed
        english, chinese = (fields(ast.literal_eval(argument)) for argument in call.args)
        given = {keyword.arg for keyword in call.keywords}
        count += 1
        if english | chinese != given or (english != chinese and given != {"en", "zh"}):
            different.append((place, english, chinese, given))
    assert different == []
    assert count > 100


def test_every_chinese_text_has_chinese_in_it() -> None:
    plain = [
        (place, ast.literal_eval(call.args[1]))
        for place, call in calls()
        if len(call.args) == 2 and isinstance(call.args[1], ast.Constant)
        if A_TEXT.search(re.sub(r"\{[^}]*\}", "", ast.literal_eval(call.args[0])))
        and not CHINESE.search(ast.literal_eval(call.args[1]))
    ]
    assert plain == []


def test_a_text_without_its_chinese_is_found() -> None:
    tree = ast.parse(
        'def f(x):\n    """Say what."""\n    message = f"there is no {x} here"\n    raise ValueError(message)\n'
    )
    assert list(texts(tree)) == [(3, "there is no {} here")]
    assert list(texts(ast.parse('complain(words("there is no x", "没有 x"))'))) == []
    assert list(texts(ast.parse('ZH = {"there is no x": "没有 x", "there is no y": "y"}'))) == [(1, "there is no y")]
