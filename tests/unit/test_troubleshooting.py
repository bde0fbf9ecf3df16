"""The page of symptoms quotes what the program says: in both languages the same, and nothing that it does not say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "troubleshooting.md", ROOT / "docs" / "troubleshooting.zh-CN.md"]
# Adjacent literals are one text.
SAID = re.sub(r'"\s+f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py")))


def symptoms(page: Path) -> list[list[str]]:
    """What is quoted in the first column of each row."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows]


def test_both_languages_have_the_same_symptoms() -> None:
    english, chinese = map(symptoms, PAGES)
    assert english == chinese
    assert sum(map(len, english)) > 30


@pytest.mark.parametrize("quoted", sorted({text for row in symptoms(PAGES[0]) for text in row}))
def test_what_is_quoted_is_said(quoted: str) -> None:
    command = re.fullmatch(r"faust -A app ([a-z-]+)", quoted)
    letter = re.fullmatch(r"Dead letter \((.*)\)", quoted)
    name = re.fullmatch(r"batch_aggregator_(\w+)", quoted)
    wanted = next((found[1] for found in (command, letter, name) if found), quoted)
    assert wanted in SAID
