"""`make audit` says what it has looked up: a service that knows nothing is no clean bill."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests import audit

SAFE = {"name": "click", "version": "8.1", "vulns": []}
HOLE = {"name": "h11", "version": "0.1", "vulns": [{"id": "CVE-1", "fix_versions": ["0.2"]}]}
UNKNOWN = {"name": "faust-streaming", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ({"pypi": [SAFE]}, 0, "lock: 1 packages looked up at pypi, 0 known vulnerabilities"),
        ({"pypi": [SAFE, HOLE]}, 1, "h11 0.1: CVE-1, mended in 0.2"),
        ({"pypi": [SAFE, UNKNOWN]}, 77, "not looked up: faust-streaming"),
        ({"pypi": [UNKNOWN], "osv": [SAFE, HOLE]}, 1, "pypi does not answer, or knows none of the packages"),
        ({"pypi": [UNKNOWN], "osv": []}, 77, "not to be had: lock was not audited"),
    ],
)
def test_only_what_was_looked_up_counts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, list[dict[str, Any]]],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(audit, "asked", lambda service, _: answers[service])
    monkeypatch.setattr(sys, "argv", ["audit", "lock"])
    assert audit.main() == code
    assert said in capsys.readouterr().out
