"""The command `batch-aggregator`: `faust -A app` of this distribution, whatever the folder holds that one stands in.

It stands outside of the packages `app` and `tables`: these names are not ours alone. It finds ours, and says who else
has them where they can't be had.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

HOME: Final = Path(__file__).resolve().parent
OURS: Final = {"app": "create_app", "tables": "__doc__"}  # our packages, and a name in each
EXIT_COLLISION: Final = 2


def main() -> None:
    """Run `faust` with the arguments of the command line; without `-A`, for our own application."""
    if (problem := import_ours()) is not None:
        _say(problem)
        raise SystemExit(EXIT_COLLISION)
    named, others = divide(sys.argv[1:])
    if (hidden := hidden_module(named)) is not None:
        _say(hidden)
    sys.argv[1:] = [*(named or ["-A", "app"]), *others]  # in place: Faust keeps the list
    prepared_cli()(prog_name="batch-aggregator")


def _say(texts: tuple[str, str]) -> None:
    """Write the English or the Chinese text, as the environment says."""
    sys.stderr.write(f"{texts[os.environ.get('AGG_LOG_LANGUAGE', '').strip() == 'zh']}\n")


def divide(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return what names the application, which Faust wants in front of the command, and the other arguments.

    No command of Faust's or of ours has an option of these names. An id may begin so: it stands behind its option.
    """
    named: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        in_front = all(other.startswith("-") for other in others)
        if argument == "--":
            others += [argument, *rest]
        elif not in_front and others[-1].startswith("-"):
            others.append(argument)
        elif argument in {"-A", "--app"}:
            named += [argument, *islice(rest, 1)]
        elif argument.startswith("--app=") or (in_front and argument.startswith("-A")):
            named.append(argument)
        else:
            others.append(argument)
    return named, others


def hidden_module(named: list[str]) -> tuple[str, str] | None:
    """Say, in English and in Chinese, that a module of this folder is not the one that is named; None if it is."""
    name = (named or [""])[-1].removeprefix("--app=").removeprefix("-A").partition(":")[0]
    if name not in OURS or Path.cwd() == HOME:
        return None
    for file in (f"{name}.py", f"{name}/__init__.py"):
        if Path(file).is_file():
            return (
                f"batch-aggregator: -A {name} is this application's own package, and not {file} of this folder: rename "
                "that, and name it, to use it",
                f"batch-aggregator：-A {name} 指本应用自己的包，而不是当前文件夹中的 {file}：要用后者，请改名",
            )
    return None


def prepared_cli() -> click.Group:
    """Return Faust's command line, which tells our version, and in a line why `-A` leads to no application."""
    # After the look at what is there.
    from faust.cli.faust import cli  # noqa: PLC0415

    from app.cli.programs import finding, version_option  # noqa: PLC0415

    base: Any = import_module("faust.cli.base")
    base.find_app = finding(base.find_app)
    version_option(cli)
    return cli


def import_ours() -> tuple[str, str] | None:
    """Import our packages, before others of their names on the path; returns what is in their place, None if they are.

    It is told in English and in Chinese: what knows the language may not be there.

    The folder of the user may hold an `app.py` of his own. That is never looked at: a name is imported once.
    """
    sys.path.insert(0, str(HOME))
    try:
        for name, attribute in OURS.items():
            try:
                found = import_module(name)
            except Exception as error:  # noqa: BLE001 - of another's package, it may be anything
                raised = f"{type(error).__name__}: {error}"
                return _collision(name, f"importing it raises {raised}", f"导入时出现 {raised}")
            place = found.__file__
            if place is None or Path(place).resolve().parent != HOME / name or not hasattr(found, attribute):
                return _collision(
                    name, f"another one is in its place, {place or found}", f"其位置被占用，{place or found}"
                )
    finally:
        sys.path.remove(str(HOME))
    return None


def _collision(name: str, trouble: str, zh_trouble: str) -> tuple[str, str]:
    whose, zh_whose = (" PyTables has that name, too.", "PyTables 也用此名。") if name == "tables" else ("", "")
    return (
        f"batch-aggregator: its package `{name}` can't be had: {trouble}.{whose} Install this application into an "
        "environment of its own, without the other package of that name",
        f"batch-aggregator：它的包 `{name}` 无法使用：{zh_trouble}。{zh_whose}请把本应用安装到单独的环境中，"
        "其中不含另一个同名的包",
    )


if __name__ == "__main__":
    main()
