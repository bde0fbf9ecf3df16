"""The settings as others may see them: no secret, and no credentials inside of an address. Pure."""

from __future__ import annotations

import re
from typing import Any, Final, get_args

from pydantic import SecretStr

from app.settings.model import PREFIX, Settings

HIDDEN: Final = "***"
CREDENTIALS: Final = re.compile(r"[^/;,\s]*@")  # of an address

# What names one worker, or where it is found: it has to differ where they share a machine.
PLACES: Final = frozenset({"AGG_INSTANCE_ID", "AGG_WEB_HOST", "AGG_WEB_PORT", "AGG_WEB_ADVERTISED_URL"})


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Return the effective values by key, as JSON has them; a secret that is set is `***`, one that is not is None."""
    values = settings.model_dump(mode="json")
    return {
        f"{PREFIX}{name.upper()}": _shown(values[name], is_secret=SecretStr in get_args(field.annotation))
        for name, field in Settings.model_fields.items()
    }


def _shown(value: Any, *, is_secret: bool) -> Any:
    if is_secret:
        return None if value is None else HIDDEN
    return CREDENTIALS.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value
