"""The settings tables of the docs, made from the class.

`python -m app.settings.table --check docs/settings.md docs/settings.zh-CN.md`, or with `--write`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from app.settings.enums import Language
from app.settings.model import PREFIX, Settings
from app.settings.types import Unit

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

BEGIN: Final = "<!-- settings:begin -->"
END: Final = "<!-- settings:end -->"
_HEADS: Final = {Language.EN: ("Key", "Default", "Meaning"), Language.ZH: ("键", "默认值", "含义")}


def settings_table(language: Language) -> str:
    """Return a Markdown table of key, default and meaning: a row for each setting, in the order of the class."""
    rows = [_HEADS[language], ("---", "---", "---")]
    for name, field in Settings.model_fields.items():
        rows.append((f"`{PREFIX}{name.upper()}`", _default(name, field, language), _meaning(field, language)))
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


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
    """Return the description, with the allowed words of a closed set or the unit of a number that has no default."""
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
    """Return the text with the table between its markers.

    Raises:
        ValueError: There is not exactly one pair of markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end and BEGIN not in after and END not in after):
        message = f"must have one pair of {BEGIN} and {END}"
        raise ValueError(message)
    return f"{before}{BEGIN}\n{settings_table(language)}{END}{after}"


def _update(file: Path, *, write: bool) -> str | None:
    """Return what is wrong with the file, None if nothing; with `write` a stale table is replaced."""
    try:
        text = file.read_text(encoding="utf-8")
        new = _with_table(text, Language.ZH if "zh" in file.name.lower() else Language.EN)
    except (OSError, ValueError) as error:
        return f"{file}: {error}"
    if write and new != text:
        file.write_text(new, encoding="utf-8")
    elif new != text:
        return f"{file}: the settings table is stale: run python -m app.settings.table --write {file}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when every file has the table of today; else 1, with a line on stderr for each that has not."""
    parser = argparse.ArgumentParser(prog="python -m app.settings.table", description="The settings tables of the docs")
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
