"""From what a callback returned or raised to its outcome."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections import namedtuple
from collections.abc import Callable
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.callbacks.outcome import (
    ERROR_CHARACTERS,
    TRACEBACK_BYTES,
    KeyMissed,
    Outcome,
    OutcomeError,
    encode_result,
    encode_results,
    failed,
    json_bytes,
    out_of_time,
)
from tables.model.enums import Code
from tables.storage.exact_json import Digits

LIMIT = 1_000_000


def encode(value: object, max_bytes: int = LIMIT) -> Outcome:
    return encode_result("A", value, max_bytes=max_bytes)


def result_of(value: object) -> Any:
    """What a reader of the output finds under `result`."""
    outcome = encode(value)
    assert outcome.code is Code.RESULT, outcome
    assert outcome.value is not None
    return json.loads(outcome.value)["result"]


def test_none_is_an_empty_outcome() -> None:
    assert encode(None) == Outcome(Code.EMPTY, None)


def test_a_dict_gets_the_station_id_as_its_first_key() -> None:
    assert encode({"result": 123, "b": "é"}) == Outcome(Code.RESULT, '{"station_id":"A","result":123,"b":"é"}')


def test_the_framework_s_station_id_wins_over_the_callback_s_and_stays_first() -> None:
    assert encode({"x": 1, "station_id": "other"}).value == '{"station_id":"A","x":1}'


def test_the_callback_s_dict_is_not_changed() -> None:
    value = {"x": 1}
    encode(value)
    assert value == {"x": 1}


@pytest.mark.parametrize("value", [0, False, "", [], [1, [2]], "text", 1.5, 2**64, -(2**70)])
def test_any_other_json_value_becomes_the_result(value: object) -> None:
    assert result_of(value) == value


def test_an_empty_dict_is_a_result() -> None:
    assert encode({}).value == '{"station_id":"A"}'


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    if value is None:
        return
    outcome = encode(value)
    assert outcome.value is not None
    read = json.loads(outcome.value)
    assert read == ({**value, "station_id": "A"} if isinstance(value, dict) else {"station_id": "A", "result": value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.float16(2), 2.0),
        (np.longdouble(1.5), 1.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(3.0), 3.0),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.arange(6)[::2], [0, 2, 4]),
        (np.array([1, 2], dtype=">i4"), [1, 2]),
        (np.array([1.5], dtype=">f8"), [1.5]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([{"a": np.int64(1)}, None], dtype=object), [{"a": 1}, None]),
        (np.array([1.5, np.inf], dtype=np.longdouble), [1.5, None]),
        (np.zeros((2, 0)), [[], []]),
    ],
    ids=repr,
)
def test_numpy_values_are_accepted_at_any_depth(value: object, expected: object) -> None:
    assert result_of(value) == expected
    assert result_of([{"deep": (value,)}]) == [{"deep": [expected]}]


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf"), np.float16("nan"), np.longdouble("nan")],
    ids=repr,
)
def test_nan_and_infinity_become_null(value: object) -> None:
    assert result_of(value) is None
    assert result_of([value]) == [None]
    assert json.loads(encode({"a": {"b": value}}).value or "") == {"station_id": "A", "a": {"b": None}}
    assert result_of(np.array([[1.0, value]], dtype=float)) == [[1.0, None]]


@pytest.mark.parametrize("number", ["1.2345678901234567890123", "-12345678901234567890.5", "0.12345678901234567e-3"])
def test_a_decimal_id_keeps_all_its_digits_wherever_it_stands(number: str) -> None:
    digits = Digits(number)
    assert encode(digits).value == f'{{"station_id":"A","result":{number}}}'
    assert encode_result(None, digits, max_bytes=LIMIT).value == number
    nested = {"a": [{"b": (digits, 1.5)}], "c": np.array([digits, 2**70], dtype=object), digits: np.float64(0.5)}
    expected = f'"a":[{{"b":[{number},1.5]}}],"c":[{number},{2**70}],"{number}":0.5'
    assert encode(nested).value == f'{{"station_id":"A",{expected}}}'
    copies = [pickle.loads(pickle.dumps(digits)), copy.deepcopy(digits)]  # noqa: S301
    assert json_bytes(copies, "").decode() == f"[{number},{number}]"
    assert encode({"x": digits + 0.0}).value == f'{{"station_id":"A","x":{orjson.dumps(float(number)).decode()}}}'


def test_keys_that_are_numbers_and_tuples_with_names_are_written_as_python_s_json_does() -> None:
    point = namedtuple("point", "x y")
    assert result_of([{2: "a", None: "b", True: "c", 1.5: "d", np.int64(7): "e"}, point(1, 2)]) == [
        {"2": "a", "null": "b", "true": "c", "1.5": "d", "7": "e"},
        [1, 2],
    ]


def circular() -> list[object]:
    value: list[object] = []
    value.append({"again": value})
    return value


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"guns": [1, {"x": {1}}]}, "set at guns[1].x"),
        (object(), "object"),
        ({"a": b"bytes"}, "bytes at a"),
        (lambda: 1, "function"),
        (1j, "complex"),
        (np.complex64(1), "complex"),
        ({"a": circular()}, "contains itself at a[0].again"),
        (nested(10_000), "nested deeper"),
        ({"a": "x\ud800"}, "surrogate pair at a"),
        ({"\ud800": 1}, "surrogate pair at a key"),
        ({(1, 2): 1}, "a key is tuple, not text"),
        ({1: "a", "1": "b"}, "two keys are '1'"),
        (10**5000, "4300 digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_json_can_not_hold_makes_the_station_failed_with_the_place_named(value: object, reason: str) -> None:
    outcome = encode(value)
    assert outcome.code is Code.FAILED
    assert outcome.value is not None
    assert outcome.value.startswith("TypeError: the result can't be written as JSON: ")
    assert reason in outcome.value
    orjson.dumps(outcome.value)


class Hostile:
    """Raises whatever is asked of it."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")


