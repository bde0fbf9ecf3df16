"""Where the programs of this folder keep their logs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logs_folder(chosen: Path | None, prefix: str) -> Iterator[Path]:
    """Yield a folder that is there: what was chosen is kept; else one of that prefix, for a while."""
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-", ignore_cleanup_errors=True) as temporary:
        folder = chosen or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
