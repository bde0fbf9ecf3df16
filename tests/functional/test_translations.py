"""The documentation in English and Chinese: the same pages, the same parts on each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH_ONLY = {"faust.md", "reference.md"}  # for those who change the code, and made of its docstrings
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")) if "zh" not in page.name)]
TRANSLATED = [page for page in PAGES if Path(page).name not in ENGLISH_ONLY]


def chinese(page: str) -> str:
    return page.replace(".md", ".zh-CN.md")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def parts(page: str) -> dict[str, list[str] | int]:
    """Levels of headings, columns of table rows, languages of code blocks, and how many points of lists."""
    text = without_code(read(page))
    return {
        "headings": re.findall(r"^(#+) ", text, re.MULTILINE),
        "rows": ["|" * line.count("|") for line in text.splitlines() if line.startswith("|")],
        "code": re.findall(r"^```(\w+)$", read(page), re.MULTILINE),
        "points": len(re.findall(r"^(?:-|\d\.) ", text, re.MULTILINE)),
    }


def anchors(page: str) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_page_has_the_same_parts_in_both_languages(page: str) -> None:
    assert parts(page) == parts(chinese(page))


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_page_links_to_its_other_language(page: str) -> None:
    assert f"[中文]({Path(chinese(page)).name})" in read(page)
    assert f"[English]({Path(page).name})" in read(chinese(page))


@pytest.mark.parametrize("page", [*PAGES, *map(chinese, TRANSLATED)])
def test_no_link_leads_to_a_file_or_heading_that_is_not_there(page: str) -> None:
    for path, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", without_code(read(page))):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{path}#{anchor}"
