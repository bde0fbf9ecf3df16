"""Reads the settings, and tells everything that is wrong with them at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from app.settings.environment import Given, SettingsError, bad_value, find_keys, unknown_key
from app.settings.model import PREFIX
from app.settings.watching import WatchingSettings as Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["load_settings"]

_SAID_BETTER: Final = {
    "bool_parsing": "must be true or false",
    "path_not_file": "must be the path of a file that exists",
    "zoneinfo_str": "must be an IANA time zone, such as Asia/Shanghai",
}


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """The settings from `environ` (default: the process's) over those in `env_file`, which need not exist.

    An empty value is the same as none. Values in the file are taken as they stand: nothing like `${HOME}` is replaced.

    Raises:
        SettingsError: A key is unknown, a value is bad, or the file cannot be read. It tells all problems at once.
    """
    keys = {PREFIX + name.upper(): name for name in Settings.model_fields}
    found, problems = find_keys(PREFIX, os.environ if environ is None else environ, env_file)
    problems += [unknown_key(PREFIX, key, given, keys) for key, given in found.items() if key not in keys]

    source = EnvSettingsSource(Settings)
    source.env_vars = {key.lower(): found[key].text for key in keys if key in found}
    try:
        settings = Settings(**source())
    except ValidationError as error:
        problems += [_problem(detail, found) for detail in error.errors() if _is_own_problem(detail)]
    if problems:
        raise SettingsError(problems)
    return settings


def _is_own_problem(detail: ErrorDetails) -> bool:
    """False for a default that could not be computed since a field before it is bad: that one is told already."""
    return detail["type"] != "default_factory_not_called"


def _problem(detail: ErrorDetails, found: Mapping[str, Given]) -> str:
    name = str(detail["loc"][0])
    cause = detail.get("ctx", {}).get("error")
    said = _SAID_BETTER.get(detail["type"]) or detail["msg"].replace("Input should", "must", 1)
    secret = SecretStr in get_args(Settings.model_fields[name].annotation)
    key = PREFIX + name.upper()
    return bad_value(key, found.get(key), default=detail["input"], allowed=str(cause or said), secret=secret)
