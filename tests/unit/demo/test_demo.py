"""The demo: its messages are what plants send, its model and its tally are honest."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import orjson
import pytest
from rich.console import Console

from app.cli.published import Output
from app.demo import __main__ as demo
from app.demo import model, replay
from app.demo.__main__ import CALLBACK, PortTaken, WorkerDied, _environment
from app.demo.model import callback, forecast
from app.demo.outputs import Tally, dead_letter_line, late_line, output_line, summary
from app.demo.replay import create_source_topics, live_pace
from app.demo.sample import (
    BROKEN_PUSHES,
    BROKEN_STATION,
    PUSHES,
    SHARES,
    SLOW_PUSHES,
    SLOW_STATION,
    WINDOW,
    Push,
    Session,
    Station,
    load_stations,
    make_push,
    power,
    shares_of,
)
from app.inputs.alignment import Alignment, align
from app.inputs.grouping import SourceBatch
from app.inputs.source_message import parse_message
from app.kafka.topics import BrokerError, TopicError
from app.settings import Settings
from app.settings.enums import Fill, Language
from tests.ports import own_port

ZONE = ZoneInfo("Asia/Shanghai")
TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
NOW = 1_762_246_800
NOON = datetime(2018, 8, 20, 12)  # noqa: DTZ001 - the data is in local time
CLOSED = ["DUN11", "DUN24", "DUN26"]
AT = datetime(2025, 11, 4, 9, tzinfo=UTC)
EN, ZH = Language.EN, Language.ZH


@pytest.fixture(scope="module")
def stations() -> list[Station]:
    return load_stations()


@pytest.fixture(scope="module")
def pushes(stations: list[Station]) -> list[Push]:
    return [make_push(number, stations, NOW + number, ZONE) for number in range(1, PUSHES + 1)]


def read(push: Push) -> SourceBatch:
    return parse_message(push.value, topic=TOPIC, envelope_keys=(), timezone=ZONE)


async def outcome(batch: SourceBatch, station_id: str, fill: Fill = Fill.ZERO) -> object:
    """What the model makes of a station of a push: its result, None, or the name of its exception."""
    columns = align(batch.stations[station_id], Alignment(ZONE, fill))
    try:
        return await callback(station_id, {TOPIC: columns})
    except ValueError as error:
        return type(error).__name__


def test_sample_data_is_all_39_stations_with_100_charge_points(stations: list[Station]) -> None:
    assert len(stations) == 39
    assert sum(len(station.chargers) for station in stations) == 100


def test_power_of_a_session_is_its_energy_over_the_time_until_it_is_full() -> None:
    half = Session(NOON + timedelta(minutes=30), NOON + timedelta(hours=3), 8.0)

    assert power([half], NOON, NOON + timedelta(hours=1)).average == 4.0
    assert power([half], NOON, NOON + timedelta(hours=1)).highest == 8.0


def test_highest_power_is_where_sessions_overlap_and_not_the_sum_of_the_hour() -> None:
    first = Session(NOON, NOON + timedelta(minutes=20), 7.0)
    second = Session(NOON + timedelta(minutes=10), NOON + timedelta(minutes=30), 20.0)
    third = Session(NOON + timedelta(minutes=40), NOON + timedelta(minutes=50), 22.0)

    assert power([first, second, third], NOON, NOON + timedelta(hours=1)).highest == 27.0


def test_each_push_is_a_plants_message_with_a_day_of_every_station(pushes: list[Push], stations: list[Station]) -> None:
    ids = [station.station_id for station in stations]
    for push in pushes:
        batch = read(push)
        assert list(batch.stations) == ids == list(push.stations)
        assert not batch.rejects
        assert list(orjson.loads(push.value)) == ["realTimeData"]
        for station in stations:
            assert len(batch.stations[station.station_id]) == WINDOW * len(station.chargers)


def test_each_push_has_a_batch_id_of_its_own_made_of_its_moment(pushes: list[Push]) -> None:
    assert [read(push).timestamp for push in pushes] == [NOW + number for number in range(1, PUSHES + 1)]


def test_messages_pass_a_broker_with_its_default_limit(pushes: list[Push]) -> None:
    assert max(len(push.value) for push in pushes) < 1_000_000


def test_station_power_is_the_sum_of_its_guns(pushes: list[Push]) -> None:
    columns = align(read(pushes[0]).stations["DUN19"], Alignment(ZONE))

    assert len(columns["sendTime"]) == WINDOW
    assert len(columns["gunNo"]) == len(columns["hostCode"]) == 24
    assert max(columns["outputPowerPerStationAvg"]) > 20
    for guns, total in zip(columns["outputPowerPerGunAvg"], columns["outputPowerPerStationAvg"], strict=True):
        assert sum(guns) == pytest.approx(total, abs=0.005 * 25)


def test_next_push_is_an_hour_of_data_further(pushes: list[Push]) -> None:
    first, second = (
        align(read(push).stations["DUN12"], Alignment(ZONE))["outputPowerPerStationAvg"] for push in pushes[:2]
    )
    assert second[:-1] == first[1:]


@pytest.mark.parametrize("fill", list(Fill))
def test_each_planned_outcome_is_there_whatever_fills_the_gaps(
    pushes: list[Push], monkeypatch: pytest.MonkeyPatch, fill: Fill
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def every() -> dict[tuple[int, str], object]:
        return {
            (push.number, station_id): await outcome(batch, station_id, fill)
            for push in pushes
            for batch in [read(push)]
            for station_id in push.stations
        }

    monkeypatch.setenv("AGG_BATCH_TIMEOUT", "3")
    monkeypatch.setattr("app.demo.model.asyncio.sleep", sleep)
    outcomes = asyncio.run(every())

    assert {key for key, result in outcomes.items() if result == "ValueError"} == {
        (number, BROKEN_STATION) for number in BROKEN_PUSHES
    }
    assert {key for key, result in outcomes.items() if result is None} == {
        (push.number, station_id) for push in pushes for station_id in CLOSED
    }
    assert slept == [3 + model.OVERRUN] * len(SLOW_PUSHES)


def test_slow_run_takes_longer_than_its_batch_has(pushes: list[Push]) -> None:
    slow = pushes[min(SLOW_PUSHES) - 1]

    async def run() -> None:
        async with asyncio.timeout(0.05):
            await outcome(read(slow), SLOW_STATION)

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_forecast_of_a_steady_load_is_that_load_without_error() -> None:
    assert forecast([5.0, 5.0, 5.0]) == (5.0, 0.0)


def test_forecast_follows_the_newest_hours_and_says_how_far_it_was_off() -> None:
    value, error = forecast([0.0, 10.0])
    assert value == pytest.approx(6.0)
    assert error == 10.0


def test_forecast_from_one_value_has_no_error_to_tell() -> None:
    assert forecast([4.0]) == (4.0, None)


def test_forecast_is_for_the_hour_after_the_window(pushes: list[Push]) -> None:
    result = asyncio.run(_result(pushes[0], "DUN12"))
    assert result["time"] == "2025-11-04 18:00:01"


async def _result(push: Push, station_id: str) -> dict[str, object]:
    result = await outcome(read(push), station_id)
    assert isinstance(result, dict)
    return result


def payload(**meta: object) -> bytes:
    full = {"status": "complete", "arrived_count": 3, "expected_count": 3, "opened_at": 10.0, "closed_at": 10.5}
    return orjson.dumps({"batch_id": "T_1", "station_count": 2, "meta": full | meta})


def output(key: bytes = b"T_1", value: bytes | None = None, **headers: bytes) -> Output:
    return Output.read(key, payload() if value is None else value, headers)


def test_broker_that_is_away_is_waited_for_as_long_as_the_setting_says() -> None:
    settings = Settings(broker=f"kafka://127.0.0.1:{own_port()}", broker_patience=0.2)
    with pytest.raises(BrokerError, match=r"waited 0\.2 s, AGG_BROKER_PATIENCE"):
        asyncio.run(asyncio.wait_for(create_source_topics(settings), timeout=240.0))


def test_batch_that_was_sent_is_awaited_until_it_comes_out() -> None:
    tally = Tally(sent={"T_1": 0.0, "T_2": 1.0})
    tally.take(output())

    assert tally.awaited == ["T_2"]
    assert not tally.repeated


def test_batch_in_parts_is_out_when_all_of_them_are() -> None:
    tally = Tally(sent={"T_1": 0.0})
    tally.take(output(part=b"1", parts=b"2"))
    assert tally.awaited == ["T_1"]

    tally.take(output(part=b"2", parts=b"2"))
    assert not tally.awaited
    assert not tally.repeated


def test_second_output_of_a_batch_is_noticed() -> None:
    tally = Tally(sent={"T_1": 0.0})
    tally.take(output())
    tally.take(output())
    assert tally.repeated == ["T_1"]


def test_revision_is_no_repetition() -> None:
    tally = Tally(sent={"T_1": 0.0})
    tally.take(output(revision=b"1"))
    tally.take(output(revision=b"2"))
    assert not tally.repeated


def test_batch_of_another_run_does_not_count() -> None:
    tally = Tally(sent={"T_1": 0.0})
    tally.take(output(b"T_0"))
    assert tally.awaited == ["T_1"]


def test_of_an_endless_replay_counts_are_kept_and_what_is_under_way_is_no_fault() -> None:
    tally = Tally(sent={f"T_{number}": float(number) for number in range(1, 6)}, discarded={"T_4"})
    for key in (b"T_1", b"T_2", b"T_3", b"T_3"):
        tally.take(output(key))
    tally.settle(before=4.0)
    assert (list(tally.sent), tally.settled, tally.number) == (["T_3", "T_4", "T_5"], {"complete": 2}, 5)
    assert (tally.repeated, tally.overdue(5.0), tally.overdue(5.5)) == (["T_3"], [], ["T_5"])
    lines = summary(tally, (), late_topic="late", dead_letter_topic="dead", language=EN)
    assert [line.plain for line in lines] == [
        "5 batches sent, 3 came out: 3 complete; 1 under way.",
        "Came out more than once: T_3",
        "Discarded: T_4",
    ]


def test_of_an_endless_replay_each_push_has_stations_that_take_their_time(stations: list[Station]) -> None:
    late_ones = [shares_of(number, stations) for number in range(1, 40)]
    assert all(len(shares) == len(SHARES) and max(shares.values()) < 1 for shares in late_ones)
    assert set().union(*late_ones) == {station.station_id for station in stations}
    assert not set(late_ones[0]) & set(late_ones[1])
    push = make_push(PUSHES + 3, stations, NOW, ZONE, {"DUN12": 0.5})
    batch, again = read(push), read(make_push(3, stations, NOW, ZONE))
    assert (push.number, batch.timestamp) == (3, NOW)
    assert {
        station_id for station_id in batch.stations if batch.stations[station_id] != again.stations[station_id]
    } == {"DUN12"}


def test_the_model_takes_the_share_of_a_batchs_time_that_a_push_asks_for(
    stations: list[Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setenv("AGG_BATCH_TIMEOUT", "3")
    monkeypatch.setattr("app.demo.model.asyncio.sleep", sleep)
    batch = read(make_push(1, stations, NOW, ZONE, {"DUN12": 0.5}))
    for fill in Fill:
        assert asyncio.run(outcome(batch, "DUN12", fill))
        assert asyncio.run(outcome(batch, "DUN13", fill))
    assert slept == [1.5] * len(Fill)


@pytest.mark.parametrize(("timeout", "pace"), [(5.0, 2), (60.0, 24), (0.1, 1)])
def test_the_pace_of_an_endless_replay_has_batches_overlap(timeout: float, pace: int) -> None:
    assert live_pace(Settings(batch_timeout=timeout)) == pace


def test_ctrl_c_while_the_demo_is_imported_shows_no_traceback() -> None:
    """It takes seconds on a busy machine; Python's own handler, which raises, is set at its start."""
    env = {**os.environ, "AGG_BROKER": f"kafka://127.0.0.1:{own_port()}"}
    command = [sys.executable, "-m", "app.demo"]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo:
        while "_asyncio." not in Path(f"/proc/{demo.pid}/maps").read_text():  # among the first that it imports
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=240)
    assert (demo.returncode in {-signal.SIGINT, 130}, complaints) == (True, "")


