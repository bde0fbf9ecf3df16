"""The reference in docs/reference.md: of today, and with everything that a user is told to import."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reference import ENTRIES, main, markdown, signature

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference.md"


def imported() -> Iterator[tuple[str, str]]:
    """What the documents and examples import of our packages."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")]
    for text in (path.read_text(encoding="utf-8") for path in pages):
        for module, names in re.findall(r"^from (app[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
            for name in names.split(", "):
                yield module, name


def test_the_reference_is_of_today() -> None:
    # In a process of its own: the tests have other defaults here.
    command = [sys.executable, "-m", "tests.reference", "--check", str(REFERENCE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "make reference writes it"


def test_what_the_documents_import_is_in_the_reference() -> None:
    shown = {entry.where for entry in ENTRIES} | {"from app import app"}
    assert {f"from {module} import {name}" for module, name in imported()} <= shown


def test_a_stale_page_is_found_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "reference.md"
    assert main(["--check", str(file)]) == 1
    assert "the reference is stale" in capsys.readouterr().err
    assert main(["--write", str(file)]) == main(["--check", str(file)]) == 0


def test_sections_of_a_docstring_become_lists() -> None:
    arguments = "Args:\n    one: the first: it\n        goes on.\n    two: the second."
    text = f"Do it.\n\n{arguments}\n\nRaises:\n    ValueError: no.\n\nEnd."
    assert list(markdown(text)) == [
        "Do it.",
        "",
        "**Args**",
        "",
        "- `one`: the first: it",
        "  goes on.",
        "- `two`: the second.",
        "",
        "**Raises**",
        "",
        "- `ValueError`: no.",
        "",
        "End.",
    ]


def test_a_signature_is_as_one_calls_it() -> None:
    def function(self: object, one: int, *, two: str = "x") -> bool: ...  # type: ignore[empty-body]

    assert signature("it", function) == "it(one: int, *, two: str = x) -> bool"
