"""Settings: defaults, names that follow from others, and values in their types."""

from __future__ import annotations

import socket
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from app.settings import Settings, SettingsError
from app.settings.enums import Executor, Fill, Language, LogFormat, SaslMechanism, SecurityProtocol, Start, TimeoutMode
from tables.model.enums import LatePolicy
from tables.storage.window import Span
from tests.settings_loading import load

# Written out from CONTRACT, not derived from the class.
CONTRACT_DEFAULTS: dict[str, object] = {
    "source_topics": ("SCHEDULE-STATION-REALTIME-DATA",),
    "envelope_keys": (),
    "timezone": ZoneInfo("Asia/Shanghai"),
    "max_ahead": 86_400.0,
    "max_stations": 100_000,
    "max_id_length": 1_000,
    "max_record_bytes": 60 * 1024 * 1024,
    "fill": Fill.ZERO,
    "window_step": None,
    "window_size": None,
    "input": "lists",
    "passthrough_topics": (),
    "context_topics": (),
    "context_step": (),
    "context_max_bytes": 8 * 1024 * 1024,
    "context_stale": None,
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
    "events_retention": 86_400,
    "start": Start.EARLIEST,
    "app_id": "batch-aggregator-load-prediction",
    "instance_id": None,
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
    "web_read_token": None,
    "web_token": None,
    "web_advertised_url": None,
    "metrics_stations": 200,
    "traces": False,
}


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


def test_context_is_read_from_topics_of_others_and_may_be_ones_own_output() -> None:
    settings = load(context_topics="WEATHER, OUT", output_topic="OUT")
    assert settings.context_topics == ("WEATHER", "OUT")
    assert settings.batch_topics == ["SCHEDULE-STATION-REALTIME-DATA"]
    assert settings.foreign_topics == [*settings.batch_topics, "WEATHER", "OUT"]


def test_context_topics_may_have_windows_of_points_or_of_a_duration() -> None:
    settings = load(context_topics="WEATHER, METER:2016,GUN:2h ,X:90s,Y:15m,Z:7d")
    assert settings.context_names == ["WEATHER", "METER", "GUN", "X", "Y", "Z"]
    assert settings.context_windows == {
        "METER": Span(points=2016),
        "GUN": Span(seconds=7200),
        "X": Span(seconds=90),
        "Y": Span(seconds=900),
        "Z": Span(seconds=7 * 86_400),
    }
    assert settings.foreign_topics == [*settings.batch_topics, *settings.context_names]


@pytest.mark.parametrize(
    "spec",
    ["W:", "W:0", "W:-1", "W:1.5h", "W:2w", "W:h", "W:2016:1", ":5", "W:100001", "W:367d", "W:0s", "W:1h30m", "a b"],
)
def test_a_context_topic_with_a_window_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(SettingsError, match=r"^AGG_CONTEXT_TOPICS=.*must "):
        load(context_topics=f"OK,{spec}")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"context_topics": "W,W:5"}, "AGG_CONTEXT_TOPICS=.*must name a topic once: W"),
        ({"context_topics": "S:5", "source_topics": "S"}, "must not name a topic that AGG_SOURCE_TOPICS names: S"),
        ({"context_topics": "a-late:5", "app_id": "a"}, "AGG_APP_ID.*must not make an internal topic"),
        ({"context_step": "300"}, "AGG_CONTEXT_STEP=.*must not be given without a window in AGG_CONTEXT_TOPICS"),
        (
            {"context_topics": "W:5", "context_step": "V:300"},
            "AGG_CONTEXT_STEP=.*must not name a topic without a window",
        ),
        ({"context_topics": "W:5", "context_step": "0"}, "AGG_CONTEXT_STEP=.*must be whole seconds"),
        ({"context_topics": "W:5", "context_step": "300,60"}, "AGG_CONTEXT_STEP=.*must give one step for each topic"),
        ({"context_max_bytes": "5"}, "AGG_CONTEXT_MAX_BYTES"),
        ({"context_stale": "0"}, "AGG_CONTEXT_STALE"),
    ],
)
def test_what_does_not_fit_context_is_refused(given: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        load(**given)


def test_a_step_is_of_all_windows_or_of_one() -> None:
    settings = load(context_topics="METER:5,TARIFF:12,X", context_step="300, TARIFF:900")
    assert [settings.context_step_of(topic) for topic in ("METER", "TARIFF")] == [300, 900]
    assert Settings(context_topics=("METER:5",), context_step=300).context_step_of("METER") == 300


def test_an_instance_id_may_have_the_machines_name_in_it() -> None:
    settings = load(instance_id="plant-{hostname}-2")
    assert settings.instance_id == f"plant-{socket.gethostname()}-2"


@pytest.mark.parametrize("name", ["..", "a b", "{host}", "x" * 250, "工厂"])
def test_an_instance_id_that_kafka_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"AGG_INSTANCE_ID.*must be 1 to 249"):
        load(instance_id=name)
