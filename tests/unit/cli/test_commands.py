"""The commands of `faust -A app`: what they import, and that Faust's own get the application."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import click
import pytest
from faust.cli.base import cli

from app.callbacks.loading import NOTHING_GIVEN, Functions
from app.cli.commands import COMMANDS, LazyCommand, commands_alone, register_commands
from app.settings import Settings
from app.settings.enums import Language
from app.settings.types import TOPIC_RULE, UTF8_RULE
from app.words import Words, told, words
from tests.further import further
from tests.integration.support.worker import clean_environment
from tests.ports import own_port

# Of a worker's: its web, its pipeline, what runs callbacks in it, Faust's application and what that imports.
NOT_IMPORTED = (
    "app.application", "app.pipeline", "app.web.app", "app.web.cluster", "app.worker.app", "app.callbacks.executors",
    "app.observability.prometheus", "app.demo", "tables.faust_tables", "tables.working_set",
    "faust.app.base", "faust.tables", "fastapi", "starlette", "uvicorn", "uvloop", "prometheus_client",
)  # fmt: skip
RUN = """
import sys
from faust.cli.faust import cli
try:
    cli()
finally:
    sys.stderr.write("\\n" + " ".join(sys.modules))
"""
# All of them in one process: it is their words that are looked at, and what any of them imports.
HELPS = """
import sys
from faust.cli.faust import cli
for words in ([], *([name] for name in sys.argv.pop().split())):
    try:
        cli([*sys.argv[1:], *words, "--help"])
    except SystemExit as end:
        print(end.code, end="\\0")
sys.stderr.write("\\n" + " ".join(sys.modules))
"""
ABOVE_0 = words("must be a finite number above 0", "必须是大于 0 的有限数字")
FROM_0_ON = words("must be a finite number, 0 or above", "必须是有限的数字，且大于或等于 0")
Helps = tuple[dict[str, str], str, set[str]]


def faust(folder: Path, *arguments: str, app: str = "app", **settings: str) -> tuple[int, str, str, set[str]]:
    """Exit code, output, complaints, and the modules that were imported."""
    return run(folder, RUN, "-A", app, *arguments, **settings)


def run(folder: Path, program: str, *arguments: str, **settings: str) -> tuple[int, str, str, set[str]]:
    """The same of any program."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=clean_environment(**settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said, _, modules = done.stderr.rpartition("\n")
    return done.returncode, done.stdout, said, set(modules.split())


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Helps]:
    """In a language: what `--help` says, of the program ("") and of each command; complaints; what was imported."""

    @cache
    def of(language: str) -> Helps:
        folder = tmp_path_factory.mktemp("helps")
        code, said, complaints, modules = run(folder, HELPS, "-A", "app", " ".join(COMMANDS), log_language=language)
        assert code == 0, complaints
        texts = said.split("\0")[:-1]
        assert [text for text in texts if not text.endswith("\n0")] == []
        return dict(zip(["", *COMMANDS], texts, strict=True)), complaints, modules

    return of


def parsed(arguments: list[str], language: Language) -> dict[str, object]:
    """The arguments of a command, as it reads them."""

    class App:
        settings = Settings(log_language=language)
        given: Functions = NOTHING_GIVEN
        keywords: Mapping[str, object] = {}

    register_commands(App)
    name, *rest = arguments
    try:
        return cli.commands[name].make_context(name, rest, click.Context(cli)).params
    finally:
        register_commands(App)


def test_help_imports_nothing_that_only_a_worker_needs(helps: Callable[[str], Helps]) -> None:
    texts, complaints, modules = helps("en")
    assert complaints == ""
    assert [name for name, text in texts.items() if "Usage: " not in text] == []
    assert sorted(modules.intersection(NOT_IMPORTED)) == []


@pytest.mark.parametrize("command", ["outputs", "batches", "send", *further("late", "dead-letters", "advise")])
def test_a_command_imports_nothing_that_only_a_worker_needs(command: str, tmp_path: Path) -> None:
    broker = f"kafka://127.0.0.1:{own_port()}"
    (tmp_path / "lines").write_text('[{"stationId": "A", "sendTime": 1762246800}]\n')
    code, _, complaints, modules = faust(
        tmp_path, command, *(["lines"] if command == "send" else []), broker=broker, web_port=str(own_port())
    )
    assert code == 1
    assert complaints.startswith(f"no broker answers at {broker.removeprefix('kafka://')}")
    assert sorted(modules.intersection(NOT_IMPORTED)) == []


@pytest.mark.parametrize(
    ("language", "said"), [("en", "'chekc'. Did you mean check?"), ("zh", "没有命令 'chekc'。是否想写 check？")]
)
def test_a_command_that_is_misspelt_is_named(language: str, said: str, tmp_path: Path) -> None:
    code, _, complaints, _ = faust(tmp_path, "chekc", log_language=language)
    assert code == 2
    assert said in complaints


def test_each_command_is_in_the_list_with_its_own_words() -> None:
    class App:
        settings = Settings()
        given: Functions = NOTHING_GIVEN
        keywords: Mapping[str, object] = {}

    register_commands(App)
    for name in COMMANDS:
        lazy = cli.commands[name]
        assert isinstance(lazy, LazyCommand)
        listed = lazy.get_short_help_str(1000)
        with pytest.raises(click.exceptions.Exit):
            lazy.make_context(name, ["--help"])
        command = cli.commands[name]
        assert not isinstance(command, LazyCommand)
        assert command.get_short_help_str(1000) == listed
        register_commands(App)


