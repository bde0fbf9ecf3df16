"""Integers keep all their digits: into the callback, into the outputs, into letters and their replay, into context."""

from __future__ import annotations

from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, DIRECT, TIME, TOPIC, ModuleInput, answering

WIDE = 52000000000088123456789
ENORMOUS = int("7" * 400)
NUMBERS = [WIDE, -WIDE, -(2**63) - 1, 2**64, ENORMOUS]
WEATHER = "WEATHER"


def text_of(number: object, station: str = "A") -> str:
    """A record with a number in fields of every kind; the blanks are not orjson's."""
    guns = f'{{"gunNo": [{number}], "outputPowerPerGunAvg": [{number}]}}'
    return (
        f'{{"stationId": "{station}", "sendTime": "{TIME}", "hostCode": {number}, "gunPower": {guns},'
        f' "count": {number}, "nested": [{{"n": [{number}]}}]}}'
    )


def columns(number: int) -> dict[str, Any]:
    return {
        "sendTime": [TIME],
        "gunNo": [str(number)],
        "hostCode": [str(number)],
        "outputPowerPerGunAvg": [[number]],
        "count": [number],
        "nested": [[{"n": [number]}]],
    }


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("topic", [TOPIC, DIRECT])
def test_the_callback_gets_and_gives_integers_of_any_size(topic: str, number: int) -> None:
    seen: list[Any] = []

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        seen.append((station_id, module_input))
        return {"n": module_input[topic]["count"][0], number: 1}

    with TopologyTestDriver(model, passthrough_topics=(DIRECT,)) as driver:
        driver.send(f"[{text_of(number)}]", topic)
        assert seen == [("A", {topic: columns(number)})]
        (output,) = driver.outputs
        result = {"n": number, str(number): 1}
        assert driver.dead_letters == []
        if topic == TOPIC:
            assert output.value["stations"] == [{"station_id": "A", **result}]
        else:
            assert output.value["result"] == result


def counted(station_id: str, module_input: ModuleInput) -> Any:
    """A model that a process can import."""
    columns_of = module_input[TOPIC]
    host = columns_of["hostCode"][0]
    return {"n": columns_of["count"][0] + 1, "host": str(host), "half": host / 2 if station_id == "B" else None}


def test_a_process_for_callbacks_gets_and_gives_them_too() -> None:
    with TopologyTestDriver(counted, executor="process", executor_workers=1) as driver:
        decimal = f'{{"stationId":"B","sendTime":"{TIME}","hostCode":12345678901234567890.5,"count":1}}'
        driver.send(f"[{text_of(WIDE)},{decimal}]")
        assert driver.outputs[0].value["stations"] == [
            {"station_id": "A", "n": WIDE + 1, "host": str(WIDE), "half": None},
            {"station_id": "B", "n": 2, "host": "12345678901234567890.5", "half": 12345678901234567890.5 / 2},
        ]


def echoing(station_id: str, module_input: ModuleInput) -> Any:
    """A model that gives back its host's code. A process can import it."""
    del station_id
    (host,) = next(iter(module_input.values()))["hostCode"]
    return {"host": host, "of": {"hosts": [host]}}


@pytest.mark.parametrize("number", ["1.2345678901234567890123", "12345678901234567890.55"])
@pytest.mark.parametrize("topic", [TOPIC, DIRECT])
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_decimal_code_that_is_given_back_is_published_with_its_digits(executor: str, topic: str, number: str) -> None:
    with TopologyTestDriver(echoing, passthrough_topics=(DIRECT,), executor=executor, executor_workers=1) as driver:
        driver.send(f'[{{"stationId":"A","sendTime":"{TIME}","hostCode":{number}}}]', topic)
        (output,) = driver.outputs
        assert f'"host":{number},"of":{{"hosts":[{number}]}}' in (output.raw or b"").decode()


@pytest.mark.parametrize("topic", [TOPIC, DIRECT])
def test_the_letter_of_a_failed_station_has_the_digits_and_so_has_its_replay(topic: str) -> None:
    seen: list[Any] = []

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        seen.append(module_input[topic])
        if len(seen) == 1:
            raise KeyError(station_id)

    with TopologyTestDriver(model, passthrough_topics=(DIRECT,)) as driver:
        driver.send(f"[{text_of(WIDE)}]", topic)
        (letter,) = driver.dead_letters
        assert letter.raw is not None
        assert letter.raw.decode() == f'{{"{topic}":[{text_of(WIDE)}]}}'.replace(": ", ":").replace(", ", ",")
        driver.send(letter.raw, topic, headers={"batch-id": BATCH, "replayed": "0@0"})
        assert seen == [columns(WIDE)] * 2


