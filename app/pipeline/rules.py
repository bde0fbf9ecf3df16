"""The policies that the settings choose."""

from __future__ import annotations

from app.settings import Settings
from app.settings.enums import TimeoutMode
from tables.model.policies import PartialPolicy, ReleasePolicy, Rules
from tables.model.timeouts import AdaptiveTimeout, FixedTimeout, TimeoutPolicy

__all__ = ["rules_of", "timeouts_of"]


def rules_of(settings: Settings) -> Rules:
    """What the batches of a partition go by."""
    required = frozenset(settings.required_stations)
    return Rules(
        max_age=settings.max_batch_age,
        partial=PartialPolicy(settings.partial_min_ratio, required),
        release=ReleasePolicy(settings.release_ratio, required),
        late=settings.late_policy,
        revise_delay=settings.revise_delay,
    )


def timeouts_of(settings: Settings) -> TimeoutPolicy:
    """What a batch is given when it is opened."""
    if settings.timeout_mode is TimeoutMode.ADAPTIVE:
        return AdaptiveTimeout(settings.batch_timeout, settings.timeout_min, settings.timeout_max)
    return FixedTimeout(settings.batch_timeout)
