"""The proof that the backlog test can fail: a small Faust application that loses messages with Faust's own consumer.

When a recovery ends, Faust resumes the source's partitions while both gates of the flow are open, then seeks to the
committed offsets, then clears the streams' queues. What was fetched in between is gone; with the next message Faust
takes the hole for acknowledged, and commits it. It takes luck to be hit, unless that takes its time (`slow_seek`).
"""

from __future__ import annotations

from typing import Final

__all__ = ["OURS", "SLOW_SEEK", "STOCK_APP"]

STOCK_APP: Final = "tests.integration.stock.application"
SLOW_SEEK: Final = "tests.integration.stock.slow_seek"  # instead of `faust`
OURS: Final = "STOCK_WITH_OUR_CONSUMER"  # an environment variable
