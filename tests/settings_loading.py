"""Settings from given values, and what is said of those that are wrong, for their tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings

LOGIN = {
    "AGG_SECURITY_PROTOCOL": "SASL_SSL",
    "AGG_SASL_MECHANISM": "SCRAM-SHA-512",
    "AGG_SASL_USERNAME": "plant",
    "AGG_SASL_PASSWORD": " geheim ",
}


def load(**values: str) -> Settings:
    return load_settings({f"AGG_{name.upper()}": value for name, value in values.items()}, env_file=None)


def problems_of(environ: dict[str, str], env_file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, env_file)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def problem_of(key: str, value: str) -> str:
    (problem,) = problems_of({key: value})
    return problem