class ListsItself:
    def tolist(self) -> list[object]:
        return [self]


class ListsAnother:
    def tolist(self) -> object:
        return type("Other", (ListsAnother,), {})()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


HOSTILE: dict[str, Callable[[], object]] = {
    "raises": lambda: Hostile(ValueError("no")),
    "exits": lambda: Hostile(SystemExit(1)),
    "interrupts": lambda: Hostile(KeyboardInterrupt()),
    "raises what can't be shown": lambda: Hostile(UnprintableError()),
    "lists itself": ListsItself,
    "lists another": ListsAnother,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_object_makes_the_encoder_raise(make: Callable[[], object]) -> None:
    value = make()
    codes = [encode(result).code for result in (value, [value], {"a": value})]
    assert codes == [Code.FAILED] * 3


def test_a_result_over_the_limit_names_its_size_and_the_setting() -> None:
    size = len('{"station_id":"A","result":"éé"}'.encode())
    assert encode("éé", size).code is Code.RESULT
    outcome = encode("éé", size - 1)
    assert outcome.code is Code.FAILED
    assert (
        outcome.value == f"ValueError: the result is {size} bytes of JSON, over the limit of 33 (AGG_MAX_MESSAGE_BYTES)"
    )
    assert encode((np.array(["x" * 50]),), 40).code is Code.FAILED


def test_an_error_has_one_line_and_a_traceback_that_ends_with_it() -> None:
    def broken() -> None:
        message = "first\n  second"
        raise ValueError(message)

    with pytest.raises(ValueError, match="first") as caught:
        broken()
    outcome = failed(caught.value)
    assert (outcome.code, outcome.value) == (Code.FAILED, "ValueError: first second")
    assert outcome.traceback is not None
    assert "in broken" in outcome.traceback
    assert outcome.traceback.endswith("ValueError: first\n  second\n")


def test_the_key_of_a_key_error_that_is_a_text_is_kept_also_on_the_way_from_another_process() -> None:
    outcome = pickle.loads(pickle.dumps(failed(KeyError("soc"))))  # noqa: S301 - our own bytes
    assert outcome == KeyMissed(Code.FAILED, "KeyError: 'soc'", "KeyError: 'soc'\n", "soc")
    assert outcome == failed(OutcomeError(outcome))


def test_an_error_without_text_is_its_name() -> None:
    assert failed(TimeoutError()).value == "TimeoutError"


def test_long_errors_are_cut_and_a_traceback_keeps_its_end() -> None:
    outcome = failed(ValueError("é" * 100_000 + "end"))
    assert outcome.value is not None
    assert outcome.traceback is not None
    assert len(outcome.value) == ERROR_CHARACTERS
    assert TRACEBACK_BYTES - 4 < len(outcome.traceback.encode()) <= TRACEBACK_BYTES
    assert outcome.traceback.endswith("end\n")


def test_errors_that_can_not_be_shown_are_shown_as_far_as_they_can() -> None:
    assert failed(UnprintableError()).value == "UnprintableError: (its text can't be shown)"
    assert failed(ValueError("a\ud800b")).value == "ValueError: a?b"
    orjson.dumps(failed(ValueError("a\ud800b")).traceback)


def hostile(**attributes: Any) -> BaseException:
    """An error of a class that has these attributes."""
    kind: Any = type("Hostile", (Exception,), attributes)
    made: BaseException = kind()
    return made


def raises(*_: Any) -> Any:
    raise SystemExit(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hostile(__str__=raises),
        lambda: hostile(__class__=property(raises)),
        lambda: hostile(__traceback__=property(raises), __cause__=property(raises)),
        lambda: ExceptionGroup("many", [ValueError(str(number)) for number in range(1_000)]),
        lambda: BaseExceptionGroup("several", [SystemExit(1), ExceptionGroup("inner", [ValueError("x\ud800")])]),
        lambda: ValueError("x" * 10_000_000),
        lambda: SystemExit(raises),
    ],
)
def test_whatever_an_error_is_its_outcome_can_be_written(make: Callable[[], BaseException]) -> None:
    outcome = failed(make())
    assert outcome.code is Code.FAILED
    assert outcome.value
    orjson.dumps([outcome.value, outcome.traceback])


