"""Every setting of the application: one frozen class, read once from the environment and a `.env` file.

`load_settings()` is the only reader of the environment. `Settings(...)` takes only what it is given, so that a test
never picks up a stray variable. A field that is here is obeyed.
"""

from __future__ import annotations

from app.settings.loading import SettingsError, load_settings
from app.settings.model import Settings

__all__ = ["Settings", "SettingsError", "load_settings"]
