"""Which settings workers compare, and what their digests tell."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.settings.fingerprint import differing, fingerprint, odd_ones, shared_names

# How one worker runs, how it reaches Kafka, and what only it shows. Written out, so that a new setting is thought of.
OWN = {
    "batch_callback_size",
    "executor",
    "executor_workers",
    "concurrency",
    "overtime_max",
    "max_open_batches",
    "closed_max",
    "replication_factor",
    "events_retention",
    "app_id",
    "instance_id",
    "broker",
    "broker_patience",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "log_language",
    "log_format",
    "web_host",
    "web_port",
    "web_read_token",
    "web_token",
    "web_advertised_url",
    "metrics_stations",
    "context_stale",
    "traces",
}


def keys(**other: object) -> list[str]:
    return differing(fingerprint(Settings(app_id="a")), fingerprint(Settings(**{"app_id": "a"} | other)))


def test_every_setting_is_shared_or_a_workers_own() -> None:
    assert set(Settings.model_fields) - set(shared_names()) == OWN


def test_no_secret_is_shared() -> None:
    annotations = [Settings.model_fields[name].annotation for name in shared_names()]
    assert not [one for one in annotations if one is SecretStr or SecretStr in get_args(one)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"module": "price"}, ["AGG_MODULE", "AGG_OUTPUT_TOPIC"]),
        ({"module": "price", "output_topic": "MODULE-OUTPUT-LOAD_PREDICTION"}, ["AGG_MODULE"]),
        ({"batch_timeout": 6}, ["AGG_BATCH_TIMEOUT"]),
        ({"batch_timeout": "5.0", "timezone": "Asia/Shanghai"}, []),
        ({"context_topics": "WEATHER"}, ["AGG_CONTEXT_TOPICS"]),
        ({"context_topics": "WEATHER:12"}, ["AGG_CONTEXT_TOPICS"]),
        ({"input": "numpy"}, ["AGG_INPUT"]),
        ({"callback": "m:f", "fill": "linear"}, ["AGG_FILL", "AGG_CALLBACK"]),
        ({"web_token": "t", "log_language": "zh", "concurrency": 1, "instance_id": "x"}, []),
    ],
)
def test_the_keys_whose_values_differ_are_found(other: dict[str, object], expected: list[str]) -> None:
    assert keys(**other) == expected


def test_the_order_of_a_list_counts_only_where_it_is_obeyed() -> None:
    assert differing(fingerprint(Settings(source_topics="A,B")), fingerprint(Settings(source_topics="B,A"))) == []
    one, other = (fingerprint(Settings(envelope_keys=names)) for names in ("x,y", "y,x"))
    assert differing(one, other) == ["AGG_ENVELOPE_KEYS"]


def test_no_value_can_be_read_and_equal_values_of_other_groups_look_different() -> None:
    one, other = fingerprint(Settings(module="hidden", app_id="a")), fingerprint(Settings(module="hidden", app_id="b"))
    assert "hidden" not in str(one)
    assert not set(one.values()) & set(other.values())


def test_a_key_that_only_one_of_two_knows_is_no_difference() -> None:
    assert differing({"K": "1", "NEW": "2"}, {"K": "1"}) == []
    assert differing({"K": "1"}, {"K": "1", "NEW": "2"}) == []
    assert differing({"K": "1"}, {}) == []


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        ("aa", []),
        ("ab", [0, 1]),
        ("aab", [2]),
        ("abc", [0, 1, 2]),
        ("aabb", [0, 1, 2, 3]),
        ("aa-b", [3]),
    ],
)
def test_the_odd_worker_is_the_one_that_most_others_disagree_with(values: str, odd: list[int]) -> None:
    found = odd_ones([{} if value == "-" else {"K": value} for value in values])
    assert [number for number, keys in enumerate(found) if keys] == odd
