"""Settings: defaults, values, cross checks, and how problems are told."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr, ValidationError

from app.choices import (
    Executor,
    Fill,
    Language,
    LatePolicy,
    LogFormat,
    SaslMechanism,
    SecurityProtocol,
    Start,
    TimeoutMode,
)
from app.environment import SettingsError
from app.settings import Settings, load_settings

# Written out from CONTRACT, not derived from the class.
CONTRACT_DEFAULTS: dict[str, object] = {
    "source_topics": ("SCHEDULE-STATION-REALTIME-DATA",),
    "envelope_keys": (),
    "timezone": ZoneInfo("Asia/Shanghai"),
    "fill": Fill.ZERO,
    "window_step": None,
    "window_size": None,
    "passthrough_topics": (),
    "context_topics": (),
    "callback": None,
    "batch_callback": None,
    "batch_callback_size": 32,
    "executor": Executor.AUTO,
    "executor_workers": None,
    "retries": 0,
    "concurrency": 64,
    "station_timeout": 30.0,
    "overtime_max": 64,
    "result_handler": None,
    "station_result_handler": None,
    "handler_timeout": 30.0,
    "handler_retries": 3,
    "module": "load_prediction",
    "output_topic": "MODULE-OUTPUT-LOAD_PREDICTION",
    "output_meta": True,
    "max_message_bytes": 16 * 1024 * 1024,
    "batch_timeout": 5.0,
    "max_batch_age": 60.0,
    "timeout_mode": TimeoutMode.FIXED,
    "timeout_min": 1.0,
    "timeout_max": 30.0,
    "partial_min_ratio": 0.0,
    "required_stations": (),
    "release_ratio": None,
    "late_policy": LatePolicy.TOPIC,
    "revise_delay": 1.0,
    "max_open_batches": 10_000,
    "closed_ttl": 3600.0,
    "closed_max": 100_000,
    "partitions": 8,
    "replication_factor": 1,
    "start": Start.EARLIEST,
    "app_id": "batch-aggregator-load-prediction",
    "broker": "kafka://127.0.0.1:9092",
    "broker_patience": 60.0,
    "security_protocol": SecurityProtocol.PLAINTEXT,
    "sasl_mechanism": SaslMechanism.PLAIN,
    "sasl_username": None,
    "sasl_password": None,
    "ssl_cafile": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "log_language": Language.EN,
    "log_format": LogFormat.TEXT,
    "web_host": "127.0.0.1",
    "web_port": 6066,
    "web_token": None,
    "web_advertised_url": None,
    "metrics_stations": 200,
    "traces": False,
}
LOGIN = {
    "AGG_SECURITY_PROTOCOL": "SASL_SSL",
    "AGG_SASL_MECHANISM": "SCRAM-SHA-512",
    "AGG_SASL_USERNAME": "plant",
    "AGG_SASL_PASSWORD": " geheim ",
}


def load(**values: str) -> Settings:
    return load_settings({f"AGG_{name.upper()}": value for name, value in values.items()}, env_file=None)


def problems_of(environ: dict[str, str], env_file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, env_file)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def problem_of(key: str, value: str) -> str:
    (problem,) = problems_of({key: value})
    return problem


def test_every_default_is_the_contracts() -> None:
    assert load().model_dump() == CONTRACT_DEFAULTS


def test_defaults_follow_the_module() -> None:
    settings = load(module="Wind_power.v2")
    assert settings.output_topic == "MODULE-OUTPUT-WIND_POWER.V2"
    assert settings.app_id == "batch-aggregator-Wind-power.v2"


def test_internal_topics_carry_the_app_id() -> None:
    settings = load(app_id="plant-1")
    assert settings.station_events_topic == "plant-1-station-events"
    assert settings.batch_events_topic == "plant-1-batch-events"
    assert settings.late_topic == "plant-1-late"
    assert settings.dead_letter_topic == "plant-1-dead-letter"


def test_values_come_in_their_types(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    settings = load(
        source_topics=" A , B,,A ",
        envelope_keys="data, 数据",
        timezone="Europe/Berlin",
        fill="linear",
        window_step="3600",
        window_size="168",
        callback="demo.models:predict",
        output_meta="false",
        batch_timeout="0.25",
        start="latest",
        security_protocol="SSL",
        ssl_cafile=str(file),
        log_language="zh",
        log_format="json",
        web_port="0",
    )
    assert settings.source_topics == ("A", "B")
    assert settings.envelope_keys == ("data", "数据")
    assert settings.timezone == ZoneInfo("Europe/Berlin")
    assert (settings.fill, settings.window_step, settings.window_size) == (Fill.LINEAR, 3600, 168)
    assert settings.callback == "demo.models:predict"
    assert settings.output_meta is False
    assert (settings.batch_timeout, settings.start) == (0.25, Start.LATEST)
    assert settings.ssl_cafile == file
    assert (settings.log_language, settings.log_format) == (Language.ZH, LogFormat.JSON)
    assert settings.web_port == 0


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().partitions = 3  # type: ignore[misc]


def test_the_constructor_reads_no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AGG_MODULE=from_file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGG_PARTITIONS", "3")
    assert Settings().model_dump() == CONTRACT_DEFAULTS


def test_the_environment_and_the_file_here_are_read_when_nothing_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("AGG_MODULE=from_file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGG_PARTITIONS", "3")
    settings = load_settings()
    assert (settings.module, settings.partitions) == ("from_file", 3)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_PARTITIONS=4\n# ours\nexport AGG_MODULE='a'\nOTHER=1\n", encoding="utf-8-sig")
    settings = load_settings({"AGG_MODULE": "b", "PATH": "/bin"}, env_file)
    assert (settings.module, settings.partitions) == ("b", 4)


def test_an_empty_value_is_the_same_as_none(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_MODULE=a\nAGG_WINDOW_STEP=\n")
    settings = load_settings({"AGG_MODULE": "", "AGG_PARTITIONS": ""}, env_file)
    assert (settings.module, settings.partitions, settings.window_step) == ("a", 8, None)


def test_a_value_in_the_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_SASL_PASSWORD='a${HOME}$b'\n")
    settings = load_settings({**LOGIN, "AGG_SASL_PASSWORD": ""}, env_file)
    assert settings.sasl_password == SecretStr("a${HOME}$b")


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_there_need_be_no_file(tmp_path: Path, make: str) -> None:
    env_file = tmp_path / ".env"
    if make == "folder":
        env_file.mkdir()
    assert load_settings({}, env_file) == load_settings({}, None)


def test_a_line_of_the_file_that_cannot_be_read_is_told_without_its_text(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_MODULE=a\n'geheim\nAGG_PARTITIONS\n")
    assert problems_of({}, env_file) == (
        f"{env_file}, line 2: must be KEY=value, a comment or empty",
        f"{env_file}, line 3: must be KEY=value, a comment or empty",
    )


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes("AGG_MODULE=负荷".encode("gbk"))
    assert problems_of({}, env_file) == (f"{env_file}: must be UTF-8 text",)


def test_all_problems_are_told_at_once_each_in_a_line(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("AGG_WEB_PORT=70000\nAGG_PARTITION=4\n")
    environ = {"AGG_PARTITIONS": "0", "AGG_MODULE": "a b", "AGG_WINDOW_SIZE": "3", "AGG_BATCH_TIMEOUT": "90"}
    assert problems_of(environ, env_file) == (
        f"AGG_PARTITION (in {env_file}): unknown key; did you mean AGG_PARTITIONS or AGG_PARTIAL_MIN_RATIO?",
        "AGG_WINDOW_SIZE='3': must not be given without AGG_WINDOW_STEP",
        "AGG_MODULE='a b': must be 1 to 180 of A-Z a-z 0-9 _ . - (it ends the names of topics)",
        "AGG_MAX_BATCH_AGE (default 60.0): must be at least AGG_BATCH_TIMEOUT, which is 90",
        "AGG_PARTITIONS='0': must be greater than 0",
        f"AGG_WEB_PORT='70000' (in {env_file}): must be less than or equal to 65535",
    )


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("AGG_SOURCE_TOPICS", "A,b c", "'b c' must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -"),
        ("AGG_SOURCE_TOPICS", ",", "must name at least one topic"),
        ("AGG_OUTPUT_TOPIC", "x" * 199 + "/", "must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -"),
        ("AGG_OUTPUT_TOPIC", "..", "must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -"),
        ("AGG_TIMEZONE", "Mars/X", "must be an IANA time zone, such as Asia/Shanghai"),
        ("AGG_FILL", "ZERO", "must be 'zero', 'missing', 'forward' or 'linear'"),
        ("AGG_WINDOW_STEP", "0", "must be greater than 0"),
        ("AGG_WINDOW_STEP", "1.5", "must be a valid integer, unable to parse string as an integer"),
        ("AGG_CALLBACK", "demo.models", "must be package.module:function"),
        ("AGG_RESULT_HANDLER", "demo..models:f", "must be package.module:function"),
        ("AGG_CONCURRENCY", "many", "must be a valid integer, unable to parse string as an integer"),
        ("AGG_STATION_TIMEOUT", "nan", "must be a finite number"),
        ("AGG_BATCH_TIMEOUT", "-1", "must be greater than 0"),
        ("AGG_CLOSED_TTL", "inf", "must be a finite number"),
        ("AGG_HANDLER_RETRIES", "-1", "must be greater than or equal to 0"),
        ("AGG_OUTPUT_META", "maybe", "must be true or false"),
        ("AGG_EXECUTOR", "fork", "must be 'auto', 'thread' or 'process'"),
        ("AGG_LATE_POLICY", "keep", "must be 'topic', 'revise' or 'drop'"),
        ("AGG_TIMEOUT_MODE", "auto", "must be 'fixed' or 'adaptive'"),
        ("AGG_PARTIAL_MIN_RATIO", "1.1", "must be less than or equal to 1"),
        ("AGG_RELEASE_RATIO", "0", "must be greater than 0"),
        ("AGG_PASSTHROUGH_TOPICS", "a b", "'a b' must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -"),
        ("AGG_WEB_HOST", "a b", "must be an IP address or the name of a host"),
        ("AGG_START", "now", "must be 'earliest' or 'latest'"),
        ("AGG_APP_ID", "a/b", "must be 1 to 200 of A-Z a-z 0-9 . _ - (it begins the names of topics)"),
        ("AGG_SASL_MECHANISM", "GSSAPI", "must be 'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"),
        ("AGG_SSL_CAFILE", "/no/such/file", "must be the path of a file that exists"),
        ("AGG_LOG_LANGUAGE", "de", "must be 'en' or 'zh'"),
        ("AGG_LOG_FORMAT", "xml", "must be 'text' or 'json'"),
        ("AGG_WEB_PORT", "-1", "must be greater than or equal to 0"),
    ],
)
def test_a_bad_value_is_told_with_its_key_and_what_is_allowed(key: str, value: str, allowed: str) -> None:
    assert problem_of(key, value) == f"{key}={value!r}: {allowed}"


def test_a_long_value_is_cut() -> None:
    assert problem_of("AGG_START", "x" * 1000) == f"AGG_START='{'x' * 200}…': must be 'earliest' or 'latest'"


def test_a_line_break_in_a_value_makes_no_second_line() -> None:
    assert problem_of("AGG_START", "a\nb") == r"AGG_START='a\nb': must be 'earliest' or 'latest'"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("AGG_BATCH_TIMOUT", "did you mean AGG_BATCH_TIMEOUT"),
        ("agg_partitions", "did you mean AGG_PARTITIONS?"),
        ("AGG_QQQQQQQ", "the keys are AGG_SOURCE_TOPICS, AGG_ENVELOPE_KEYS, "),
    ],
)
def test_an_unknown_key_is_told_with_close_ones_or_with_all(key: str, meant: str) -> None:
    assert problem_of(key, "1").startswith(f"{key}: unknown key; {meant}")


def test_a_timeout_over_the_largest_age_names_both() -> None:
    (problem,) = problems_of({"AGG_BATCH_TIMEOUT": "31", "AGG_MAX_BATCH_AGE": "30"})
    assert problem == "AGG_MAX_BATCH_AGE='30': must be at least AGG_BATCH_TIMEOUT, which is 31"
    assert load(batch_timeout="30", max_batch_age="30").max_batch_age == 30


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"AGG_TIMEOUT_MAX": "61"}, "AGG_TIMEOUT_MAX='61': must be at most AGG_MAX_BATCH_AGE, which is 60"),
        (
            {"AGG_TIMEOUT_MIN": "9", "AGG_TIMEOUT_MAX": "8"},
            "AGG_TIMEOUT_MAX='8': must be at least AGG_TIMEOUT_MIN, which is 9",
        ),
        (
            {"AGG_PARTIAL_MIN_RATIO": "0.6", "AGG_RELEASE_RATIO": "0.5"},
            "AGG_RELEASE_RATIO='0.5': must be at least AGG_PARTIAL_MIN_RATIO, which is 0.6",
        ),
        (
            {"AGG_CALLBACK": "a:b", "AGG_BATCH_CALLBACK": "a:c"},
            "AGG_BATCH_CALLBACK='a:c': must not be given with AGG_CALLBACK: it takes its place",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_told(environ: dict[str, str], problem: str) -> None:
    assert problems_of(environ) == (problem,)


def test_the_bounds_of_the_adaptive_timeout_stay_within_a_short_age() -> None:
    settings = load(max_batch_age="0.5", batch_timeout="0.5")
    assert (settings.timeout_min, settings.timeout_max) == (0.5, 0.5)
    assert load(timeout_min="40").timeout_max == 40


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
    assert said == f"AGG_WEB_TOKEN (not set): must be given with AGG_WEB_HOST={host}: only loopback may do without"
    assert load_settings({"AGG_WEB_HOST": host, "AGG_WEB_TOKEN": "geheim"}, None).web_host == host


def test_a_token_fits_into_a_header_and_is_never_shown() -> None:
    (said,) = problems_of({"AGG_WEB_TOKEN": "ge heim"})
    assert said == "AGG_WEB_TOKEN=(hidden): must be printable ASCII without blanks: it travels in an HTTP header"
    assert "geheim" not in repr(load_settings({"AGG_WEB_TOKEN": "geheim"}, None))


@pytest.mark.parametrize(
    "url", ["worker-1:6066", "ftp://a", "http://a/b", "http://u:p@a", "http://a:x", "http://[", "http://a?b"]
)
def test_an_advertised_url_is_a_plain_address(url: str) -> None:
    assert load(web_advertised_url="http://worker-1:6066/").web_advertised_url == "http://worker-1:6066"
    assert problem_of("AGG_WEB_ADVERTISED_URL", url).endswith("must be http://host:port or https://host:port")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"AGG_SOURCE_TOPICS": "A,OUT", "AGG_OUTPUT_TOPIC": "OUT"},
            "AGG_OUTPUT_TOPIC='OUT': must not be one of AGG_SOURCE_TOPICS: the application would read its own output",
        ),
        (
            {"AGG_PASSTHROUGH_TOPICS": "OUT", "AGG_OUTPUT_TOPIC": "OUT"},
            "AGG_OUTPUT_TOPIC='OUT': must not be one of AGG_PASSTHROUGH_TOPICS: the application would read its own "
            "output",
        ),
        (
            {"AGG_SOURCE_TOPICS": "x-late", "AGG_APP_ID": "x"},
            "AGG_APP_ID='x': must not make an internal topic of one that another setting names: x-late",
        ),
        (
            {"AGG_PASSTHROUGH_TOPICS": "x-late", "AGG_APP_ID": "x"},
            "AGG_APP_ID='x': must not make an internal topic of one that another setting names: x-late",
        ),
        (
            {"AGG_SOURCE_TOPICS": "S,T", "AGG_CONTEXT_TOPICS": "C,T"},
            "AGG_CONTEXT_TOPICS='C,T': must not name a topic that AGG_SOURCE_TOPICS names: T",
        ),
        (
            {"AGG_PASSTHROUGH_TOPICS": "T", "AGG_CONTEXT_TOPICS": "T"},
            "AGG_CONTEXT_TOPICS='T': must not name a topic that AGG_PASSTHROUGH_TOPICS names: T",
        ),
        (
            {"AGG_CONTEXT_TOPICS": "x-station-events", "AGG_APP_ID": "x"},
            "AGG_APP_ID='x': must not make an internal topic of one that another setting names: x-station-events",
        ),
        (
            {"AGG_OUTPUT_TOPIC": "x-batches-changelog", "AGG_APP_ID": "x"},
            "AGG_APP_ID='x': must not make an internal topic of one that another setting names: x-batches-changelog",
        ),
    ],
)
def test_no_topic_has_two_uses(environ: dict[str, str], problem: str) -> None:
    assert problems_of(environ) == (problem,)


def test_context_is_read_from_topics_of_others_and_may_be_ones_own_output() -> None:
    settings = load(context_topics="WEATHER, OUT", output_topic="OUT")
    assert settings.context_topics == ("WEATHER", "OUT")
    assert settings.batch_topics == ["SCHEDULE-STATION-REALTIME-DATA"]
    assert settings.foreign_topics == [*settings.batch_topics, "WEATHER", "OUT"]


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