def test_the_letter_of_a_bad_record_has_the_digits() -> None:
    with TopologyTestDriver(answering({"A": 1})) as driver:
        driver.send(f'[{text_of(1)},{{"sendTime":"{TIME}","hostCode":{WIDE}}},{WIDE},{{"stationId":{WIDE}.5}}]')
        letters = [letter.raw for letter in driver.dead_letters]
        assert letters == [
            b'{"sendTime":"%b","hostCode":%d}' % (TIME.encode(), WIDE),
            b"%d" % WIDE,
            b'{"stationId":%d.5}' % WIDE,
        ]
        assert f"stationId is {WIDE}.5;" in driver.dead_letters[2].headers["error"]


@pytest.mark.parametrize("number", ["9007199254740993.0", "12345678901234567890.5", "0.12345678901234567890"])
@pytest.mark.parametrize("topic", [TOPIC, DIRECT])
def test_a_decimal_as_a_code_keeps_its_digits_in_the_error_and_in_the_letter(topic: str, number: str) -> None:
    with TopologyTestDriver(answering({}), passthrough_topics=(DIRECT,)) as driver:
        host = f'{{"stationId":"A","sendTime":"{TIME}","hostCode":{number},"gunPower":{{"gunNo":["1"]}}}}'
        guns = f'{{"stationId":"B","sendTime":"{TIME}","gunPower":{{"gunNo":[{number}]}}}}'
        driver.send(f"[{host},{guns}]", topic)
        letters = {letter.headers["station-id"]: letter for letter in driver.dead_letters}
        for station, record, field in (("A", host, "hostCode"), ("B", guns, "gunPower.gunNo")):
            assert letters[station].raw == f'{{"{topic}":[{record}]}}'.encode()
            assert field in letters[station].headers["error"]
            assert f"{number}, not text or an integer" in letters[station].headers["error"]


@pytest.mark.parametrize("number", NUMBERS)
def test_context_keeps_the_digits_also_over_a_restart(number: int) -> None:
    seen: list[Any] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        del station_id
        seen.append(module_input[WEATHER])

    with TopologyTestDriver(model, context_topics=(WEATHER,)) as driver:
        driver.send(f"[{text_of(number)}]", WEATHER)
        driver.send([{"stationId": "A", "sendTime": TIME}])
        driver.restart()
        driver.send([{"stationId": "A", "sendTime": TIME}])
        assert seen == [columns(number)] * 2


def test_both_result_handlers_get_the_digits() -> None:
    seen: list[Any] = []

    async def handler(batch_id: str, results: list[Any]) -> Any:
        seen.append(results)
        return {"batch": batch_id, "sum": sum(result["n"] for result in results)}

    async def station_handler(station_id: str, module_input: ModuleInput, result: Any) -> Any:
        seen.append((station_id, module_input[DIRECT]["count"], result))
        return {"n": result}

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        return WIDE if DIRECT in module_input else {"n": WIDE}

    with TopologyTestDriver(
        model, handler, station_result_handler=station_handler, passthrough_topics=(DIRECT,)
    ) as driver:
        driver.send(f"[{text_of(WIDE)},{text_of(WIDE, 'B')}]")
        driver.send(f"[{text_of(WIDE)}]", DIRECT)
        assert seen == [
            [{"station_id": "A", "n": WIDE}, {"station_id": "B", "n": WIDE}],
            ("A", [WIDE], WIDE),
        ]
        assert [output.value for output in driver.outputs] == [{"batch": BATCH, "sum": 2 * WIDE}, {"n": WIDE}]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_what_is_no_number_of_json_makes_a_bad_message_also_beside_a_wide_integer(literal: str) -> None:
    with TopologyTestDriver(answering({"A": 1})) as driver:
        raw = f'[{text_of(WIDE)},{{"stationId":"B","x":{literal}}}]'.encode()
        driver.send(raw)
        assert driver.outputs == []
        assert [(letter.headers["reason"], letter.raw) for letter in driver.dead_letters] == [("bad-message", raw)]
