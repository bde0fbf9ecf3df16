"""The keys of one prefix as they stand in the environment and a `.env` file, and how what is wrong with them is told.

A problem is one line: the key, the value found, what is allowed. Values of unknown keys and of secrets are never in it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from dotenv.parser import parse_stream

__all__ = ["Given", "SettingsError", "bad_value", "find_keys", "unknown_key"]

_SHOWN: Final = 200
_CREDENTIALS: Final = re.compile(r"[^/;,\s]*@")


class SettingsError(Exception):
    """The settings cannot be used. The text has one line for each problem: key, value found, what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Given(NamedTuple):
    """What was found for one key: its text, and the file it stood in (None: the environment)."""

    text: str
    file: Path | None = None

    @property
    def where(self) -> str:
        """The file, as it is put behind the key in a message."""
        return f" (in {self.file})" if self.file else ""


def find_keys(prefix: str, environ: Mapping[str, str], env_file: Path | None) -> tuple[dict[str, Given], list[str]]:
    """The keys that begin with `prefix` (in any case) and have a value, those of `environ` over the file's.

    Also returns the problems of the file, each a line.
    """
    found, problems = _read_env_file(env_file) if env_file is not None else ({}, [])
    found |= {key: Given(text) for key, text in environ.items() if text}
    return {key: given for key, given in found.items() if key.upper().startswith(prefix)}, problems


def _read_env_file(path: Path) -> tuple[dict[str, Given], list[str]]:
    if not path.exists() or path.is_dir():  # a folder of that name is somebody's virtual environment
        return {}, []
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError:
        return {}, [f"{path}: must be UTF-8 text"]
    except OSError as error:
        return {}, [f"{path}: must be readable: {error.strerror}"]
    found = {line.key: Given(line.value, path) for line in bindings if line.key and line.value}
    bad = [line.original.line for line in bindings if line.error or (line.key is not None and line.value is None)]
    return found, [f"{path}, line {number}: must be KEY=value, a comment or empty" for number in bad]


def unknown_key(prefix: str, key: str, given: Given, known: Iterable[str]) -> str:
    """Names the close ones of the known keys, or all, and not the value: it may be a misspelt password's."""
    bare = [name.removeprefix(prefix) for name in known]  # the prefix would make all keys look alike
    close = difflib.get_close_matches(key.upper().removeprefix(prefix), bare, n=3)
    meant = " or ".join(prefix + name for name in close)
    allowed = ", ".join(prefix + name for name in bare)
    return f"{key}{given.where}: unknown key; {f'did you mean {meant}?' if meant else f'the keys are {allowed}'}"


def bad_value(key: str, given: Given | None, *, default: object, allowed: str, secret: bool) -> str:
    """What is wrong with the value given for `key`, or with its default where none was given."""
    if given is None:
        return f"{key} ({'not set' if default is None else f'default {default!r}'}): {allowed}"
    if secret:
        return f"{key}=(hidden){given.where}: {allowed}"
    text = _CREDENTIALS.sub("***@", given.text)
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
    return f"{key}={shown}{given.where}: {allowed}"
