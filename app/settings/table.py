"""The settings tables of both READMEs, made from the class.

`python -m app.settings_table --check README.md README.zh-CN.md`, or with `--write`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from app.settings import PREFIX, Settings
from app.settings.enums import Language
from app.settings.types import Unit

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["main", "settings_table"]

BEGIN: Final = "<!-- settings:begin -->"
END: Final = "<!-- settings:end -->"
_HEADS: Final = {Language.EN: ("Key", "Default", "Meaning"), Language.ZH: ("键", "默认值", "含义")}


def settings_table(language: Language) -> str:
    """A Markdown table of key, default and meaning, one row for each setting in the order of the class."""
    lines = [_row(*_HEADS[language]), _row("---", "---", "---")]
    for name, field in Settings.model_fields.items():
        lines.append(_row(f"`{PREFIX}{name.upper()}`", _default(name, field, language), _meaning(field, language)))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(name: str, field: FieldInfo, language: Language) -> str:
    value = getattr(Settings(), name)
    if value in (None, ()):
        return ""
    if isinstance(value, tuple):
        text = ",".join(value)
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text}`{_unit(field, language)}"


def _unit(field: FieldInfo, language: Language) -> str:
    units = [item for item in field.metadata if isinstance(item, Unit)]
    return "".join(f" {unit.zh if language is Language.ZH else unit.en}" for unit in units)


def _meaning(field: FieldInfo, language: Language) -> str:
    """The description; behind it the allowed words of a closed set, and the unit of a number that has no default."""
    extra = field.json_schema_extra
    zh = extra.get("zh") if isinstance(extra, dict) else None
    text = str(zh) if language is Language.ZH else str(field.description)
    opening, closing = ("（", "）") if language is Language.ZH else (" (", ")")
    if isinstance(field.annotation, type) and issubclass(field.annotation, Enum):
        text += opening + ", ".join(f"`{choice.value}`" for choice in field.annotation) + closing
    if type(None) in get_args(field.annotation) and (unit := _unit(field, language)):
        text += opening + unit.strip() + closing
    return text


def _with_table(text: str, language: Language) -> str:
    """The text with the table between its markers.

    Raises:
        ValueError: There is not exactly one pair of markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        message = f"must have one pair of {BEGIN} and {END}"
        raise ValueError(message)
    return f"{before}{BEGIN}\n{settings_table(language)}{END}{after}"


def _update(file: Path, *, write: bool) -> str | None:
    """What is wrong with the file, None if nothing; with `write` a stale table is replaced."""
    language = Language.ZH if "zh" in file.name.lower() else Language.EN
    try:
        text = file.read_text(encoding="utf-8")
        new = _with_table(text, language)
    except (OSError, ValueError) as error:
        return f"{file}: {error}"
    if new == text:
        return None
    if not write:
        return f"{file}: the settings table is stale: run python -m app.settings_table --write {file}"
    file.write_text(new, encoding="utf-8")
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every file has the table of today, else 1 and a line on stderr for each that has not."""
    parser = argparse.ArgumentParser(
        prog="python -m app.settings_table", description="The settings tables of the READMEs"
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="exit code 1 when a table is stale")
    action.add_argument("--write", action="store_true", help="bring the tables up to date")
    parser.add_argument("files", nargs="+", type=Path, help="with zh in the name: Chinese")
    options = parser.parse_args(arguments)
    problems = [problem for file in options.files if (problem := _update(file, write=options.write))]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
