"""The settings tables of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from app.settings.enums import Language
from app.settings.table import BEGIN, END, main, settings_table


def test_every_setting_is_described_in_both_languages() -> None:
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert field.description, name
        assert isinstance(extra, dict), name
        assert extra["zh"], name


def test_the_table_has_a_row_for_each_setting() -> None:
    english, chinese = settings_table(Language.EN).splitlines(), settings_table(Language.ZH).splitlines()
    assert len(english) == len(chinese) == 2 + len(Settings.model_fields)
    assert "| `AGG_BATCH_TIMEOUT` | `5` s | From the opening of a batch to its deadline |" in english
    assert "| `AGG_BATCH_TIMEOUT` | `5` 秒 | 批次从建立到截止的时间 |" in chinese
    start = (
        "Where reading of source and pass-through topics begins when nothing is committed yet (`earliest`, `latest`)"
    )
    assert f"| `AGG_START` | `earliest` | {start} |" in english


def test_a_stale_table_is_found_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    english, chinese = tmp_path / "README.md", tmp_path / "README.zh-CN.md"
    for file in (english, chinese):
        file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    files = [str(english), str(chinese)]
    assert main(["--check", *files]) == 1
    assert "README.md: the settings table is stale" in capsys.readouterr().err
    assert main(["--write", *files]) == 0
    assert main(["--check", *files]) == 0
    assert english.read_text() == f"before\n{BEGIN}\n{settings_table(Language.EN)}{END}\nafter\n"
    assert chinese.read_text() == f"before\n{BEGIN}\n{settings_table(Language.ZH)}{END}\nafter\n"


@pytest.mark.parametrize("text", ["no markers", f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    assert main(["--write", str(file)]) == 1
    assert file.read_text() == text
