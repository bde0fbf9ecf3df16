"""The Python of the documents, as a reader would save and run it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "assert_tests_pass", "code_of", "load", "python_files"]

ROOT = Path(__file__).parents[2]


def python_files(document: str) -> dict[str, str]:
    """The Python blocks of a document of the repository by the file name in their first line."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(# (\w+\.py)\n.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return {name: block for block, name in blocks}


def code_of(document: str) -> dict[str, str]:
    """The same without comments and docstrings, which are in the language of the document."""
    return {name: re.sub(r'\s*("""|#).*', "", text) for name, text in python_files(document).items()}


def load(folder: Path, document: str, name: str) -> Any:
    """The module of one of these blocks, saved in a folder."""
    path = folder / name
    path.write_text(python_files(document)[name], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_tests_pass(folder: Path, document: str, name: str, count: int) -> None:
    """Save all of them, and have pytest run one, which must hold so many tests."""
    for file, text in python_files(document).items():
        (folder / file).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} passed" in done.stdout