def test_a_port_that_is_taken_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, ExitStack() as stack:
        port = taken.getsockname()[1]
        monkeypatch.setenv("AGG_WEB_PORT", str(port))
        with pytest.raises(PortTaken, match=f"AGG_WEB_PORT={port} is taken"):
            _environment(stack, Console(), once=True)


def test_the_port_of_another_demo_that_starts_meanwhile_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks for a port when its Kafka is up, which takes seconds, the first time minutes."""
    monkeypatch.delenv("AGG_BROKER", raising=False)
    monkeypatch.delenv("AGG_WEB_PORT", raising=False)
    is_up: list[bool] = []

    @contextmanager
    def broker(**_: object) -> Iterator[SimpleNamespace]:
        is_up.append(True)
        yield SimpleNamespace(url="kafka://127.0.0.1:1")

    monkeypatch.setattr(demo, "DevBroker", broker)
    monkeypatch.setattr(demo, "port_is_free", lambda _: not is_up)
    monkeypatch.setattr(demo, "free_port", lambda: 23456)
    with ExitStack() as stack:
        assert _environment(stack, Console(), once=True).environ["AGG_WEB_PORT"] == "23456"


@pytest.mark.parametrize("has_died", [True, False])
def test_topics_that_are_missing_though_a_worker_was_ready_are_said(
    has_died: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program's worker had answered on our port."""

    async def ensure_topics(*_: object, **__: object) -> dict[str, int]:
        return {}

    def check() -> None:
        if has_died:
            message = "the worker ended"
            raise WorkerDied(message)

    async def play() -> None:
        async with replay.open_playback(Settings(), Tally(), Console(), check):
            pytest.fail("there is nothing to read")

    monkeypatch.setattr(replay, "ensure_topics", ensure_topics)
    with pytest.raises(WorkerDied if has_died else TopicError):
        asyncio.run(play())


