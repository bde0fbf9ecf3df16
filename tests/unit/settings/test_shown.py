"""The settings as others may see them."""

from __future__ import annotations

import json

from app.settings import Settings
from app.settings.shown import shown_settings


def test_every_key_is_shown_with_its_effective_value() -> None:
    shown = shown_settings(Settings(batch_timeout=7.5, source_topics="a,b"))
    assert len(shown) == len(Settings.model_fields)
    assert (shown["AGG_BATCH_TIMEOUT"], shown["AGG_SOURCE_TOPICS"]) == (7.5, ["a", "b"])
    assert (shown["AGG_TIMEZONE"], shown["AGG_FILL"], shown["AGG_CALLBACK"]) == ("Asia/Shanghai", "zero", None)
    json.dumps(shown)


def test_a_secret_is_hidden_and_one_that_is_not_set_is_null() -> None:
    settings = Settings(
        web_token="geheim-1",  # noqa: S106
        security_protocol="SASL_PLAINTEXT",
        sasl_username="user",
        sasl_password="geheim-2",  # noqa: S106
    )
    shown = shown_settings(settings)
    assert (shown["AGG_WEB_TOKEN"], shown["AGG_SASL_PASSWORD"], shown["AGG_WEB_READ_TOKEN"]) == ("***", "***", None)
    assert "geheim" not in json.dumps(shown)


def test_credentials_inside_of_an_address_are_hidden() -> None:
    settings = Settings().model_copy(
        update={"broker": "kafka://u:geheim@a:9092;kafka://b:9092", "web_advertised_url": "http://u:geheim@w"}
    )
    shown = shown_settings(settings)
    assert shown["AGG_BROKER"] == "kafka://***@a:9092;kafka://b:9092"
    assert shown["AGG_WEB_ADVERTISED_URL"] == "http://***@w"
