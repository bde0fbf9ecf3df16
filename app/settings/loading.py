"""Reads the settings from the environment and a `.env` file, and reports everything that is wrong with them at once.

A program may give some as keyword arguments; the environment and the file are over these.

A problem is one line: the key or keyword, the value found, what is allowed. It never holds the value of an unknown key
or of a secret.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from app.settings.enums import Language
from app.settings.model import PREFIX, Settings
from app.settings.shown import CREDENTIALS, HIDDEN
from app.words import Words, both_of, told, words

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, InitErrorDetails

_SHOWN: Final = 200
_CLEARER: Final = {
    "bool_parsing": words("must be true or false", "必须为 true 或 false"),
    "zoneinfo_str": words("must be an IANA time zone, such as Asia/Shanghai", "必须是 IANA 时区，例如 Asia/Shanghai"),
}
_NAMES: Final = {PREFIX + name.upper(): name for name in Settings.model_fields}
_LANGUAGE: Final = f"{PREFIX}LOG_LANGUAGE"
# What pydantic says of a value, by the type of the error; what is not here is told in English.
_PYDANTIC: Final = {
    "enum": "必须为 {expected}",
    "float_parsing": "必须是有效的数字，无法解析该文本",
    "float_type": "必须是有效的数字",
    "finite_number": "必须是有限的数字",
    "int_parsing": "必须是有效的整数，无法解析该文本",
    "int_type": "必须是有效的整数",
    "int_from_float": "必须是有效的整数，而该数字带有小数部分",
    "int_parsing_size": "无法解析为整数：超出允许的最大长度",
    "greater_than": "必须大于 {gt}",
    "greater_than_equal": "必须大于或等于 {ge}",
    "less_than": "必须小于 {lt}",
    "less_than_equal": "必须小于或等于 {le}",
    "string_type": "必须是文本",
    "bool_type": "必须为 true 或 false",
    "tuple_type": "必须是列表",
    "path_type": "不是有效的路径",
}
CALLBACKS: Final = ("callback", "batch_callback")  # each takes the other's place
_NOTHING_GIVEN: Final[Mapping[str, object]] = MappingProxyType({})


class SettingsError(Exception):
    """The settings cannot be used. The text has one line for each problem: key, value found, what is allowed.

    Attributes:
        problems: the lines, which may be in both languages.
        language: the one in which the text is, as far as the settings say.
    """

    def __init__(self, problems: Iterable[str], language: Language = Language.EN) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        self.language = language
        super().__init__("\n".join(told(problem, language) for problem in self.problems))


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

    An empty value is the same as none, and blanks around one do not count, unless it is a secret. Values in the file
    are taken as they stand: nothing like `${HOME}` is replaced.

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
    texts = {name: _bare(name, found[key].text) for key, name in _NAMES.items() if key in found}
    replaced = CALLBACKS if any(name in texts for name in CALLBACKS) else ()
    known = {name: value for name, value in given.items() if name in Settings.model_fields and name not in replaced}
    given = {name: _bare(name, value) for name, value in known.items()}
    try:
        settings = Settings(**{**given, **texts})
    except ValidationError as error:
        problems += [_bad_value(detail, found, given) for detail in _faults(error)]
    if problems:
        raise SettingsError(problems, language_of(texts.get("log_language", given.get("log_language"))))
    return settings


def overruled(given: Mapping[str, object], found: Mapping[str, Given]) -> list[tuple[str, Words]]:
    """Return what takes the place of values given by keyword: the key, and a text that has both values.

    Args:
        given: values by keyword.
        found: see `find_keys`.
    """
    over = []
    for name, value in given.items():
        names = [name, *CALLBACKS] if name in CALLBACKS else [name]
        key = next((key for key in (PREFIX + one.upper() for one in names) if key in found), None)
        if key is None or (key == PREFIX + name.upper() and found[key].text == str(value)):
            continue
        hidden = words("(hidden)", "（已隐藏）") if _is_secret(name) else None
        text = words(
            "{text}{where} is over the keyword {name}={value}",
            "{text}{where}，优先于关键字参数 {name}={value}",
            text=hidden or _shown(found[key].text),
            where=found[key].where,
            name=name,
            value=hidden or _shown(value),
        )
        over.append((key, text))
    return over


def settings_of(keywords: Mapping[str, Any], others: Sequence[str] = ()) -> Settings:
    """Return the settings that the keywords ask for, and nothing else; `others` are keywords that are no settings.

    Raises:
        ValidationError: A keyword is unknown, or a value is bad. Its text has the lines of a `SettingsError`.
    """
    try:
        return Settings(**keywords)
    except ValidationError as error:
        language = language_of(keywords.get("log_language"))
        faults = [_in_our_words(detail, keywords, others, language) for detail in _faults(error)]
        raise ValidationError.from_exception_data(error.title, faults, hide_input=True) from None


def _in_our_words(
    detail: ErrorDetails, keywords: Mapping[str, object], others: Sequence[str], language: Language
) -> InitErrorDetails:
    """Return the same fault with our line for its text."""
    name = str(detail["loc"][0])
    line = _bad_value(detail, {}, keywords) if name in Settings.model_fields else _unknown_keyword(name, others)
    text: Any = told(line, language)
    kind: Any = detail["type"]
    return {"type": PydanticCustomError(kind, text), "loc": detail["loc"], "input": detail["input"]}


def _faults(error: ValidationError) -> list[ErrorDetails]:
    """Leave out defaults that are computed from a bad field, and have not been: the bad field is a fault already."""
    return [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]


def language_of(value: object) -> Language:
    """Return the language that a setting asks for which nobody has checked yet; English where that says nothing."""
    bare = value.strip() if isinstance(value, str) else value
    return Language.ZH if bare == Language.ZH else Language.EN


def found_language(environ: Mapping[str, str], env_file: Path | None = Path(".env")) -> Language:
    """Return the language for what is to be told before there are settings."""
    found, _ = find_keys(environ, env_file)
    return language_of(found[_LANGUAGE].text if _LANGUAGE in found else None)


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
        return {}, [words("{path}: must be UTF-8 text", "{path}：必须是 UTF-8 文本", path=path)]
    except OSError as error:
        return {}, [words("{path}: must be readable: {why}", "{path}：必须可读：{why}", path=path, why=error.strerror)]
    found = {
        line.key: Given(line.value, words(" (in {path})", "（在 {path} 中）", path=path))
        for line in bindings
        if line.key and line.value
    }
    bad = [line.original.line for line in bindings if line.error or (line.key is not None and line.value is None)]
    return found, [
        words(
            "{path}, line {number}: must be KEY=value, a comment or empty",
            "{path} 第 {number} 行：必须是 KEY=value、注释或空行",
            path=path,
            number=number,
        )
        for number in bad
    ]


def _unknown_key(key: str, given: Given) -> str:
    """Name the close ones of the known keys, or all, and not the value: it may be a misspelt password's."""
    bare = [name.upper() for name in Settings.model_fields]  # the prefix would make all keys look alike
    close = difflib.get_close_matches(key.upper().removeprefix(PREFIX), bare, n=3)
    if close:
        hint = _meant([PREFIX + name for name in close])
    else:
        hint = words("the keys are {names}", "可用的键：{names}", names=", ".join(_NAMES))
    key = key.encode(errors="backslashreplace").decode()  # it may have bytes that are not UTF-8
    return words(
        "{key}{where}: unknown key; {hint}", "{key}{where}：未知的键；{hint}", key=key, where=given.where, hint=hint
    )


