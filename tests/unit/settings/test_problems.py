"""Settings that are wrong, or that contradict each other, and how that is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import SettingsError, load_settings
from tests.settings_loading import load, problem_of, problems_of


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
        ("AGG_CALLBACK", "demo.models", "must be package.module:function; write demo:models"),
        ("AGG_BATCH_CALLBACK", "load.py:predict", "must be package.module:function; write load:predict"),
        ("AGG_RESULT_HANDLER", "models/load:f", "must be package.module:function; write models.load:f"),
        ("AGG_STATION_RESULT_HANDLER", "a.b:f()", "must be package.module:function; write a.b:f"),
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
        ("AGG_SSL_CAFILE", "/", "must be the path of a file that exists"),
        ("AGG_SSL_CERTFILE", "/" + "x" * 199, "must be the path of a file that exists"),
        ("AGG_EVENTS_RETENTION", "60", "must be greater than or equal to 3600"),
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
    ("key", "value", "shown"),
    [
        ("AGG_REQUIRED_STATIONS", "A,\udcb3\udca1", r"'A,\udcb3\udca1'"),
        ("AGG_ENVELOPE_KEYS", "\udcff", r"'\udcff'"),
        ("AGG_TIMEZONE", "\udcff", r"'\udcff'"),
        ("AGG_PARTITIONS", "\udcff", r"'\udcff'"),
        ("AGG_FILL", "\udcff", r"'\udcff'"),
        ("AGG_SSL_CAFILE", "\udcff", r"'\udcff'"),
        ("AGG_SASL_USERNAME", "\udcff", r"'\udcff'"),
        ("AGG_SASL_PASSWORD", "geheim\udcff", "(hidden)"),
        ("AGG_WEB_TOKEN", "geheim\udcff", "(hidden)"),
    ],
)
def test_text_of_another_encoding_is_refused_and_shown_as_what_can_be_printed(key: str, value: str, shown: str) -> None:
    assert problem_of(key, value) == f"{key}={shown}: must be UTF-8 text"
    with pytest.raises(SettingsError) as refused:
        load_settings({key: value, "AGG_LOG_LANGUAGE": "zh"}, env_file=None)
    assert str(refused.value) == f"{key}={shown.replace('(hidden)', '（已隐藏）')}：必须是 UTF-8 文本"


def test_text_of_another_encoding_is_refused_in_a_keyword_and_as_a_key() -> None:
    with pytest.raises(SettingsError, match=r"^required_stations=\('A', '\\udcff'\): must be UTF-8 text$"):
        load_settings({}, None, {"required_stations": ("A", "\udcff")})
    assert problem_of("AGG_\udcff", "1").startswith(r"AGG_\udcff: unknown key; ")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("AGG_BATCH_TIMOUT", "did you mean AGG_BATCH_TIMEOUT"),
        ("agg_partitions", "did you mean AGG_PARTITIONS"),
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


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"AGG_PARTITIONS": "x"}, "AGG_PARTITIONS='x'：必须是有效的整数，无法解析该文本"),
        ({"AGG_PARTITIONS": "0"}, "AGG_PARTITIONS='0'：必须大于 0"),
        ({"AGG_FILL": "nothing"}, "AGG_FILL='nothing'：必须为 'zero', 'missing', 'forward' 或 'linear'"),
        ({"AGG_TIMEZONE": "Nowhere"}, "AGG_TIMEZONE='Nowhere'：必须是 IANA 时区，例如 Asia/Shanghai"),
        ({"AGG_BACH_TIMEOUT": "5"}, "AGG_BACH_TIMEOUT：未知的键；是否想写 AGG_BATCH_TIMEOUT"),
        (
            {"AGG_CALLBACK": "load.py"},
            "AGG_CALLBACK='load.py'：必须为 package.module:function；请写 load:callback，冒号后为函数名",
        ),
        ({"AGG_BATCH_TIMEOUT": "90"}, "AGG_MAX_BATCH_AGE（默认值 60.0）：不得小于 AGG_BATCH_TIMEOUT，即 90"),
    ],
)
def test_problems_are_told_in_the_language_that_is_set(found: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({**found, "AGG_LOG_LANGUAGE": "zh"}, env_file=None)
    assert str(refused.value).startswith(told)
    with pytest.raises(SettingsError) as refused:
        load_settings(found, env_file=None)
    assert not re.search(r"[\u4e00-\u9fff]", str(refused.value))


def test_a_language_that_is_wrong_itself_is_told_in_english() -> None:
    with pytest.raises(SettingsError, match=r"^AGG_LOG_LANGUAGE='fr': must be 'en' or 'zh'$"):
        load_settings({"AGG_LOG_LANGUAGE": "fr"}, env_file=None)
