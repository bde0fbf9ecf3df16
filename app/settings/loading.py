"""Reads the settings from the environment and a `.env` file, and reports everything that is wrong with them at once.

A program may give some as keyword arguments; the environment and the file are over these.

A problem is one line: the key or keyword, the value found, what is allowed. It never holds the value of an unknown key
or of a secret.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from pydantic import SecretStr, ValidationError

from app.settings.model import PREFIX, Settings
from app.settings.shown import CREDENTIALS, HIDDEN

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHOWN: Final = 200
_CLEARER: Final = {
    "bool_parsing": "must be true or false",
    "zoneinfo_str": "must be an IANA time zone, such as Asia/Shanghai",
}
_NAMES: Final = {PREFIX + name.upper(): name for name in Settings.model_fields}
CALLBACKS: Final = ("callback", "batch_callback")  # each takes the other's place
_NOTHING_GIVEN: Final[Mapping[str, object]] = MappingProxyType({})


class SettingsError(Exception):
    """The settings cannot be used. The text has one line for each problem: key, value found, what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Given(NamedTuple):
    """The text found for a key. `where` names the file that it stood in, as a problem has it behind the key."""

    text: str
    where: str = ""


def load_settings(
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
    given: Mapping[str, object] = _NOTHING_GIVEN,
) -> Settings:
    """Return the settings from `environ` (default: the process's) over those in `env_file`, which need not exist.

    An empty value is the same as none. Values in the file are taken as they stand: nothing like `${HOME}` is replaced.

    Args:
        environ: variables by name.
        env_file: lines `KEY=value`.
        given: by the program, under both: values by keyword, which is a key in lower case without `AGG_`.

    Raises:
        SettingsError: A key is unknown, a value is bad, or the file cannot be read. It has all problems at once.
    """
    found, problems = find_keys(os.environ if environ is None else environ, env_file)
    problems += [_unknown_key(key, text) for key, text in found.items() if key not in _NAMES]
    problems += [_unknown_keyword(name) for name in given if name not in Settings.model_fields]
    texts = {name: found[key].text for key, name in _NAMES.items() if key in found}
    replaced = CALLBACKS if any(name in texts for name in CALLBACKS) else ()
    given = {name: value for name, value in given.items() if name in Settings.model_fields and name not in replaced}
    try:
        settings = Settings(**{**given, **texts})
    except ValidationError as error:
        # A default that is computed from a bad field has not been computed. The bad field is reported already.
        bad = [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]
        problems += [_bad_value(detail, found, given) for detail in bad]
    if problems:
        raise SettingsError(problems)
    return settings


def find_keys(environ: Mapping[str, str], env_file: Path | None) -> tuple[dict[str, Given], list[str]]:
    """Return the keys that begin with `AGG_` (in any case) and have a value, those of `environ` over the file's.

    Also returns the problems of the file, each a line.
    """
    found, problems = _read_env_file(env_file) if env_file is not None else ({}, [])
    found |= {key: Given(text) for key, text in environ.items() if text}
    return {key: given for key, given in found.items() if key.upper().startswith(PREFIX)}, problems


def _read_env_file(path: Path) -> tuple[dict[str, Given], list[str]]:
    if not path.exists() or path.is_dir():  # a folder of that name is somebody's virtual environment
        return {}, []
    from dotenv.parser import parse_stream  # noqa: PLC0415 - costs a command that has no such file a part of its start

    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError:
        return {}, [f"{path}: must be UTF-8 text"]
    except OSError as error:
        return {}, [f"{path}: must be readable: {error.strerror}"]
    found = {line.key: Given(line.value, f" (in {path})") for line in bindings if line.key and line.value}
    bad = [line.original.line for line in bindings if line.error or (line.key is not None and line.value is None)]
    return found, [f"{path}, line {number}: must be KEY=value, a comment or empty" for number in bad]


def _unknown_key(key: str, given: Given) -> str:
    """Name the close ones of the known keys, or all, and not the value: it may be a misspelt password's."""
    bare = [name.upper() for name in Settings.model_fields]  # the prefix would make all keys look alike
    close = difflib.get_close_matches(key.upper().removeprefix(PREFIX), bare, n=3)
    if close:
        hint = f"did you mean {' or '.join(PREFIX + name for name in close)}?"
    else:
        hint = f"the keys are {', '.join(_NAMES)}"
    return f"{key}{given.where}: unknown key; {hint}"


def _unknown_keyword(name: str) -> str:
    """Name the close ones of the known keywords, or all."""
    close = difflib.get_close_matches(name.lower().removeprefix(PREFIX.lower()), Settings.model_fields, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the keywords are {', '.join(Settings.model_fields)}"
    return f"{name}: unknown keyword; {hint}"


def _bad_value(detail: ErrorDetails, found: Mapping[str, Given], given: Mapping[str, object]) -> str:
    """Say what is wrong with the value found for a key, or given for a keyword, or with the default of neither."""
    name = str(detail["loc"][0])
    key = PREFIX + name.upper()
    value: object
    cause = detail.get("ctx", {}).get("error")
    allowed = cause or _CLEARER.get(detail["type"]) or detail["msg"].replace("Input should", "must", 1)
    if key in found:
        place, where, value = key, found[key].where, found[key].text
    elif name in given:
        place, where, value = name, "", given[name]
    else:
        default = detail["input"]
        return f"{key} ({'not set' if default is None else f'default {default!r}'}): {allowed}"
    is_secret = SecretStr in get_args(Settings.model_fields[name].annotation)
    return f"{place}={'(hidden)' if is_secret else _shown(value)}{where}: {allowed}"


def _shown(value: object) -> str:
    """Print a value in one line, without credentials, and not all of a long one."""
    text = CREDENTIALS.sub(f"{HIDDEN}@", value if isinstance(value, str) else " ".join(repr(value).split()))
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return repr(text) if isinstance(value, str) else text