def _unknown_keyword(name: str, others: Sequence[str] = ()) -> str:
    """Name the close ones of the known keywords, or all; `others` are known beside the settings."""
    known = [*others, *Settings.model_fields]
    close = difflib.get_close_matches(name.lower().removeprefix(PREFIX.lower()), known, n=3)
    every = ", ".join(known)
    hint = _meant(close) if close else words("the keywords are {every}", "可用的关键字参数：{every}", every=every)
    return words("{name}: unknown keyword; {hint}", "{name}：未知的关键字参数；{hint}", name=name, hint=hint)


def _meant(close: Sequence[str]) -> Words:
    return words("did you mean {en}?", "是否想写 {zh}？", en=" or ".join(close), zh=" 或 ".join(close))


def _bad_value(detail: ErrorDetails, found: Mapping[str, Given], given: Mapping[str, object]) -> str:
    """Say what is wrong with the value found for a key, or given for a keyword, or with the default of neither."""
    name = str(detail["loc"][0])
    key = PREFIX + name.upper()
    value: object
    cause = detail.get("ctx", {}).get("error")
    allowed = both_of(cause) if isinstance(cause, ValueError) else _CLEARER.get(detail["type"]) or _allowed(detail)
    if key in found:
        place, where, value = key, found[key].where, found[key].text
    elif name in given:
        place, where, value = name, "", given[name]
    else:
        default = detail["input"]
        state = words("not set", "未设置") if default is None else words("default {it!r}", "默认值 {it!r}", it=default)
        return words("{key} ({state}): {allowed}", "{key}（{state}）：{allowed}", key=key, state=state, allowed=allowed)
    return words(
        "{place}={value}{where}: {allowed}",
        "{place}={value}{where}：{allowed}",
        place=place,
        value=words("(hidden)", "（已隐藏）") if _is_secret(name) else _shown(value),
        where=where,
        allowed=allowed,
    )


def _bare(name: str, value: Any) -> Any:
    """Return the value of a setting without the blanks around it; a secret may begin and end with some."""
    return value.strip() if isinstance(value, str) and not _is_secret(name) else value


def _is_secret(name: str) -> bool:
    return SecretStr in get_args(Settings.model_fields[name].annotation)


def _allowed(detail: ErrorDetails) -> str:
    """Say what pydantic allows where it has found something else."""
    en = detail["msg"].replace("Input should", "must", 1)
    zh = _PYDANTIC.get(detail["type"])
    return en if zh is None else Words(en, zh.format_map(_zh_context(detail)))


def _zh_context(detail: ErrorDetails) -> dict[str, object]:
    context = dict(detail.get("ctx", {}))
    if isinstance(expected := context.get("expected"), str):
        context["expected"] = expected.replace(" or ", " 或 ")
    return context


def _shown(value: object) -> str:
    """Print a value in one line, without credentials, and not all of a long one."""
    text = CREDENTIALS.sub(f"{HIDDEN}@", value if isinstance(value, str) else " ".join(repr(value).split()))
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return repr(text) if isinstance(value, str) else text