def test_the_help_of_a_worker_does_not_offer_what_it_refuses(tmp_path: Path) -> None:
    code, said, complaints, _ = faust(tmp_path, "worker", "--help")
    assert (code, complaints) == (0, "")
    assert "--loglevel" in said
    assert "-web" not in said


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["send", "--key", "\udcff", "/dev/null"], UTF8_RULE),
        (["send", "--topic", "\udcff", "/dev/null"], UTF8_RULE),
        (["send", "--header", "x=\udcff", "/dev/null"], UTF8_RULE),
        (["send", "--topic", "a b", "/dev/null"], TOPIC_RULE),
        (["batches", "show", "\udcff"], UTF8_RULE),
        (["batches", "complete", "T", "--operator", "\udcff"], UTF8_RULE),
        (["outputs", "--since", "\udcff"], UTF8_RULE),
        (["dead-letters", "--station", "\udcff"], UTF8_RULE),
        (["compare", "old", "\udcff"], UTF8_RULE),
        *((["batches", "extend", "T", "--seconds", number], ABOVE_0) for number in ("nan", "inf", "-5", "0", "x")),
        *((["advise", "--timeout", number], ABOVE_0) for number in ("nan", "inf", "0")),
        *((["compare", "old", "new", "--within", number], FROM_0_ON) for number in ("nan", "inf", "-1")),
    ],
)
def test_a_value_that_no_option_takes_is_told_in_both_languages(
    arguments: list[str], rule: Words, language: Language
) -> None:
    with pytest.raises(click.BadParameter) as refused:
        parsed(arguments, language)
    assert (refused.value.exit_code, refused.value.message) == (2, told(rule, language))


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["batches", "extend", "T", "--seconds", "1e3"], "seconds", 1000.0),
        (["advise", "--timeout", "0.5", "--timeout", "7"], "timeout", (0.5, 7.0)),
        (["compare", "old", "new", "--within", "0"], "within", 0.0),
        (["compare", "old", "new"], "within", 60.0),
        (["batches", "show", "场站 1"], "batch_id", "场站 1"),
    ],
)
def test_a_value_is_read(arguments: list[str], name: str, value: object) -> None:
    assert parsed(arguments, Language.EN)[name] == value


@pytest.mark.parametrize("command", ["outputs", "agents"])
def test_a_wrong_setting_is_said_by_every_command(command: str, tmp_path: Path) -> None:
    code, said, complaints, _ = faust(tmp_path, command, bach_timeout="5")
    assert (code, said) == (2, "")
    assert complaints.startswith("AGG_BACH_TIMEOUT: unknown key; did you mean AGG_BATCH_TIMEOUT")


@pytest.mark.parametrize("app", ["mine", *further("app", "app:app", "app.app")])
def test_faust_s_own_commands_have_the_application(app: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from app import app\n\nassert app.agents\n")
    code, said, complaints, _ = faust(tmp_path, "agents", app=app)
    assert (code, complaints) == (0, "")
    assert "splitter" in said
    assert "Callbacks" in said


@pytest.mark.parametrize(
    ("program", "app", "usage"),
    [
        ("faust", "mine:app", "faust -A mine:app send"),
        ("batch-aggregator", "app", "batch-aggregator send"),
        ("batch-aggregator", "mine", "batch-aggregator -A mine send"),
        ("mine.py", None, "mine.py send"),
    ],
)
def test_a_usage_names_the_application_where_the_command_needs_it(program: str, app: str | None, usage: str) -> None:
    commands_alone()
    root = click.Context(cli, info_name=program)
    root.params["app"] = app
    assert click.Context(click.Command("send"), root, info_name="send").command_path == usage
    assert "-A" not in cli.collect_usage_pieces(root)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_in_the_language_that_is_set(name: str, helps: Callable[[str], Helps]) -> None:
    texts, _, _ = helps("zh")
    assert COMMANDS[name].line.zh[:8] in texts[""]
    own = texts[name]
    assert " ".join(own.split()).startswith(f"用法： -c -A app {name} [OPTIONS]")
    assert "显示此帮助并退出。" in own
    assert COMMANDS[name].line.zh in own
    options = [line for line in own.splitlines() if line.startswith("  --") and not line.startswith("  --help")]
    assert [line for line in options if line.isascii() and len(line.split()) > 3] == []


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        (["outputs"], {"bach_timeout": "5"}, 2, "AGG_BACH_TIMEOUT：未知的键；是否想写 AGG_BATCH_TIMEOUT"),
        (
            ["outputs"],
            {"broker": "kafka://127.0.0.1:9"},
            1,
            "127.0.0.1:9 没有 Kafka 应答：请启动它，或设置 AGG_BROKER（",
        ),
        (["outputs", "--since", "x"], {}, 2, "错误：'--since' 的值无效：'x' 既不是 2025-11-14T10:00:00 这样的时间"),
        (["sent"], {}, 2, "错误：没有命令 'sent'。"),
        (["batches", "show"], {}, 2, "show 需要批次 id"),
        (["worker", "--web-port", "1"], {"callback": "x:y"}, 2, "此处不使用 --web-port：请设置 AGG_WEB_PORT=1"),
        (["worker"], {"callback": "nowhere:y"}, 2, "AGG_CALLBACK=nowhere:y：没有模块 nowhere；"),
    ],
)
def test_errors_of_commands_are_in_the_language_that_is_set(
    arguments: list[str], settings: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    found, _, complaints, _ = faust(tmp_path, *arguments, log_language="zh", **settings)
    assert (found, said in complaints) == (code, True), complaints
