"""What `faust -A app check` says about topics and functions, without a broker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.callbacks.loading import Functions
from app.cli.check import Finding, Mark, Topic, check_functions, check_keywords, check_topics, conclusion
from app.kafka.topics import topic_specs
from app.settings import Settings, load_settings
from app.words import told

SOURCE = "SCHEDULE-STATION-REALTIME-DATA"
OUTPUT = "MODULE-OUTPUT-LOAD_PREDICTION"
LATE = "batch-aggregator-load-prediction-late"


def settings(**environ: str) -> Settings:
    return load_settings({f"AGG_{key}": value for key, value in environ.items()}, env_file=None)


def topics(of: Settings, **changed: Topic) -> dict[str, Topic]:
    """The topics as a worker makes them."""
    own = {spec.name: Topic(spec.partitions, int(spec.config["max.message.bytes"])) for spec in topic_specs(of)}
    return {SOURCE: Topic(8, 1_000_000), **own, **changed}


def of(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.what == name)


def test_topics_as_a_worker_makes_them_are_well() -> None:
    findings = check_topics(settings(), topics(settings()), brokers=1)
    assert {finding.mark for finding in findings} == {Mark.OK}
    assert len(findings) == len(topics(settings()))


def test_missing_topics_are_only_noted_since_a_worker_creates_them() -> None:
    findings = check_topics(settings(PARTITIONS="3"), {SOURCE: Topic(8, None)}, brokers=1)
    assert [finding.mark for finding in findings[1:]] == [Mark.NOTE] * (len(findings) - 1)
    assert (
        of(findings, OUTPUT).text == "output topic: not there yet; a worker creates it with 3 partitions when it starts"
    )


def test_a_handler_that_takes_the_context_by_another_name_is_noted() -> None:
    def handle(batch_id: str, results: list[object], result: object) -> None: ...

    chosen = settings(CALLBACK="app.demo.model:callback", RESULT_HANDLER="own:handle")
    finding = of(check_functions(chosen, {"result_handler": handle}), "AGG_RESULT_HANDLER")
    assert finding.mark is Mark.NOTE
    assert finding.text.startswith("own:handle gets the batch's context as its parameter result; a handler of single")


def test_missing_source_topic_is_wrong() -> None:
    finding = of(check_topics(settings(), {}, brokers=1), SOURCE)
    assert finding.mark is Mark.WRONG
    assert finding.text.startswith("source topic: not there")


def test_a_context_topic_is_named_as_such_unless_it_is_the_output() -> None:
    chosen = settings(CONTEXT_TOPICS=f"WEATHER,{OUTPUT}")
    findings = check_topics(chosen, topics(chosen), brokers=1)
    assert of(findings, "WEATHER").text.startswith("context topic: not there")
    there = topics(chosen, WEATHER=Topic(1, None))
    assert of(check_topics(chosen, there, brokers=1), "WEATHER") == Finding(
        Mark.OK, "WEATHER", "context topic: 1 partition"
    )
    assert [finding.text for finding in findings if finding.what == OUTPUT] == ["output topic: 8 partitions"]


def test_partition_count_of_an_internal_topic_has_to_match() -> None:
    there = topics(settings()) | {LATE: Topic(3, None)}
    finding = of(check_topics(settings(), there, brokers=1), LATE)
    assert finding.mark is Mark.WRONG
    assert finding.text.startswith("3 partitions, but AGG_PARTITIONS is 8")


def test_output_topic_may_have_any_partition_count() -> None:
    there = topics(settings()) | {OUTPUT: Topic(3, None)}
    assert of(check_topics(settings(), there, brokers=1), OUTPUT) == Finding(
        Mark.OK, OUTPUT, "output topic: 3 partitions"
    )


@pytest.mark.parametrize(("largest", "mark"), [(3023, Mark.WRONG), (3024, Mark.OK)])
def test_output_topic_has_to_take_the_largest_message(largest: int, mark: Mark) -> None:
    chosen = settings(MAX_MESSAGE_BYTES="2000")
    finding = of(check_topics(chosen, topics(chosen) | {OUTPUT: Topic(8, largest)}, brokers=1), OUTPUT)
    assert finding.mark is mark
    if mark is Mark.WRONG:
        assert "max.message.bytes is 3023, but AGG_MAX_MESSAGE_BYTES needs 3024" in finding.text


@pytest.mark.parametrize(("brokers", "wrong"), [(2, True), (3, False)])
def test_more_replicas_than_brokers_are_wrong_when_there_is_something_to_create(brokers: int, wrong: bool) -> None:
    findings = check_topics(settings(REPLICATION_FACTOR="3"), {SOURCE: Topic(8, None)}, brokers=brokers)
    assert any(finding.what == "AGG_REPLICATION_FACTOR" for finding in findings) is wrong


@pytest.mark.parametrize("callback", ["CALLBACK", "BATCH_CALLBACK"])
def test_without_a_callback_all_is_well_for_commands_and_the_exit_code_is_a_workers(callback: str) -> None:
    commands_only, for_a_worker = settings(), settings(**{callback: "json:loads"})
    (finding,) = check_functions(commands_only)
    assert (finding.mark, finding.what) == (Mark.NOTE, "AGG_CALLBACK")
    assert finding.text.startswith("no callback: commands only, a worker would not start; AGG_CALLBACK is not set: ")
    assert conclusion(commands_only, [finding]) == ("Commands work; a worker would not start without AGG_CALLBACK.", 2)
    assert conclusion(for_a_worker, [finding]) == ("All is well.", 0)


@pytest.mark.parametrize(("what", "code"), [("AGG_RESULT_HANDLER", 2), ("broker", 1), (SOURCE, 1)])
def test_the_exit_code_is_the_one_that_a_worker_would_end_with(what: str, code: int) -> None:
    findings = [Finding(Mark.OK, "settings", "x"), Finding(Mark.WRONG, "broker", "x"), Finding(Mark.WRONG, what, "x")]
    assert conclusion(settings(CALLBACK="a:b"), findings) == ("2 wrong", code)


def test_what_is_wrong_without_a_callback_is_counted_and_the_callback_is_what_a_worker_would_end_for() -> None:
    assert conclusion(settings(), [Finding(Mark.WRONG, "broker", "x")]) == ("1 wrong", 2)


def test_keywords_of_the_program_that_the_environment_is_over_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGG_BATCH_CALLBACK", "of.environment:model")
    monkeypatch.setenv("AGG_WEB_TOKEN", "geheim")
    monkeypatch.setenv("AGG_PARTITIONS", "8")
    monkeypatch.setenv("AGG_FILL", "")
    (tmp_path / ".env").write_text("AGG_BATCH_TIMEOUT=7\nAGG_PARTITIONS=3\n")
    keywords = {"callback": of, "result_handler": None, "web_token": "alt", "partitions": 8, "batch_timeout": 10}
    assert check_keywords({**keywords, "fill": "linear", "retries": 1}) == [
        Finding(
            Mark.NOTE, "AGG_BATCH_CALLBACK", f"'of.environment:model' is over the keyword callback='{__name__}:of'"
        ),
        Finding(Mark.NOTE, "AGG_WEB_TOKEN", "(hidden) is over the keyword web_token=(hidden)"),
        Finding(Mark.NOTE, "AGG_BATCH_TIMEOUT", "'7' (in .env) is over the keyword batch_timeout=10"),
    ]
    assert (
        told(check_keywords({"batch_timeout": 10})[0].text, "zh")
        == "'7'（在 .env 中），优先于关键字参数 batch_timeout=10"
    )
    assert check_keywords({}) == []


def test_callback_is_found_in_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_of_check.py").write_text("def predict(station_id, module_input): ...\n")
    monkeypatch.chdir(tmp_path)
    spec = "model_of_check:predict"
    assert check_functions(settings(CALLBACK=spec)) == [Finding(Mark.OK, "AGG_CALLBACK", spec)]


def test_a_function_with_another_signature_is_wrong_and_shows_the_one_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signatures_of_check.py").write_text(
        "def predict(station_id): ...\ndef handler(a, b, c, d): ...\nclass Upload: ...\ndef batch(a, b): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    module = "signatures_of_check"
    given = settings(
        CALLBACK=f"{module}:predict", RESULT_HANDLER=f"{module}:handler", STATION_RESULT_HANDLER=f"{module}:Upload"
    )
    findings = [*check_functions(given), *check_functions(settings(BATCH_CALLBACK=f"{module}:batch"))]
    assert [(finding.mark, finding.what) for finding in findings] == [
        (Mark.WRONG, "AGG_CALLBACK"),
        (Mark.WRONG, "AGG_RESULT_HANDLER"),
        (Mark.WRONG, "AGG_STATION_RESULT_HANDLER"),
        (Mark.WRONG, "AGG_BATCH_CALLBACK"),
    ]
    assert findings[0].text == (
        "it is called as callback(station_id, module_input), but is predict(station_id): too many positional arguments"
    )
    assert "result_handler(batch_id, batch_results_list[, context]), but is handler(a, b, c, d)" in findings[1].text
    assert "station_result_handler(station_id, module_input, result), but this is a class" in findings[2].text
    assert "callback({station_id: module_input}), but is batch(a, b)" in findings[3].text


def test_functions_that_are_not_there_are_wrong() -> None:
    findings = check_functions(settings(CALLBACK="no_such_module:predict", RESULT_HANDLER="json:no_such_name"))
    assert [finding.mark for finding in findings] == [Mark.WRONG, Mark.WRONG]
    assert "there is no module no_such_module" in findings[0].text
    assert "json has no attribute no_such_name" in findings[1].text


def test_a_callback_that_no_process_can_import_is_wrong_where_callbacks_run_in_processes() -> None:
    given: Functions = {"callback": lambda _station_id, _module_input: {}}
    chosen = settings(CALLBACK="program:_lambda_", EXECUTOR="process")
    (finding,) = check_functions(chosen, given)
    assert (finding.mark, finding.what) == (Mark.WRONG, "AGG_CALLBACK")
    assert "<lambda>: can't be imported by another process, as AGG_EXECUTOR=process needs it" in finding.text
    assert finding.text.startswith("callback=")
    assert "<lambda>：其他进程无法导入它" in told(finding.text, "zh")
    assert conclusion(chosen, [finding]) == ("1 wrong", 2)
    many = check_functions(settings(BATCH_CALLBACK="program:_lambda_", EXECUTOR="process"), {"batch_callback": dir})
    assert [one.mark for one in many] == [Mark.OK]
    (finding,) = check_functions(settings(CALLBACK="program:_lambda_"), given)
    assert finding.mark is Mark.OK


@pytest.mark.parametrize(
    ("retention", "mark"), [(86_400_000, Mark.OK), (60_000, Mark.NOTE), (-1, Mark.NOTE), (None, Mark.OK)]
)
def test_event_topics_that_keep_messages_for_another_time_are_noted(retention: int | None, mark: Mark) -> None:
    name = settings().batch_events_topic
    there = topics(settings())
    there[name] = replace(there[name], retention=retention)
    finding = of(check_topics(settings(), there, brokers=1), name)
    assert finding.mark is mark
    assert mark is Mark.OK or f"retention.ms is {retention}, and AGG_EVENTS_RETENTION (86400000)" in finding.text
