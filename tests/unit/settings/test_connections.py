"""Settings of connections: the broker, the web, logins and secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.settings import Settings, load_settings
from app.settings.enums import (
    SaslMechanism,
)
from tests.settings_loading import LOGIN, load, problem_of, problems_of


@pytest.mark.parametrize(
    ("given", "normalised"),
    [
        ("kafka-1", "kafka://kafka-1:9092"),
        ("10.0.0.1:19092", "kafka://10.0.0.1:19092"),
        ("kafka://a:1;kafka://b:2;", "kafka://a:1;kafka://b:2"),
        ("kafka://a:1; b:2", "kafka://a:1;kafka://b:2"),
        ("[::1]:3", "kafka://[::1]:3"),
    ],
)
def test_brokers_are_taken_as_urls_or_plain_addresses(given: str, normalised: str) -> None:
    settings = load(broker=given)
    assert settings.broker == normalised
    assert settings.bootstrap_servers == normalised.replace("kafka://", "").split(";")


@pytest.mark.parametrize(
    "broker", ["http://a:1", "a:1,b:2", "kafka://", ";", "a:0", "a:x", "a:99999", "[::1", "a:1/b", "a b"]
)
def test_anything_else_is_no_broker(broker: str) -> None:
    assert problem_of("AGG_BROKER", broker).startswith(f"AGG_BROKER={broker!r}: must be kafka://host:port")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_the_web_is_served_on_loopback(host: str) -> None:
    assert load(web_host=host).web_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"])  # noqa: S104
def test_the_web_is_served_elsewhere_only_with_a_token(host: str) -> None:
    (said,) = problems_of({"AGG_WEB_HOST": host})
    assert said == (
        f"AGG_WEB_TOKEN (not set): must be given with AGG_WEB_HOST={host}, or AGG_WEB_READ_TOKEN: only loopback may do "
        "without"
    )
    assert load_settings({"AGG_WEB_HOST": host, "AGG_WEB_TOKEN": "geheim"}, None).web_host == host


@pytest.mark.parametrize("key", ["AGG_WEB_TOKEN", "AGG_WEB_READ_TOKEN"])
@pytest.mark.parametrize(
    "token",
    ["change-me", "CHANGEME", "Change_This!", "change-me-please", "replace-this-with-a-long-random-text", "placeholder",
     "your-token", "YOUR_SECRET_TOKEN", "my-secret", "secret", "token", "Password", "<token>", "<a-long-random-text>",
     "${AGG_WEB_TOKEN}", "$(openssl)", "{{token}}", "[token]", "AGG_WEB_TOKEN", "xxxx", "***", "...", "test", "admin",
     "123456", "example", "todo", "set-me", "put-your-token-here", "insert-token-placeholder", "a-long-random-token"],
)  # fmt: skip
def test_a_token_that_everybody_knows_is_refused_outside_of_loopback(key: str, token: str) -> None:
    (said,) = problems_of({"AGG_WEB_HOST": "0.0.0.0", key: token})  # noqa: S104
    assert said == (
        f"{key}=(hidden): must be a text of your own with AGG_WEB_HOST=0.0.0.0, not one from an example: openssl rand "
        "-hex 16 makes one"
    )
    assert load_settings({key: token}, None).web_host == "127.0.0.1"


@pytest.mark.parametrize(
    "token", ["geheim", "f3b1c09d5d0e", "Xk2-changes", "settings", "testimony", "exampled-7", "tokenizer9", "12345678a"]
)
def test_a_token_of_ones_own_is_taken_on_any_host(token: str) -> None:
    assert load_settings({"AGG_WEB_HOST": "::", "AGG_WEB_TOKEN": token}, None).web_token == SecretStr(token)


def test_a_token_fits_into_a_header_and_is_never_shown() -> None:
    (said,) = problems_of({"AGG_WEB_TOKEN": "ge heim"})
    assert said == "AGG_WEB_TOKEN=(hidden): must be printable ASCII without blanks: it travels in an HTTP header"
    assert "geheim" not in repr(load_settings({"AGG_WEB_TOKEN": "geheim"}, None))


def test_the_token_of_those_who_only_look_is_enough_for_any_host() -> None:
    settings = load_settings({"AGG_WEB_HOST": "10.0.0.1", "AGG_WEB_READ_TOKEN": "leserin"}, None)
    assert (settings.web_token, "leserin" in repr(settings)) == (None, False)
    (said,) = problems_of({"AGG_WEB_READ_TOKEN": "le serin"})
    assert said == "AGG_WEB_READ_TOKEN=(hidden): must be printable ASCII without blanks: it travels in an HTTP header"


def test_the_two_tokens_are_not_the_same() -> None:
    (said,) = problems_of({"AGG_WEB_TOKEN": "geheim", "AGG_WEB_READ_TOKEN": "geheim"})
    assert said == (
        "AGG_WEB_TOKEN=(hidden): must not be the same as AGG_WEB_READ_TOKEN: who has that may look, and not act"
    )


@pytest.mark.parametrize(
    "url",
    ["worker-1:6066", "ftp://a", "http://a/b", "http://u:p@a", "http://a:x", "http://[", "http://a?b", "http://a b",
     "http://a..主"],
)  # fmt: skip
def test_an_advertised_url_is_a_plain_address(url: str) -> None:
    assert load(web_advertised_url="http://worker-1:6066/").web_advertised_url == "http://worker-1:6066"
    assert problem_of("AGG_WEB_ADVERTISED_URL", url).endswith("must be http://host:port or https://host:port")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("http://主机:1", "http://xn--tiq422d:1"),
        ("https://Straße.lan/", "https://xn--strae-oqa.lan"),
        ("http://[FD00::1]:1", "http://[fd00::1]:1"),
    ],
)
def test_the_host_of_an_advertised_url_is_the_one_that_clients_send(given: str, taken: str) -> None:
    assert load(web_advertised_url=given).web_advertised_url == taken


def test_a_login_needs_name_and_password() -> None:
    assert problems_of({"AGG_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}) == (
        "AGG_SASL_USERNAME (not set): must be given with AGG_SECURITY_PROTOCOL=SASL_PLAINTEXT",
        "AGG_SASL_PASSWORD (not set): must be given with AGG_SECURITY_PROTOCOL=SASL_PLAINTEXT",
    )
    settings = load_settings(LOGIN, None)
    assert settings.sasl_mechanism is SaslMechanism.SCRAM_SHA_512
    assert settings.sasl_username == "plant"
    assert settings.sasl_password == SecretStr(" geheim ")


def test_what_the_protocol_would_ignore_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    environ = {"AGG_SASL_USERNAME": "plant", "AGG_SASL_PASSWORD": "geheim", "AGG_SSL_CAFILE": str(file)}
    assert problems_of(environ) == (
        "AGG_SASL_USERNAME='plant': must not be given with AGG_SECURITY_PROTOCOL=PLAINTEXT",
        "AGG_SASL_PASSWORD=(hidden): must not be given with AGG_SECURITY_PROTOCOL=PLAINTEXT",
        f"AGG_SSL_CAFILE={str(file)!r}: must not be given with AGG_SECURITY_PROTOCOL=PLAINTEXT",
    )


def test_a_key_file_needs_its_certificate(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch()
    assert problems_of({"AGG_SECURITY_PROTOCOL": "SSL", "AGG_SSL_KEYFILE": str(file)}) == (
        f"AGG_SSL_KEYFILE={str(file)!r}: must not be given without AGG_SSL_CERTFILE",
    )


def test_a_secret_is_never_shown() -> None:
    settings = load_settings(LOGIN, None)
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "geheim" not in text
    for environ in (
        {**LOGIN, "AGG_SECURITY_PROTOCOL": "PLAINTEXT"},
        {**LOGIN, "AGG_PARTITIONS": "x"},
        {"AGG_SASL_PASWORD": "geheim"},
        {"AGG_BROKER": "kafka://plant:geheim@host:9092"},
    ):
        assert "geheim" not in "\n".join(problems_of(environ))
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"sasl_password": "geheim"})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("key", ["AGG_SSL_CAFILE", "AGG_SSL_CERTFILE", "AGG_SSL_KEYFILE"])
@pytest.mark.parametrize("name", ["x" * 256, "y/" * 3000, "a\0b"], ids=["name", "path", "zero"])
def test_a_path_that_no_file_can_have_is_told_as_any_other_that_is_wrong(key: str, name: str) -> None:
    (said,) = (one for one in problems_of({"AGG_SECURITY_PROTOCOL": "SSL", key: f"/tmp/{name}"}) if one.startswith(key))  # noqa: S108
    assert "must be the path of a file that exists" in said
    assert len(said) < 400