class OddKey:
    """A key that raises when it is looked at."""

    __repr__ = __str__ = raises


def codes(results: object) -> tuple[str, list[str]]:
    """The outcomes of a callback that was called for 7 and A, and the strangers."""
    outcomes, strangers = encode_results(["7", "A"], results, max_bytes=LIMIT)
    return "".join(outcome.code for outcome in outcomes), strangers


@pytest.mark.parametrize("key", [7, np.int64(7), np.uint8(7), "7", np.str_("7")])
def test_integer_keys_of_a_batch_callbacks_result_count_as_their_text(key: object) -> None:
    result, failed_, empty = Code.RESULT, Code.FAILED, Code.EMPTY
    assert codes({key: 1, "A": 2}) == (result + result, [])
    assert codes({key: 1}) == (result + empty, [])
    assert codes({key: 1, 8: 2, True: 3, 7.5: 4, (1,): 5}) == (result + empty, ["8", "True", "7.5", "(1,)"])
    if key != "7":
        assert codes({key: 1, "7": 2, "A": 3})[0] == failed_ * 2
    assert codes({key: 1, OddKey(): 2})[0] == failed_ * 2


def test_a_callback_out_of_time_shows_where_it_stood() -> None:
    outcome = out_of_time("too slow", "x" * 10_000 + "end")
    assert (outcome.code, outcome.value) == (Code.FAILED, "TimeoutError: too slow")
    assert outcome.traceback is not None
    assert len(outcome.traceback) == TRACEBACK_BYTES
    assert outcome.traceback.endswith("endTimeoutError: too slow")


class Unit(Enum):
    KW = "kW"


@pytest.mark.parametrize(
    ("value", "written"),
    [(UUID(int=1), "00000000-0000-0000-0000-000000000001"), (Unit.KW, "kW"), (memoryview(b"x"), None)],
)
def test_what_stands_beside_a_value_does_not_decide_whether_it_is_written(value: object, written: str | None) -> None:
    wide = 10**30  # which orjson does not write
    for result, beside in (({"a": value}, {}), ({"a": value, "b": wide}, {"b": wide}), ({"a": value, 1: 2}, {"1": 2})):
        outcome = encode(result)
        assert outcome.code is (Code.FAILED if written is None else Code.RESULT), outcome
        if written is not None:
            assert json.loads(outcome.value or "") == {"station_id": "A", "a": written, **beside}
