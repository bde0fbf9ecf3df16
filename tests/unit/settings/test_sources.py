"""Where settings come from: the environment and the `.env` file."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from app.settings import SettingsError, load_settings
from tests.settings_loading import LOGIN, load, problem_of, problems_of


def test_the_environment_and_the_file_here_are_read_when_nothing_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("AGG_MODULE=from_file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGG_PARTITIONS", "3")
    settings = load_settings()
    assert (settings.module, settings.partitions) == ("from_file", 3)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_PARTITIONS=4\n# ours\nexport AGG_MODULE='a'\nOTHER=1\n", encoding="utf-8-sig")
    settings = load_settings({"AGG_MODULE": "b", "PATH": "/bin"}, env_file)
    assert (settings.module, settings.partitions) == ("b", 4)


def test_an_empty_value_is_the_same_as_none(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_MODULE=a\nAGG_WINDOW_STEP=\n")
    settings = load_settings({"AGG_MODULE": "", "AGG_PARTITIONS": ""}, env_file)
    assert (settings.module, settings.partitions, settings.window_step) == ("a", 8, None)


def test_a_value_in_the_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_SASL_PASSWORD='a${HOME}$b'\n")
    settings = load_settings({**LOGIN, "AGG_SASL_PASSWORD": ""}, env_file)
    assert settings.sasl_password == SecretStr("a${HOME}$b")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("output_meta", " false ", False),
        ("log_language", "zh ", "zh"),
        ("batch_timeout", " 5 ", 5.0),
        ("module", "\ta", "a"),
        ("timezone", " UTC\n", ZoneInfo("UTC")),
        ("callback", " a:b ", "a:b"),
        ("web_advertised_url", " http://w:1/ ", "http://w:1"),
        ("required_stations", " A 1 , B ", ("A 1", "B")),
        ("web_token", "geheim", SecretStr("geheim")),
    ],
)
def test_blanks_around_a_value_do_not_count(name: str, text: str, value: object) -> None:
    assert getattr(load(**{name: text}), name) == value
    assert getattr(load_settings({}, None, {name: text}), name) == value


def test_blanks_around_a_secret_are_part_of_it() -> None:
    assert load_settings(LOGIN, None).sasl_password == SecretStr(" geheim ")
    assert problem_of("AGG_WEB_TOKEN", " geheim") == (
        "AGG_WEB_TOKEN=(hidden): must be printable ASCII without blanks: it travels in an HTTP header"
    )


def test_the_language_of_problems_is_known_by_the_same_rule() -> None:
    with pytest.raises(SettingsError, match=r"^AGG_PARTITIONS='a'：必须是"):
        load_settings({"AGG_LOG_LANGUAGE": "zh ", "AGG_PARTITIONS": "a"}, None)


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_there_need_be_no_file(tmp_path: Path, make: str) -> None:
    env_file = tmp_path / ".env"
    if make == "folder":
        env_file.mkdir()
    assert load_settings({}, env_file) == load_settings({}, None)


def test_a_line_of_the_file_that_cannot_be_read_is_told_without_its_text(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_MODULE=a\n'geheim\nAGG_PARTITIONS\n")
    assert problems_of({}, env_file) == (
        f"{env_file}, line 2: must be KEY=value, a comment or empty",
        f"{env_file}, line 3: must be KEY=value, a comment or empty",
    )


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes("AGG_MODULE=负荷".encode("gbk"))
    assert problems_of({}, env_file) == (f"{env_file}: must be UTF-8 text",)
