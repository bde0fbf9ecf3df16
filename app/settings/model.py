"""What every step of the settings class begins with."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

__all__ = ["PREFIX", "GivenSettings", "setting"]

PREFIX: Final = "AGG_"


def setting(default: object, en: str, zh: str) -> Any:
    """A field with its default (or what computes it from the fields before it) and its line in both READMEs."""
    if callable(default):
        return Field(default_factory=default, description=en, json_schema_extra={"zh": zh})
    return Field(default=default, description=en, json_schema_extra={"zh": zh})


class GivenSettings(BaseSettings):
    """No field yet. A field `name` is the key `AGG_NAME`; times are seconds.

    A check across fields stands on the later field and looks at the earlier ones. Pydantic runs a check of the whole
    model only when every field is good, and all problems are to be told at once.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - given by keyword
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given: `load_settings` reads the rest, where it can check the keys."""
        return (init_settings,)
