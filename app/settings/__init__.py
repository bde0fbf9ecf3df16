"""Every setting of the application: one frozen class, read once from the environment and a `.env` file.

The class grows in steps, one module for each part of the application; a check across fields stands with the later one.
`load_settings()` is the only reader of the environment; `Settings(...)` takes what it is given and nothing else, so
that a test never picks up a stray variable. A field that is here is obeyed.
"""

from __future__ import annotations

from app.settings.environment import SettingsError
from app.settings.loading import load_settings
from app.settings.model import PREFIX
from app.settings.watching import WatchingSettings as Settings

__all__ = ["PREFIX", "Settings", "SettingsError", "load_settings"]
