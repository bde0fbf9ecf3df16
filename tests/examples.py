"""How many examples the dearer property tests try: a quarter of them in `make test`, all in `make chaos`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

__all__ = ["ALL_EXAMPLES", "examples"]

ALL_EXAMPLES = "TESTS_ALL_EXAMPLES"  # environment: not empty where all are tried
Test = TypeVar("Test", bound=Callable[..., Any])


def examples(count: int) -> Callable[[Test], Test]:
    """Have a property test try so many examples in `make chaos`, and a quarter of them in `make test`."""
    from hypothesis import settings  # noqa: PLC0415 - pytest has to see it first, and `make chaos` imports this before

    tried = settings(max_examples=count if os.environ.get(ALL_EXAMPLES) else count // 4)

    def with_examples(test: Test) -> Test:
        marked: Test = pytest.mark.examples(tried(test))
        return marked

    return with_examples
