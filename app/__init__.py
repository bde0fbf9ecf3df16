"""Station batch aggregator: one message in with all charging stations of a batch, one merged message out.

`app.app` is the Faust application that `faust -A app worker` finds. It is built when it is first asked for (PEP 562):
importing a pure module of this package builds nothing and reads no environment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

    app: AggregatorApp

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    # As below: imported where it is wanted.
    from app.cli.commands import commands_alone, only_commands_are_wanted  # noqa: PLC0415

    if only_commands_are_wanted(("app", "app:app", "app.app")):
        return commands_alone()
    # `faust` has the folder that one stands in on the path only while it imports this package: too short a time for
    # what is imported below, and for the user's functions.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    # Imported here, where the application is wanted, and not with any pure module of the package.
    from app.application import create_app  # noqa: PLC0415
    from app.settings import SettingsError, load_settings  # noqa: PLC0415

    try:
        application = create_app(load_settings())
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    globals()["app"] = application
    return application