@pytest.mark.parametrize(
    ("key", "given"),
    [(None, {"AGG_CALLBACK": CALLBACK}), ("AGG_CALLBACK", {"AGG_CALLBACK": "m:f"}), ("AGG_BATCH_CALLBACK", {})],
)
def test_the_model_of_the_demo_stands_in_for_one_of_the_users_own(
    key: str | None, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGG_BROKER", "kafka://127.0.0.1:1")
    if key is not None:
        monkeypatch.setenv(key, "m:f")
    with ExitStack() as stack:
        environ = _environment(stack, Console(), once=True).environ
    assert {name: environ[name] for name in ("AGG_CALLBACK",) if name in environ} == given


@pytest.mark.parametrize("once", [True, False])
def test_an_endless_replay_has_a_token_of_its_own_unless_there_is_one(
    once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGG_BROKER", "kafka://127.0.0.1:1")
    monkeypatch.delenv("AGG_WEB_TOKEN", raising=False)
    with ExitStack() as stack:
        made = [_environment(stack, Console(), once=once) for _ in range(2)]
        assert [given.token is None for given in made] == [once, once]
        assert once or made[0].token != made[1].token
        assert [given.environ.get("AGG_WEB_TOKEN") for given in made] == [given.token for given in made]
        monkeypatch.setenv("AGG_WEB_TOKEN", "mine")
        given = _environment(stack, Console(), once=once)
    assert (given.token, given.environ["AGG_WEB_TOKEN"]) == (None, "mine")


def test_line_of_a_batch_names_who_is_missing_failed_and_empty() -> None:
    value = payload(
        status="partial",
        arrived_count=4,
        expected_count=5,
        missing=["A"],
        failed=[{"station_id": "B", "error": "ValueError: no"}],
        empty=["C", "D"],
    )
    assert output_line(output(value=value), AT, EN).plain == (
        "09:00:00  batch        T_1  partial   4/5 stations  0.50 s  missing: A  failed: B  empty: C D"
    )


def test_lines_and_summary_are_in_the_users_language() -> None:
    value = payload(status="partial", arrived_count=1, expected_count=2, missing=["A"], failed=[{"station_id": "B"}])
    line = output_line(output(value=value), AT, ZH).plain
    assert line == "09:00:00  批次           T_1  partial   1/2 个场站  0.50 秒  缺失：A  失败：B"
    tally = Tally(sent={"T_1": 0.0, "T_2": 1.0}, late=1, dead_letters=2)
    tally.take(output())
    lines = summary(tally, ["T_2"], late_topic="late", dead_letter_topic="dead", language=ZH)
    assert [line.plain for line in lines] == [
        "已发送 2 个批次，输出 1 个：1 complete。",
        "未输出：T_2",
        "死信：2 条，在 dead 中",
        "迟到的结果：1 个，在 late 中",
    ]


@pytest.mark.parametrize("value", [b'{"mine": 1}', b"[1]", b"\xff", b""])
def test_line_of_a_payload_that_is_the_users_own_says_so(value: bytes) -> None:
    line = output_line(output(value=value, **{"completed-by": b"all"}), AT, EN)
    assert line.plain == "09:00:00  batch        T_1  all       a custom payload"


def test_line_of_an_output_without_meta_has_its_station_count() -> None:
    line = output_line(output(value=b'{"station_count": 7}', **{"completed-by": b"timeout"}), AT, EN)
    assert line.plain == "09:00:00  batch        T_1  timeout   7 stations"


def test_many_missing_stations_are_counted_and_not_all_named() -> None:
    line = output_line(output(value=payload(missing=[f"S{number}" for number in range(9)])), AT, EN)
    assert line.plain.endswith("missing: S0 S1 S2 S3 S4 +4")


def late(status: str) -> bytes:
    return orjson.dumps({"batch_id": "T_1", "station_id": "A", "status": status, "closed_at": 10.0, "timestamp": 11.25})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("result", "A  result, too late (1.25 s after the batch was closed)"),
        ("skipped", "A  not run: the deadline had passed before its turn came (1.25 s after the batch was closed)"),
    ],
)
def test_line_of_a_late_result_says_how_late(status: str, said: str) -> None:
    assert late_line(b"T_1", late(status), AT, EN).plain == f"09:00:00  late result  T_1  {said}"


