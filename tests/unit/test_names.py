"""The names of files and functions in documents and comments are those of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
CODE = [path for folder in ("app", "tables", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
FILE = re.compile(r"\b(?:app|tables|tests)/[a-z_/]+(?:\.py|\b)")
ARCHITECTURE = [ROOT / "docs" / "architecture.md", ROOT / "docs" / "architecture.zh-CN.md"]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "pyproject.toml", ROOT / "Makefile", *CODE], ids=shown)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = set(FILE.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if name.endswith((".py", "/")) and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ARCHITECTURE, ids=shown)
def test_every_package_stands_in_the_tree_of_the_architecture(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    packages = {f"`app/{path.parent.name}`" for path in (ROOT / "app").glob("*/__init__.py")}
    assert [name for name in sorted(packages) if f"| {name} |" not in text] == []


@pytest.mark.parametrize("page", ARCHITECTURE, ids=shown)
def test_every_function_and_class_of_the_architecture_is_there(page: Path) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in CODE)
    defined = set(re.findall(r"\b(?:def|class) (\w+)", code)) | set(
        re.findall(r"^(\w+)(?:: \w+)? = ", code, re.MULTILINE)
    )
    named = re.findall(r"`(_?[A-Za-z]\w*(?:\.\w+)?)`", page.read_text(encoding="utf-8"))
    names = {name for name in named if re.search(r"[A-Z._]", name) and not re.search(r"\.(?:py|toml)$|^AGG_", name)}
    assert [name for name in sorted(names) if not defined.issuperset(name.split("."))] == []
