"""What `-A` names: found and imported, or told in a line why it can't be, and what to do.

Faust would end with a traceback of its own, which has the reason somewhere in it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click
from faust.types import AppT

from app.settings.loading import SettingsError, found_language
from app.words import Words, told, words

EXIT_PROGRAM: Final = 2  # as for a setting that leads to no function
DISTRIBUTION: Final = "station-batch-aggregator"


class ProgramError(click.ClickException):
    """`-A` leads to no application. It is an error of click's, which tells it in a line."""

    exit_code = EXIT_PROGRAM

    def show(self, file: Any = None) -> None:
        """Print it in the user's language."""
        (file or sys.stderr).write(f"{told(self.message, found_language(os.environ))}\n")


def finding(find_app: Callable[[str], AppT]) -> Callable[[str], AppT]:
    """Return what finds an application as `find_app` of Faust does, and raises ProgramError where it can't."""

    def find(program: str) -> AppT:
        try:
            return find_app(program)
        except click.ClickException:
            raise
        except SettingsError as error:  # by functions of ours that the program calls
            raise ProgramError(str(error)) from error
        except Exception as error:
            raise ProgramError(problem_of(program, error)) from error

    return find


def problem_of(program: str, error: Exception) -> Words:
    """Say why there is no application at `program`, of the error that looking for one has ended with."""
    module, _, name = program.partition(":")
    if (hint := _file_hint(program)) is not None:
        return hint
    if isinstance(error, ValueError) and isinstance(error.__context__, ValueError):
        error = error.__context__  # mode puts the module's name in front
    if isinstance(error, ModuleNotFoundError) and error.name and _is_asked_for(error.name, program):
        found = sys.modules.get(module) or sys.modules.get(module.rpartition(".")[0])
        if found is None or (":" not in program and "." not in program):
            return _no_module(program, module)
        return no_application(program, found, name or program.rpartition(".")[2])
    found = sys.modules.get(module)
    if isinstance(error, AttributeError) and found is not None and not _frames(error):
        attribute = name or "app"
        if hasattr(found, attribute):
            return _not_one(program, f"{module}.{attribute}", getattr(found, attribute))
        return no_application(program, found, attribute)
    return _does_not_run(program, module, error)


def version_option(command: click.Command) -> None:
    """Make `--version` tell this distribution's version, and Faust's beside it."""
    command.params = [param for param in command.params if param.name != "version"]
    told = f"%(prog)s %(version)s (Faust {version('faust-streaming')})"
    click.version_option(version(DISTRIBUTION), message=told)(command)


def _is_asked_for(missing: str, program: str) -> bool:
    """Say whether the module that is missing is the one that was named, or a package that it would be in."""
    return missing == program or f"{program.partition(':')[0]}.".startswith(f"{missing}.")


def _file_hint(program: str) -> Words | None:
    """Say what to write in place of a file's name."""
    file, colon, name = program.partition(":")
    if not file.endswith(".py") and "/" not in file:
        return None
    path = Path(file)
    if path.is_absolute() or ".." in path.parts:
        return words(
            "-A {program}: that is the name of a file; go to its folder, {folder}, and name the module: -A {module}",
            "-A {program}：这是文件名；请进入其所在的文件夹 {folder}，并写模块名：-A {module}",
            program=program,
            folder=path.parent,
            module=f"{path.stem}{colon}{name}",
        )
    return words(
        "-A {program}: that is the name of a file; name the module: -A {module}",
        "-A {program}：这是文件名；请写模块名：-A {module}",
        program=program,
        module=f"{'.'.join(path.with_suffix('').parts)}{colon}{name}",
    )


def _no_module(program: str, module: str) -> Words:
    return words(
        "-A {program}: there is no module {module}; go to the folder that holds {file} (this is {here}), or put that "
        "folder on PYTHONPATH",
        "-A {program}：没有模块 {module}；请进入 {file} 所在的文件夹（当前为 {here}），或把它加入 PYTHONPATH",
        program=program,
        module=module,
        file=f"{module.replace('.', '/')}.py",
        here=Path.cwd(),
    )


def no_application(program: str, found: ModuleType, name: str) -> Words:
    """Say that a module has no application of a name."""
    # Ours is built when it is asked for.
    others = ["app"] if found.__name__ == "app" else [one for one, value in vars(found).items() if _is_app(value)]
    if others:
        return words(
            "-A {program}: {module} has no `{name}`; its application is called otherwise: -A {module}:{other}",
            "-A {program}：{module} 中没有 `{name}`；其中的应用另有名称：-A {module}:{other}",
            program=program,
            module=found.__name__,
            name=name,
            other=others[0],
        )
    return words(
        "-A {program}: {module} ({file}) has no `{name}`; make one there: "
        "`from app import create_app`, `{name} = create_app(callback=...)`",
        "-A {program}：{module}（{file}）中没有 `{name}`；请在其中创建："
        "`from app import create_app`，`{name} = create_app(callback=...)`",
        program=program,
        module=found.__name__,
        file=getattr(found, "__file__", None) or "-",
        name=name,
    )


def _is_app(value: object) -> bool:
    return isinstance(value, AppT) and not isinstance(value, type)


def _not_one(program: str, what: str, value: object) -> Words:
    return words(
        "-A {program}: {what} is of type {kind} and no application; `create_app(callback=...)` of `app` makes one",
        "-A {program}：{what} 的类型是 {kind}，不是应用；请用 `app` 的 `create_app(callback=...)` 创建",
        program=program,
        what=what,
        kind=type(value).__name__,
    )


def _does_not_run(program: str, module: str, error: Exception) -> Words:
    return words(
        "-A {program}: importing it fails with {error}{place}; `python -c 'import {module}'` shows all of it",
        "-A {program}：导入失败：{error}{place}；`python -c 'import {module}'` 可显示完整信息",
        program=program,
        module=module,
        error=" ".join(f"{type(error).__name__}: {error}".split()),
        place=_place(error),
    )


def _place(error: Exception) -> str:
    """Return the file and the line of an error, in the user's code where that is known; else an empty text."""
    if isinstance(error, SyntaxError):
        return ""  # its text has them
    frames = _frames(error)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _frames(error: Exception) -> list[traceback.FrameSummary]:
    """Return the frames of what was imported, without those of what imports it; none where it was not begun."""
    frames = traceback.extract_tb(error.__traceback__)
    importing = [number for number, frame in enumerate(frames) if "importlib" in frame.filename]
    return frames[importing[-1] + 1 :] if importing else []