def test_line_of_a_dead_letter_has_the_last_line_of_its_traceback() -> None:
    headers = {
        "reason": b"station-failed",
        "batch-id": b"T_1",
        "station-id": b"A",
        "error": b'Traceback:\n  File "x"\nValueError: broken\n',
    }
    said = "09:00:00  dead letter  T_1  station-failed  A  ValueError: broken"
    assert dead_letter_line(headers, AT, EN).plain == said


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (1, ["2 batches sent, 1 came out: 1 complete.", "Not come out: T_2"]),
        (3, ["2 batches sent, 2 came out: 2 complete.", "Came out more than once: T_1"]),
    ],
)
def test_summary_names_what_is_missing_or_repeated(outputs: int, said: list[str]) -> None:
    tally = Tally(sent={"T_1": 0.0, "T_2": 1.0})
    for key in [b"T_1", b"T_2", b"T_1"][:outputs]:
        tally.take(output(key))
    lines = summary(tally, tally.awaited, late_topic="late", dead_letter_topic="dead", language=EN)
    assert [line.plain for line in lines] == said


def test_summary_of_a_good_run_is_one_line_and_where_the_rest_went() -> None:
    tally = Tally(sent={"T_1": 0.0}, late=1, dead_letters=2)
    tally.take(output())
    lines = summary(tally, (), late_topic="late", dead_letter_topic="dead", language=EN)
    assert [line.plain for line in lines] == [
        "1 batch sent, 1 came out: 1 complete.",
        "Dead letters: 2, in dead",
        "Late results: 1, in late",
    ]
