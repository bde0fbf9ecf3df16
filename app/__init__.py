"""Station batch aggregator: one message in with all charging stations of a batch, one merged message out.

`app.app` is the Faust application that `faust -A app worker` finds. It is built when it is first asked for (PEP 562):
importing a pure module of this package builds nothing and reads no environment. `create_app` builds one for a module of
the user's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.words import Words, told, words

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

    app: AggregatorApp

__all__ = ["app", "create_app"]

_EXIT_COLLISION = 2

_Function = Callable[..., Any] | str | None


def create_app(
    callback: _Function = None,
    result_handler: _Function = None,
    *,
    batch_callback: _Function = None,
    station_result_handler: _Function = None,
    **settings: Any,
) -> AggregatorApp:
    """Build the application in a module of your own, which `faust -A mymodule worker` then finds as its `app`.

    It is a Faust application: your own agents, timers, tasks, tables, commands and pages work beside the pipeline. The
    environment and `.env` are over the arguments. See docs/python.md.

    Args:
        callback: the model, `callback(station_id, module_input)`: the function, or its name `package.module:function`,
            as in AGG_CALLBACK. The other functions likewise.
        result_handler: `result_handler(batch_id, batch_results_list[, context])`; None: the default payload.
        batch_callback: instead of `callback`, a model for many stations, `callback({station_id: module_input})`.
        station_result_handler: for pass-through stations, `station_result_handler(station_id, module_input, result)`.
        settings: every other setting by its key in lower case without `AGG_`, such as `batch_timeout=10`.

    Raises:
        SettingsError: a keyword is unknown, or a value is bad; all problems at once, a line each. While
            `faust -A mymodule` imports the module, its text is printed, and the exit code is 2.
    """
    functions = {
        "callback": callback,
        "batch_callback": batch_callback,
        "result_handler": result_handler,
        "station_result_handler": station_result_handler,
    }
    return _build({**settings, **functions})


def __getattr__(name: str) -> Any:
    if name != "app":
        _explain_what_is_wanted(name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    _look_where_we_are()
    # Imported where it is wanted, as below.
    from app.cli.commands import commands_alone, only_commands_are_wanted  # noqa: PLC0415

    if only_commands_are_wanted(("app", "app:app", "app.app")):
        return commands_alone()
    application = globals()["app"] = _build({}, exits=True)
    return application


def _explain_what_is_wanted(name: str) -> None:
    """End `faust -A app:NAME` where there is no such application: Faust would go on to a traceback of its own."""
    base = sys.modules.get("faust.cli.base")
    if base is None or find_spec(f"{__name__}.{name}") is not None:
        return
    program = base.cli._extract_param(sys.argv, "-A", "--app")
    if program in {f"{__name__}:{name}", f"{__name__}.{name}"}:
        from app.cli.programs import ProgramError, no_application  # noqa: PLC0415

        raise ProgramError(no_application(program, sys.modules[__name__], name))


def _build(arguments: dict[str, object], *, exits: bool = False) -> AggregatorApp:
    """Build the application; with `exits`, settings that can't be used end the program."""
    _look_where_we_are()
    # Imported here, where the application is wanted, and not with any pure module of the package.
    from app.application import build_app  # noqa: PLC0415
    from app.settings import SettingsError  # noqa: PLC0415

    try:
        return build_app(arguments)
    except SettingsError as error:
        if not exits:
            raise
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


def _look_where_we_are() -> None:
    """See to it that the user's modules can be imported, and end the program where another's stand in place of ours."""
    # `faust` has the folder that one stands in at the head of the path only while it imports a program: too short a
    # time for what is imported later, and for the user's functions, which processes import, too.
    here = str(Path.cwd())
    if here not in sys.path[1:]:
        sys.path.append(here)
    if (other := _other_tables()) is not None:
        sys.stderr.write(f"{_in_the_users_language(other)}\n")
        raise SystemExit(_EXIT_COLLISION)


def _in_the_users_language(text: str) -> str:
    """Return a text in the language of AGG_LOG_LANGUAGE, as far as it is in the environment: nothing else is read."""
    return told(text, os.environ.get("AGG_LOG_LANGUAGE", "").strip())


def _other_tables() -> Words | None:
    """Say which package is in the place of `tables`, which belongs to this one; None where it is ours."""
    ours = Path(__file__).resolve().parent.with_name("tables")
    try:
        found = import_module("tables").__file__
    except Exception as error:  # noqa: BLE001 - of another's package, it may be anything
        found = f"{type(error).__name__}: {error}"
    if found is not None and Path(found).resolve().parent == ours:
        return None
    return words(
        "the package `tables` of this application ({ours}) can't be had, another one is in its place ({found}), such "
        "as PyTables or one in this folder: start `batch-aggregator` in place of `faust -A app`, rename the other one, "
        "or install this application into an environment of its own",
        "本应用的包 `tables`（{ours}）无法使用，其位置被另一个包占用（{found}），例如 PyTables 或当前文件夹中的同名包："
        "请用 `batch-aggregator` 代替 `faust -A app`，或给另一个包改名，或把本应用安装到单独的环境中",
        ours=ours,
        found=found,
    )
