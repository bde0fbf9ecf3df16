"""Log lines of a batch and of messages, word for word."""

from __future__ import annotations

import logging

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, DIRECT, TOPIC, answering, message, record, slow


def lines(caplog: pytest.LogCaptureFixture, logger: str = "app.batches") -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == logger]


def test_a_batch_that_completes_is_told_in_chinese_as_the_contract_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TopologyTestDriver(slow({"B": 1.5, "C": 3.0}), log_language="zh") as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(4.0)
    assert lines(caplog) == [
        ("INFO", f"初始化批次 {BATCH}，预期场站: {{'A', 'B', 'C'}}"),
        ("INFO", f"批次 {BATCH} 进度: 1/3，待完成: {{'B', 'C'}}"),
        ("INFO", f"批次 {BATCH} 进度: 2/3，待完成: {{'C'}}"),
        ("INFO", f"批次 {BATCH} 完成，场站: {{'A', 'B', 'C'}}"),
        ("INFO", f"批次 {BATCH} 结果已上传，包含 3 个场站"),
    ]


def test_a_batch_that_times_out_is_told_in_chinese_as_the_contract_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TopologyTestDriver(slow({"C": 60.0}), log_language="zh", batch_timeout=5) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(6.0)
    assert lines(caplog) == [
        ("INFO", f"初始化批次 {BATCH}，预期场站: {{'A', 'B', 'C'}}"),
        ("INFO", f"批次 {BATCH} 进度: 2/3，待完成: {{'C'}}"),
        ("WARNING", f"批次 {BATCH} 超时，已完成 2/3，缺失场站: {{'C'}}"),
        ("INFO", f"批次 {BATCH} 结果已上传，包含 2 个场站"),
    ]


def test_a_batch_is_told_in_english_by_default(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TopologyTestDriver(slow({"B": 7.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(8.0)
        driver.send(message("A", time="2025-11-14 10:00:01"))
    assert lines(caplog) == [
        ("INFO", f"Batch {BATCH} opened, expected stations: {{'A', 'B'}}"),
        ("INFO", f"Batch {BATCH} progress: 1/2, pending: {{'B'}}"),
        ("WARNING", f"Batch {BATCH} timed out with 1/2, missing stations: {{'B'}}"),
        ("INFO", f"Batch {BATCH} published with 1 station"),
        ("WARNING", f"Batch {BATCH} late result of station B, status: result, reason: batch-closed"),
        ("INFO", f"Batch {BATCH[:-1]}1 opened, expected stations: {{'A'}}"),
        ("INFO", f"Batch {BATCH[:-1]}1 complete, stations: {{'A'}}"),
        ("INFO", f"Batch {BATCH[:-1]}1 published with 1 station"),
    ]


def test_progress_is_told_once_a_second_at_most(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TopologyTestDriver(slow({f"S{number}": number / 10 for number in range(50)})) as driver:
        driver.send(message(*[f"S{number}" for number in range(50)]))
        driver.advance(5.1)
    progress = [line for _, line in lines(caplog) if "progress" in line]
    assert 4 <= len(progress) <= 6


def test_long_station_sets_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message(*[f"S{number}" for number in range(1000)]))
    opened = lines(caplog)[0][1]
    assert opened.endswith("'S12', … +987}")


def test_a_dead_letter_is_told_with_its_reason_and_its_place(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(answering({"A": ValueError("no data"), "B": 1})) as driver:
        driver.send(b"bad")
        driver.send(message("A", "B"))
    told = [line for level, line in lines(caplog) if level == "WARNING"]
    assert told[0].startswith("Dead letter (bad-message): not JSON: ")
    assert told[0].endswith("[topic=SCHEDULE-STATION-REALTIME-DATA, partition=0, offset=0]")
    assert told[1] == (
        "Dead letter (station-failed): ValueError: no data [topic=SCHEDULE-STATION-REALTIME-DATA, partition=1, "
        f"offset=0, batch_id={BATCH}, station_id=A]"
    )


def test_a_batch_whose_handler_failed_is_not_told_to_be_published(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def handler(batch_id: str, batch_results_list: list[object]) -> None:
        raise OSError

    with TopologyTestDriver(slow({}), handler, handler_retries=0) as driver:
        driver.send(message("A"))
        assert len(driver.dead_letters) == 1
    assert not any("published" in line for _, line in lines(caplog))


@pytest.mark.parametrize("topic", ["SCHEDULE-STATION-REALTIME-DATA", "WEATHER"])
def test_an_empty_message_is_told_in_the_language_of_the_log_whatever_topic_it_is_on(
    topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TopologyTestDriver(answering({}), log_language="zh", context_topics="WEATHER") as driver:
        partition, offset = driver.send([], topic)
        assert driver.metrics.empty_messages == 1
    assert lines(caplog) == [("WARNING", f"{topic}[{partition}]@{offset} 的记录列表为空，无需处理")]


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", f"Batch {BATCH}: all stations have failed, 2 of 3 with IndexError: soc"),
        ("zh", f"批次 {BATCH} 的 3 个场站全部失败，其中 2 个的错误为 IndexError: soc"),
    ],
)
def test_a_batch_whose_stations_have_all_failed_is_told_with_the_commonest_error(
    caplog: pytest.LogCaptureFixture, language: str, line: str
) -> None:
    results = {"A": ValueError("no model\nfor A"), "B": IndexError("soc"), "C": IndexError("soc"), "D": None}
    with TopologyTestDriver(answering(results), log_language=language) as driver:
        driver.send(message("A", "B", "C"))
        assert [told for told in lines(caplog) if "IndexError" in told[1] and "station_id" not in told[1]] == [
            ("WARNING", line)
        ]
        caplog.clear()
        driver.send(message("A", "B", "D", time="2025-11-14 10:00:01"))
        assert [told for told in lines(caplog) if "IndexError" in told[1] and "station_id" not in told[1]] == []


@pytest.mark.parametrize(
    ("language", "no_batch", "passes"),
    [
        (
            "en",
            " has no usable sendTime and no batch-id, so it makes no batch and passes through: a result by itself for "
            "each of its stations: {'A', 'B'}",
            " passes through (AGG_PASSTHROUGH_TOPICS): a result by itself for each of its stations: {'C'}",
        ),
        (
            "zh",
            " 没有可用的 sendTime，也没有 batch-id，因此不组成批次而直通，各场站结果单独输出，场站: {'A', 'B'}",
            " 直通 (AGG_PASSTHROUGH_TOPICS)，各场站结果单独输出，场站: {'C'}",
        ),
    ],
)
def test_a_message_that_makes_no_batch_says_so_and_why(
    caplog: pytest.LogCaptureFixture, language: str, no_batch: str, passes: str
) -> None:
    caplog.set_level(logging.INFO)
    with TopologyTestDriver(slow({}), passthrough_topics=DIRECT, log_language=language) as driver:
        first = "{}[{}]@{}".format(TOPIC, *driver.send(message("A", "B", time=None)))
        second = "{}[{}]@{}".format(DIRECT, *driver.send(record("C"), DIRECT))
    assert lines(caplog) == [("INFO", first + no_batch), ("INFO", second + passes)]
